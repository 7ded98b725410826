"""Fresh weights: twins begin alike, and what a later stage adds begins by adding nothing."""

from __future__ import annotations

import torch
from torch import nn

from ..models.backbone import Backbone
from ..models.reference import ReferenceNet


def initialise(backbone: Backbone, reference_net: ReferenceNet) -> None:
    """Prepare fresh networks for stage 1.

    In EMO backbone and ReferenceNet both begin as Stable Diffusion, so their features can be
    compared from the first step on. Here the ReferenceNet begins as a copy of the young backbone,
    and reference-attention with equal projections of queries and keys: what looks alike attends
    to each other.

    The outputs of the parts that later stages bring in, and of the last convolution, are zero.
    Temporal modules so begin as AnimateDiff's do, and the audio, speed and face-region layers
    likewise leave the model of the stage before as it was.
    """
    shared = backbone.state_dict()
    reference_net.load_state_dict({key: shared[key] for key in reference_net.state_dict()})
    for _, attention in backbone.spatial_transformers():
        if attention.block.attn1_5 is not None:
            with torch.no_grad():
                attention.block.attn1_5.to_k.weight.copy_(attention.block.attn1_5.to_q.weight)
        if attention.block.attn2 is not None:
            _zero(attention.block.attn2.to_out[0])
    for _, transformer in backbone.temporal_transformers():
        _zero(transformer.proj_out)
        if transformer.block.speed_attention is not None:
            _zero(transformer.block.speed_attention.to_out[0])
    if backbone.face_locator is not None:
        _zero(backbone.face_locator.conv_out)
    _zero(backbone.conv_out)


def _zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
