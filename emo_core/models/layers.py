"""What every UNet of the family is made of: time embedding, residual block, resampling.

Names of parameters are diffusers' names, so that published checkpoints load as they are.
Source: diffusers `models/resnet.py`, `models/embeddings.py`, as SD 1.5 has them.

Letters: N images (batch times frames), C channels, H and W rows and columns.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESNET_EPS = 1e-5


def sinusoidal_embedding(timesteps_N: Tensor, dim: int) -> Tensor:
    """Return (N, dim) in float32: cosines, then sines, of geometrically spaced frequencies."""
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timesteps_N.device) / half
    angle_ND = timesteps_N.float()[:, None] * torch.exp(-math.log(10000.0) * exponent)[None]
    return torch.cat([angle_ND.cos(), angle_ND.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Timestep -> embedding of four times the finest width."""

    def __init__(self, channels: int, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = ops.Linear(channels, 4 * channels)
        self.linear_2 = ops.Linear(4 * channels, 4 * channels)

    def forward(self, timesteps_N: Tensor, *, dtype: torch.dtype) -> Tensor:
        embedding = sinusoidal_embedding(timesteps_N, self.channels).to(dtype)
        return self.linear_2(F.silu(self.linear_1(embedding)))


class ResnetBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, with the time embedding between; plus the input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        time_dim: int,
        norm_num_groups: int,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.norm1 = ops.GroupNorm(norm_num_groups, in_channels, eps=RESNET_EPS)
        self.conv1 = ops.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = ops.Linear(time_dim, out_channels)
        self.norm2 = ops.GroupNorm(norm_num_groups, out_channels, eps=RESNET_EPS)
        self.conv2 = ops.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            ops.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, hidden_NCHW: Tensor, time_embedding: Tensor) -> Tensor:
        residual = hidden_NCHW
        hidden = self.conv1(F.silu(self.norm1(hidden_NCHW)))
        hidden = hidden + self.time_emb_proj(F.silu(time_embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            residual = self.conv_shortcut(residual)
        return hidden + residual


class Downsample(nn.Module):
    """Halve rows and columns by a strided convolution."""

    def __init__(self, channels: int, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, hidden_NCHW: Tensor) -> Tensor:
        return self.conv(hidden_NCHW)


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to the size of the skip that follows, then a convolution."""

    def __init__(self, channels: int, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
        return self.conv(F.interpolate(hidden_NCHW, size=size, mode="nearest"))
