"""Fresh weights: what is added in a later stage begins by adding nothing."""

from __future__ import annotations

from torch import nn

from ..models.backbone import Backbone


def initialise(backbone: Backbone) -> None:
    """Zero the outputs of the parts that later stages bring in, and of the last convolution.

    Temporal modules so begin as AnimateDiff's do, and the audio, speed and face-region layers
    likewise leave the model of the stage before as it was.
    """
    for _, attention in backbone.spatial_transformers():
        if attention.block.attn2 is not None:
            _zero(attention.block.attn2.to_out[0])
    for _, module in backbone.temporal_modules():
        _zero(module.temporal_transformer.proj_out)
        speed_attention = module.temporal_transformer.transformer_blocks[0].speed_attention
        if speed_attention is not None:
            _zero(speed_attention.to_out[0])
    if backbone.face_locator is not None:
        _zero(backbone.face_locator.conv_out)
    _zero(backbone.conv_out)


def _zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
