"""What small parts and channels last are worth when a processor decodes frames (`make bench`)."""

import torch
from timing import alternating

from emo_core.models.vae import VAE
from emo_core.training.presets import LATENT_CHANNELS
from emo_core.video.decoding import FRAMES_AT_ONCE, FRAMES_AT_ONCE_ON_CPU


@torch.no_grad()
def test_small_parts_with_channels_last_against_large_ones() -> None:
    torch.manual_seed(0)
    plain = VAE(scale=1.0, latent_channels=LATENT_CHANNELS).eval()
    packed = VAE(scale=1.0, latent_channels=LATENT_CHANNELS).eval()
    packed.load_state_dict(plain.state_dict())
    packed.to(memory_format=torch.channels_last)
    latents = torch.randn(FRAMES_AT_ONCE, LATENT_CHANNELS, 16, 16)
    seconds = alternating(
        {
            "as before": lambda: plain.decode(latents, chunk=FRAMES_AT_ONCE),
            "small parts": lambda: plain.decode(latents, chunk=FRAMES_AT_ONCE_ON_CPU),
            "channels last": lambda: packed.decode(latents, chunk=FRAMES_AT_ONCE),
            "both": lambda: packed.decode(latents, chunk=FRAMES_AT_ONCE_ON_CPU),
        }
    )
    print(
        f"\ndecoding {len(latents)} frames of 128x128 pixels on {torch.get_num_threads()} threads"
    )
    for name, value in seconds.items():
        ratio = seconds["as before"] / value
        print(f"  {name}: {value / len(latents) * 1000:.1f} ms a frame, {ratio:.2f} times as fast")
    torch.testing.assert_close(
        packed.decode(latents, chunk=FRAMES_AT_ONCE_ON_CPU),
        plain.decode(latents, chunk=FRAMES_AT_ONCE),
        atol=1e-5,
        rtol=0,
    )
