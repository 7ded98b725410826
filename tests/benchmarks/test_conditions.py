"""What preparing conditions once is worth: both ways side by side in one run (`make bench`).

Prints medians and ratios for the demo's sizes. Nothing is asserted about time.
"""

import torch
from timing import alternating

from emo_core.checkpoints.emo import build_networks
from emo_core.models.unet import Conditions
from emo_core.training.presets import demo_config


@torch.no_grad()
def test_prepared_once_against_every_step() -> None:
    networks = build_networks(demo_config(latent_scale=1.0))
    backbone = networks.backbone.eval()
    sampling = networks.config.sampling
    frames, side = sampling.clip_frames, sampling.width // 8
    channels = networks.config.backbone.unet.latent_channels
    audio = networks.config.backbone.audio
    latents = torch.randn(frames, channels, side, side)
    reference = networks.reference_net(torch.randn(1, channels, side, side))
    motion = networks.reference_net(torch.randn(4, channels, side, side))
    windows = torch.randn(1, frames, audio.window, audio.num_layers, audio.feature_dim)
    timestep = torch.tensor(500)

    region = torch.ones(1, 1, 8 * side, 8 * side)

    def prepare(*, is_conditional: bool = True, **dropout: torch.Tensor) -> Conditions:
        return backbone.prepare(
            backbone.share(reference=reference if is_conditional else None, region_BCHW=region),
            num_frames=frames,
            like=latents,
            motion=motion,
            audio_windows_BFWLD=windows if is_conditional else None,
            speed_windows_BFW=torch.full((1, frames, 5), 12.0),
            **dropout,
        )

    conditions = prepare()
    unconditional = prepare(is_conditional=False)
    nothing = torch.zeros(1, dtype=torch.bool)
    zeros = prepare(is_reference_kept_B=nothing, is_audio_kept_B=nothing)
    seconds = alternating(
        {
            "step, prepared once": lambda: backbone(latents, timestep, conditions),
            "step, prepared anew": lambda: backbone(latents, timestep, prepare()),
            "unconditional half, left out": lambda: backbone(latents, timestep, unconditional),
            "unconditional half, zero contexts": lambda: backbone(latents, timestep, zeros),
        }
    )
    print()
    for name, value in seconds.items():
        print(f"{name:36}{1000 * value:8.1f} ms")
    once, anew, left_out, zero = seconds.values()
    print(
        f"prepared anew / once: {anew / once:.2f}, zero contexts / left out: {zero / left_out:.2f}"
    )
