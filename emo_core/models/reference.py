"""ReferenceNet: the twin UNet that reads the reference image and the motion frames.

It runs at timestep 0, once for the reference and once per clip for the motion frames, and returns
one feature per spatial transformer as a plain value (EMO, "ReferenceNet").

Letters: N images, C channels, H and W rows and columns.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from ..config import ReferenceNetConfig
from .unet import STILL, Features, UNet


class ReferenceNet(UNet):
    """Latents of clean images -> features by name of the transformer."""

    def __init__(self, config: ReferenceNetConfig, *, ops: ModuleType = nn) -> None:
        super().__init__(
            config.unet,
            has_reference_attention=False,
            context_dim=config.context_dim,
            has_output=config.is_output_present,
            ops=ops,
        )

    def forward(self, latents_NCHW: Tensor) -> Features:
        """Return {name: (N, H * W, C)}."""
        features: Features = {}
        timesteps_N = latents_NCHW.new_zeros(latents_NCHW.shape[0])
        self.run(latents_NCHW, timesteps_N, STILL, features=features)
        return features
