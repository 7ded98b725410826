"""A toy checkpoint for tests: every part of the model, as small as it works."""

import torch
from torch import nn

from emo_core.checkpoints.emo import Networks, build_networks
from emo_core.config import (
    AudioConfig,
    BackboneConfig,
    FrontEndConfig,
    LatentPreview,
    ModelConfig,
    ReferenceNetConfig,
    SamplingConfig,
    SpeedConfig,
    TemporalConfig,
    UNetConfig,
)


def tiny_config() -> ModelConfig:
    unet = UNetConfig(
        block_out_channels=(16, 32),
        attention_levels=(True, True),
        layers_per_block=1,
        num_heads=2,
        norm_num_groups=8,
    )
    return ModelConfig(
        backbone=BackboneConfig(
            unet=unet,
            context_dim=16,
            audio=AudioConfig(
                num_layers=2, feature_dim=16, hidden_dim=16, num_tokens=3, token_dim=16
            ),
            temporal=TemporalConfig(num_motion_frames=2),
            speed=SpeedConfig(token_dim=16),
            face_locator_channels=(4, 8, 8, 8),
        ),
        reference_net=ReferenceNetConfig(unet=unet),
        front_end=FrontEndConfig(num_mels=20, width=16, dilations=(1, 2), num_returned_layers=2),
        sampling=SamplingConfig(width=64, height=64, clip_frames=4, steps=3, guidance=2.0),
        latent_scale=1.0,
        latent_preview=LatentPreview(
            factors=((0.3, 0.0, 0.1), (0.0, 0.3, 0.0), (0.1, 0.0, 0.3), (0.1, 0.1, 0.1)),
            bias=(0.0, 0.0, 0.0),
        ),
    )


def tiny_networks(seed: int = 0) -> Networks:
    """Networks in which every weight is random, so that no part is silent by its initial zeros."""
    torch.manual_seed(seed)
    networks = build_networks(tiny_config())
    for network in networks.parts().values():
        network.eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
    return networks
