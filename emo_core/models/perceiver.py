"""Windows of audio rows -> tokens that gather what they need from a window by attention.

Learned latents, one per token, attend to the window's rows and to one another, layer by layer.

Source: V-Express, `modules/audio_projection.py` (AudioProjection), a Perceiver resampler.

Letters: B conditions, F frames, W rows of a window, L encoder layers, D feature width, N frames of
all conditions, R rows, T tokens of one frame, C token width, H heads, K width of a head.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AudioConfig


class PerceiverProjection(nn.Module):
    """Positions, projection, layers of attention and feed-forward, projection, norm."""

    def __init__(self, config: AudioConfig, *, ops: ModuleType = nn) -> None:
        super().__init__()
        dim, perceiver = config.token_dim, config.perceiver
        self.latents = nn.Parameter(torch.randn(1, config.num_tokens, dim) / dim**0.5)
        self.pos_emb = PositionTable(config.window * config.num_layers, config.feature_dim)
        self.proj_in = ops.Linear(config.feature_dim, dim)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PerceiverAttention(
                        dim, num_heads=perceiver.num_heads, head_dim=perceiver.head_dim, ops=ops
                    ),
                    nn.Sequential(
                        ops.LayerNorm(dim),
                        ops.Linear(dim, perceiver.ff_mult * dim, bias=False),
                        nn.GELU(),
                        ops.Linear(perceiver.ff_mult * dim, dim, bias=False),
                    ),
                ]
            )
            for _ in range(perceiver.num_layers)
        )
        self.proj_out = ops.Linear(dim, dim)
        self.norm_out = ops.LayerNorm(dim)

    def forward(self, windows_BFWLD: Tensor) -> Tensor:
        """Return tokens (B, F, T, C)."""
        rows_NRD = windows_BFWLD.flatten(0, 1).flatten(1, 2)
        rows_NRC = self.proj_in(self.pos_emb(rows_NRD))
        latents_NTC = self.latents.to(rows_NRC).expand(rows_NRC.shape[0], -1, -1)
        for attention, feed_forward in self.layers:
            latents_NTC = latents_NTC + attention(rows_NRC, latents_NTC)
            latents_NTC = latents_NTC + feed_forward(latents_NTC)
        tokens_NTC = self.norm_out(self.proj_out(latents_NTC))
        return tokens_NTC.unflatten(0, windows_BFWLD.shape[:2])


class PositionTable(nn.Module):
    """Adds a learned vector to every row; as many rows as the table has."""

    def __init__(self, num_rows: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_rows, dim))

    def forward(self, rows_NRD: Tensor) -> Tensor:
        return rows_NRD + self.weight.to(rows_NRD)


class PerceiverAttention(nn.Module):
    """Queries of the latents; keys and values of the rows and then of the latents; no biases."""

    def __init__(self, dim: int, *, num_heads: int, head_dim: int, ops: ModuleType = nn) -> None:
        super().__init__()
        inner_dim = num_heads * head_dim
        self.num_heads = num_heads
        self.norm1 = ops.LayerNorm(dim)
        self.norm2 = ops.LayerNorm(dim)
        self.to_q = ops.Linear(dim, inner_dim, bias=False)
        self.to_kv = ops.Linear(dim, 2 * inner_dim, bias=False)
        self.to_out = ops.Linear(inner_dim, dim, bias=False)

    def forward(self, rows_NRC: Tensor, latents_NTC: Tensor) -> Tensor:
        """Return what is to be added to the latents (N, T, C)."""
        latents_NTC = self.norm2(latents_NTC)
        seen = torch.cat([self.norm1(rows_NRC), latents_NTC], dim=1)
        key, value = self.to_kv(seen).chunk(2, dim=-1)
        query_NHTK, key_NHRK, value_NHRK = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.to_q(latents_NTC), key, value)
        )
        hidden = F.scaled_dot_product_attention(query_NHTK, key_NHRK, value_NHRK)
        return self.to_out(hidden.transpose(1, 2).flatten(2))
