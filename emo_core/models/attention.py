"""Attention and the spatial transformer of backbone and ReferenceNet.

Keys and values that do not depend on the timestep are projected once (`Attention.project`) and
handed to every step as a `KeyValue`.

Letters: N images (B conditions times F frames), L tokens of one image (H * W), C channels,
D width of a context token, T context tokens, S sequences, E heads.

Source: diffusers `models/attention.py` (BasicTransformerBlock) for names and numbers; the place
of the reference-attention `attn1_5` after V-Express, `modules/mutual_self_attention.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRANSFORMER_NORM_EPS = 1e-6


class KeyValue(NamedTuple):
    """Projected keys and values, each (S, E, T, C / E)."""

    key: Tensor
    value: Tensor

    def to(self, device: torch.device) -> KeyValue:
        return KeyValue(self.key.to(device), self.value.to(device))


class Attention(nn.Module):
    """Multi-head attention; queries, keys and values without bias, output with."""

    def __init__(
        self,
        query_dim: int,
        *,
        num_heads: int,
        context_dim: int | None = None,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        context_dim = query_dim if context_dim is None else context_dim
        self.num_heads = num_heads
        self.to_q = ops.Linear(query_dim, query_dim, bias=False)
        self.to_k = ops.Linear(context_dim, query_dim, bias=False)
        self.to_v = ops.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.ModuleList([ops.Linear(query_dim, query_dim)])

    def project(self, context_STD: Tensor) -> KeyValue:
        """Project a context once, for any number of `forward` calls."""
        return KeyValue(
            self._split_heads(self.to_k(context_STD)), self._split_heads(self.to_v(context_STD))
        )

    def forward(self, query_SLC: Tensor, key_value: KeyValue) -> Tensor:
        """Return (S, L, C). The queries of a sequence attend to that sequence's keys."""
        query = self._split_heads(self.to_q(query_SLC))
        hidden = attend(query, key_value)
        return self.to_out[0](hidden.transpose(1, 2).reshape(query_SLC.shape))

    def of_nothing(self, like_SLC: Tensor) -> Tensor:
        """Return the output for a context of zeros, (1, 1, C): the bias of the output layer.

        Attention over zero keys and values is zero whatever the query, so a dropped condition
        needs no attention at all.
        """
        return self.to_out[0](like_SLC.new_zeros(1, 1, like_SLC.shape[-1]))

    def _split_heads(self, hidden_SLC: Tensor) -> Tensor:
        return hidden_SLC.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attend(query: Tensor, key_value: KeyValue) -> Tensor:
    """Scaled dot-product attention over (S, E, L, C / E).

    PyTorch's fused kernel is the choice but for training on a CPU, where its backward pass takes
    up to seven times as long as plain products on the short sequences of temporal modules.
    """
    key, value = key_value
    if query.device.type == "cpu" and torch.is_grad_enabled():
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return scores.softmax(dim=-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class GatedLinear(nn.Module):
    """GEGLU: the first half of the outputs, times the GELU of the second half."""

    def __init__(self, in_dim: int, out_dim: int, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.proj = ops.Linear(in_dim, 2 * out_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        value, gate = self.proj(hidden).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated, four times as wide inside."""

    def __init__(self, dim: int, *, ops: ModuleType = nn) -> None:
        super().__init__()
        # Slot 1 is diffusers' dropout, which has no parameters; the names must stay net.0, net.2.
        self.net = nn.ModuleList(
            [GatedLinear(dim, 4 * dim, ops=ops), nn.Identity(), ops.Linear(4 * dim, dim)]
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return self.net[2](self.net[0](hidden))


@dataclass(frozen=True)
class SpatialConditions:
    """What one spatial transformer reads besides its own image, already projected.

    `reference` has one sequence per condition (B), shared by its frames. `context` has one
    sequence per image (N). None stands for a dropped condition: a context of zeros.
    """

    reference: KeyValue | None
    context: KeyValue | None
    reference_weight: float = 1.0
    context_weight: float = 1.0

    def to(self, device: torch.device) -> SpatialConditions:
        return dataclasses.replace(
            self,
            reference=None if self.reference is None else self.reference.to(device),
            context=None if self.context is None else self.context.to(device),
        )


class TransformerBlock(nn.Module):
    """Self-attention, [reference-attention], [cross-attention], feed-forward; all residual."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        has_reference_attention: bool,
        context_dim: int | None,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.norm1 = ops.LayerNorm(dim)
        self.attn1 = Attention(dim, num_heads=num_heads, ops=ops)
        self.norm1_5 = self.attn1_5 = self.norm2 = self.attn2 = None
        if has_reference_attention:
            self.norm1_5 = ops.LayerNorm(dim)
            self.attn1_5 = Attention(dim, num_heads=num_heads, ops=ops)
        if context_dim is not None:
            self.norm2 = ops.LayerNorm(dim)
            self.attn2 = Attention(dim, num_heads=num_heads, context_dim=context_dim, ops=ops)
        self.norm3 = ops.LayerNorm(dim)
        self.ff = FeedForward(dim, ops=ops)

    def forward(
        self, hidden_NLC: Tensor, conditions: SpatialConditions | None
    ) -> tuple[Tensor, Tensor]:
        """Return the new hidden state and the feature that a backbone reads of this block.

        The feature is the input of the self-attention after its norm, as in Hallo and EchoMimic
        (`mutual_self_attention.py`, write mode). `conditions` is None for a network that has
        neither reference-attention nor cross-attention.
        """
        feature = self.norm1(hidden_NLC)
        hidden = hidden_NLC + self.attn1(feature, self.attn1.project(feature))
        if self.attn1_5 is not None:
            hidden = hidden + conditions.reference_weight * self._read_reference(
                hidden, conditions.reference
            )
        if self.attn2 is not None:
            hidden = hidden + conditions.context_weight * self._read_context(
                hidden, conditions.context
            )
        return hidden + self.ff(self.norm3(hidden)), feature

    def _read_reference(self, hidden_NLC: Tensor, reference: KeyValue | None) -> Tensor:
        if reference is None:
            return self.attn1_5.of_nothing(hidden_NLC)
        # The frames of one condition queue up as one long sequence, so that its reference
        # stands in memory once and not once per frame.
        num_conditions = reference.key.shape[0]
        query = self.norm1_5(hidden_NLC).unflatten(0, (num_conditions, -1)).flatten(1, 2)
        return self.attn1_5(query, reference).reshape(hidden_NLC.shape)

    def _read_context(self, hidden_NLC: Tensor, context: KeyValue | None) -> Tensor:
        if context is None:
            return self.attn2.of_nothing(hidden_NLC)
        return self.attn2(self.norm2(hidden_NLC), context)


class SpatialTransformer(nn.Module):
    """GroupNorm, 1x1 projection, one transformer block over the tokens of an image, projection."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        norm_num_groups: int,
        has_reference_attention: bool,
        context_dim: int | None,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.norm = ops.GroupNorm(norm_num_groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = ops.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            [
                TransformerBlock(
                    channels,
                    num_heads=num_heads,
                    has_reference_attention=has_reference_attention,
                    context_dim=context_dim,
                    ops=ops,
                )
            ]
        )
        self.proj_out = ops.Conv2d(channels, channels, 1)

    @property
    def block(self) -> TransformerBlock:
        return self.transformer_blocks[0]

    def forward(
        self, hidden_NCHW: Tensor, conditions: SpatialConditions | None
    ) -> tuple[Tensor, Tensor]:
        """Return the new hidden state (N, C, H, W) and the block's feature (N, L, C)."""
        height, width = hidden_NCHW.shape[-2:]
        hidden = self.proj_in(self.norm(hidden_NCHW))
        hidden, feature = self.block(hidden.flatten(2).transpose(1, 2), conditions)
        hidden = hidden.transpose(1, 2).unflatten(2, (height, width))
        return hidden_NCHW + self.proj_out(hidden), feature


def dropped_rows(key_value: KeyValue, is_kept_S: Tensor) -> KeyValue:
    """Zero the keys and values of the sequences that are not kept (condition dropout in training).

    For those rows `Attention.forward` then equals `Attention.of_nothing`.
    """
    keep = is_kept_S.to(key_value.key.dtype)[:, None, None, None]
    return KeyValue(key_value.key * keep, key_value.value * keep)
