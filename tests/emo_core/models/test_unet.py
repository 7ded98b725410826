"""The UNet against diffusers' with the same weights, and against the published sizes."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from emo_core.config import BackboneConfig, ReferenceNetConfig, UNetConfig
from emo_core.models.attention import SpatialConditions
from emo_core.models.backbone import Backbone
from emo_core.models.reference import ReferenceNet
from emo_core.models.unet import Conditions, UNet

CONTEXT_DIM = 48


def diffusers_twin(config: UNetConfig) -> UNet2DConditionModel:
    down = [("CrossAttn" if has else "") + "DownBlock2D" for has in config.attention_levels]
    up = [("CrossAttn" if has else "") + "UpBlock2D" for has in reversed(config.attention_levels)]
    return UNet2DConditionModel(
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        cross_attention_dim=CONTEXT_DIM,
        attention_head_dim=config.num_heads,
        norm_num_groups=config.norm_num_groups,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
    )


def with_context(unet: UNet, context: torch.Tensor) -> Conditions:
    spatial = {
        name: SpatialConditions(reference=None, context=attention.block.attn2.project(context))
        for name, attention in unet.spatial_transformers()
    }
    return Conditions(num_frames=1, spatial=spatial, audio=None, temporal=None, region=None)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (
            UNetConfig(
                block_out_channels=(32, 64, 64, 64),
                attention_levels=(True, True, True, False),
                num_heads=4,
            ),
            (16, 24),
        ),
        (
            UNetConfig(
                block_out_channels=(32, 64),
                attention_levels=(False, True),
                layers_per_block=1,
                num_heads=2,
                norm_num_groups=16,
            ),
            (10, 7),
        ),
    ],
    ids=["sd15-shape", "odd-size"],
)
@torch.no_grad()
def test_equals_diffusers(config: UNetConfig, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    twin = diffusers_twin(config).eval()
    unet = UNet(config, has_reference_attention=False, context_dim=CONTEXT_DIM).eval()
    unet.load_state_dict(twin.state_dict())
    latents = torch.randn(2, 4, *size)
    context = torch.randn(2, 5, CONTEXT_DIM)
    timesteps = torch.tensor([999, 3])
    ours = unet.run(latents, timesteps, with_context(unet, context))
    theirs = twin(latents, timesteps, context).sample
    assert (ours - theirs).abs().max() <= 1e-5
    assert theirs.std() > 0.05


def num_parameters(module: torch.nn.Module, *, part: str = "", without: str = "\0") -> int:
    return sum(
        value.numel()
        for name, value in module.named_parameters()
        if part in name and without not in name
    )


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        plain = UNet(UNetConfig(), has_reference_attention=False, context_dim=768)
        backbone = Backbone(BackboneConfig())
        hallo_reference = ReferenceNet(ReferenceNetConfig(context_dim=768))
        echomimic_reference = ReferenceNet(ReferenceNetConfig())
    assert num_parameters(plain) == 859_520_964  # Stable Diffusion 1.5
    # AnimateDiff v2: 454,417,600 values in the file, of which 1,208,320 are position tables.
    assert num_parameters(backbone, part="motion_modules", without="speed_") == 453_209_280
    assert num_parameters(hallo_reference) == 859_508_800
    assert num_parameters(echomimic_reference) == 815_521_280
    assert num_parameters(backbone, part="audio_projection") == 36_465_152  # Hallo's audioproj
    # Hallo's face locator takes three channels where emo takes one: 16 * 2 * 9 weights fewer.
    assert num_parameters(backbone, part="face_locator") == 514_896 - 16 * 2 * 9
