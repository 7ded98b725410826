"""Temporal modules: attention along time at every pixel, led by the motion frames.

The motion frames' features, one per ReferenceNet block, stand in front of the new frames; they
are read and then dropped (EMO, "Temporal Modules": the motion frames' feature maps are joined
along the frames dimension). With speed layers, a cross-attention to the speed tokens follows the
self-attention (EMO, "Speed Layers").

Parameter names and numbers: AnimateDiff v2 as in Hallo, `hallo/models/motion_module.py`. The
position table is computed, not loaded.

Letters: B conditions, F new frames, M motion frames, L tokens of one image, C channels,
D width of a speed token, S sequences (B * L).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from types import ModuleType

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import TemporalConfig
from .attention import TRANSFORMER_NORM_EPS, Attention, FeedForward, KeyValue


def sinusoidal_positions(length: int, dim: int, *, like: Tensor) -> Tensor:
    """Return the (length, dim) table: sine on even channels, cosine on odd ones."""
    position = torch.arange(length, dtype=torch.float32, device=like.device)[:, None]
    channel = torch.arange(0, dim, 2, dtype=torch.float32, device=like.device)
    angle = position * torch.exp(channel * (-math.log(10000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


@dataclass(frozen=True)
class TemporalConditions:
    """What one temporal module reads besides the frames."""

    motion_SMC: Tensor | None
    """Projected features of the motion frames, S or 1 (the same for every pixel); None where the
    ReferenceNet has no feature."""
    speed: KeyValue | None
    """One sequence per condition; None leaves the speed layer out."""
    speed_weight: float = 1.0

    def to(self, device: torch.device) -> TemporalConditions:
        return dataclasses.replace(
            self,
            motion_SMC=None if self.motion_SMC is None else self.motion_SMC.to(device),
            speed=None if self.speed is None else self.speed.to(device),
        )


class TemporalBlock(nn.Module):
    """Self-attention blocks, [speed], feed-forward."""

    def __init__(
        self,
        dim: int,
        config: TemporalConfig,
        *,
        num_heads: int,
        speed_dim: int | None,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            [
                Attention(dim, num_heads=num_heads, ops=ops)
                for _ in range(config.num_attention_blocks)
            ]
        )
        self.norms = nn.ModuleList([ops.LayerNorm(dim) for _ in range(config.num_attention_blocks)])
        self.speed_norm = self.speed_attention = None
        if speed_dim is not None:
            self.speed_norm = ops.LayerNorm(dim)
            self.speed_attention = Attention(
                dim, num_heads=num_heads, context_dim=speed_dim, ops=ops
            )
        self.ff_norm = ops.LayerNorm(dim)
        self.ff = FeedForward(dim, ops=ops)

    def forward(self, frames_SFC: Tensor, conditions: TemporalConditions) -> Tensor:
        hidden = frames_SFC
        num_motion = 0
        if conditions.motion_SMC is not None:
            num_motion = conditions.motion_SMC.shape[1]
            motion_SMC = conditions.motion_SMC.expand(frames_SFC.shape[0], -1, -1)
            hidden = torch.cat([motion_SMC, frames_SFC], dim=1)
        positions = sinusoidal_positions(hidden.shape[1], hidden.shape[2], like=hidden)
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            placed = norm(hidden) + positions
            hidden = hidden + attention(placed, attention.project(placed))
        hidden = hidden[:, num_motion:]
        if conditions.speed is not None:
            placed = self.speed_norm(hidden) + positions[num_motion:]
            # All pixels of one condition read the same speed tokens.
            answer = self.speed_attention(placed, conditions.speed)
            hidden = hidden + conditions.speed_weight * answer
        return hidden + self.ff(self.ff_norm(hidden))


class TemporalTransformer(nn.Module):
    """GroupNorm per frame, projection, temporal block, projection; plus the input."""

    def __init__(
        self,
        channels: int,
        config: TemporalConfig,
        *,
        num_heads: int,
        norm_num_groups: int,
        speed_dim: int | None,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.norm = ops.GroupNorm(norm_num_groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = ops.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            [TemporalBlock(channels, config, num_heads=num_heads, speed_dim=speed_dim, ops=ops)]
        )
        self.proj_out = ops.Linear(channels, channels)

    @property
    def block(self) -> TemporalBlock:
        return self.transformer_blocks[0]

    def prepare(
        self,
        motion_BMLC: Tensor | None,
        *,
        speed_tokens_BFD: Tensor | None,
        speed_weight: float,
    ) -> TemporalConditions:
        """Project what does not depend on the timestep, once per clip."""
        motion_SMC = None
        if motion_BMLC is not None:
            tokens = self._enter(rearrange(motion_BMLC, "b m l c -> (b m) c l"))
            motion_SMC = rearrange(tokens, "(b m) l c -> (b l) m c", m=motion_BMLC.shape[1])
        speed = None
        if speed_tokens_BFD is not None:
            speed = self.block.speed_attention.project(speed_tokens_BFD)
        return TemporalConditions(motion_SMC=motion_SMC, speed=speed, speed_weight=speed_weight)

    def forward(
        self, hidden_NCHW: Tensor, conditions: TemporalConditions, *, num_frames: int
    ) -> Tensor:
        """Return the new hidden state (B * F, C, H, W)."""
        height, width = hidden_NCHW.shape[-2:]
        tokens_NLC = self._enter(hidden_NCHW.flatten(2))
        frames_SFC = rearrange(tokens_NLC, "(b f) l c -> (b l) f c", f=num_frames)
        frames_SFC = self.proj_out(self.block(frames_SFC, conditions))
        return hidden_NCHW + rearrange(frames_SFC, "(b h w) f c -> (b f) c h w", h=height, w=width)

    def _enter(self, hidden_NCL: Tensor) -> Tensor:
        """Norm and projection per image; (N, C, L) -> (N, L, C)."""
        return self.proj_in(self.norm(hidden_NCL).transpose(1, 2))


class TemporalModule(nn.Module):
    """Holds a temporal transformer under the name that published files give it."""

    def __init__(self, temporal_transformer: TemporalTransformer) -> None:
        super().__init__()
        self.temporal_transformer = temporal_transformer
