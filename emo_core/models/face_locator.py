"""Face-region mask or key points -> a map that is added to the latents' first feature map.

The mask covers the union of the face's boxes over the whole film; it says where the face may
appear and leaves the motion free (EMO, "Face Locator"). V-Express gives the same network a drawing
of eyes and nose instead.

Source of the network: Hallo, `hallo/models/face_locator.py`: 3x3 convolutions with SiLU, three of
them with stride 2, so a mask at pixel size becomes a map at latent size.
"""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import torch.nn.functional as F
from torch import Tensor, nn


class FaceLocator(nn.Module):
    """Pictures (N, in_channels, 8H, 8W) of 0..1 -> (N, out_channels, H, W)."""

    def __init__(
        self,
        channels: tuple[int, ...],
        out_channels: int,
        *,
        in_channels: int = 1,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.conv_in = ops.Conv2d(in_channels, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for narrow, wide in pairwise(channels):
            self.blocks.append(ops.Conv2d(narrow, narrow, 3, padding=1))
            self.blocks.append(ops.Conv2d(narrow, wide, 3, padding=1, stride=2))
        self.conv_out = ops.Conv2d(channels[-1], out_channels, 3, padding=1)

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        hidden = F.silu(self.conv_in(pictures_NCHW))
        for block in self.blocks:
            hidden = F.silu(block(hidden))
        return self.conv_out(hidden)
