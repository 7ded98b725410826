"""Attention and the spatial transformer of backbone and ReferenceNet.

Keys and values that do not depend on the timestep are projected once (`Attention.project`) and
handed to every step as a `KeyValue`.

The reference is read in one of two ways: by an attention of its own (`attn1_5`: emo, V-Express),
or by the self-attention, whose keys and values are then the frame's own and the reference's
(Hallo, EchoMimic).

Letters: N images (B conditions times F frames), L tokens of one image (H * W), C channels,
D width of a context token, T context tokens, S sequences, E heads.

Source: diffusers `models/attention.py` (BasicTransformerBlock) for names and numbers; the place
of the reference-attention `attn1_5` after V-Express, `modules/mutual_self_attention.py`; the
joined self-attention after Hallo, `hallo/models/mutual_self_attention.py`.
"""

from __future__ import annotations

import dataclasses
import math
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

    def forward(
        self, query_NLC: Tensor, key_value: KeyValue, *, bias: Tensor | None = None
    ) -> Tensor:
        """Return (N, L, C). The queries of a sequence attend to that sequence's keys.

        Where there are fewer sequences of keys than of queries (S < N), N / S of the latter in a
        row, such as the frames of one condition, share one. They queue up as one long sequence,
        so that what they share stands in memory once.

        Args:
            bias: added to the scores, one value per key (T,).
        """
        num_shared = key_value.key.shape[0]
        query_SLC = query_NLC.reshape(num_shared, -1, query_NLC.shape[-1])
        hidden = attend(self._split_heads(self.to_q(query_SLC)), key_value, bias=bias)
        return self.to_out[0](hidden.transpose(1, 2).reshape(query_NLC.shape))

    def of_nothing(self, like_SLC: Tensor) -> Tensor:
        """Return the output for a context of zeros, (1, 1, C): the bias of the output layer.

        Attention over zero keys and values is zero whatever the query, so a dropped condition
        needs no attention at all.
        """
        return self.to_out[0](like_SLC.new_zeros(1, 1, like_SLC.shape[-1]))

    def _split_heads(self, hidden_SLC: Tensor) -> Tensor:
        return hidden_SLC.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attend(query: Tensor, key_value: KeyValue, *, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention over (S, E, L, C / E).

    PyTorch's fused kernel is the choice but for training on a CPU, where its backward pass takes
    up to seven times as long as plain products on the short sequences of temporal modules.
    """
    key, value = key_value
    if query.device.type == "cpu" and torch.is_grad_enabled():
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        scores = scores if bias is None else scores + bias
        return scores.softmax(dim=-1) @ value
    mask = None if bias is None else bias.expand(1, 1, query.shape[2], -1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


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

    `reference` has one sequence per condition (B), shared by its frames, unless
    `reference_order_N` says which sequence each image reads. `context` has one
    sequence per image (N) or per condition. None stands for a dropped condition: a context of
    zeros, or a self-attention without the reference.
    """

    reference: KeyValue | None
    context: KeyValue | None
    reference_order_N: tuple[int, ...] | None = None
    reference_weight: float = 1.0
    context_weight: float | Tensor = 1.0
    """A factor, or one per token (1, L, 1)."""

    def to(self, device: torch.device) -> SpatialConditions:
        weight = self.context_weight
        return dataclasses.replace(
            self,
            reference=None if self.reference is None else self.reference.to(device),
            context=None if self.context is None else self.context.to(device),
            context_weight=weight.to(device) if isinstance(weight, Tensor) else weight,
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
        is_feature_after_attention: bool = False,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.is_feature_after_attention = is_feature_after_attention
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

    def project_reference(self, feature_BLC: Tensor) -> KeyValue:
        """Project a ReferenceNet's feature for the attention that reads it here."""
        reader = self.attn1 if self.attn1_5 is None else self.attn1_5
        return reader.project(feature_BLC)

    def forward(
        self, hidden_NLC: Tensor, conditions: SpatialConditions | None
    ) -> tuple[Tensor, Tensor]:
        """Return the new hidden state and the feature that a backbone reads of this block.

        The feature is the input of the self-attention after its norm, as in Hallo and EchoMimic,
        or that of the cross-attention, as in V-Express (`mutual_self_attention.py`, write mode).
        `conditions` is None for a network that has neither reference- nor cross-attention.
        """
        feature = self.norm1(hidden_NLC)
        hidden = hidden_NLC + self._read_itself(feature, conditions)
        if self.attn1_5 is not None:
            hidden = hidden + conditions.reference_weight * self._read_reference(
                hidden, conditions.reference
            )
        if self.attn2 is not None:
            placed = self.norm2(hidden)
            if self.is_feature_after_attention:
                feature = placed
            answer = self._read_context(placed, conditions.context)
            hidden = hidden + conditions.context_weight * answer
        return hidden + self.ff(self.norm3(hidden)), feature

    def _read_itself(self, feature_NLC: Tensor, conditions: SpatialConditions | None) -> Tensor:
        own = self.attn1.project(feature_NLC)
        is_apart = self.attn1_5 is not None
        if is_apart or conditions is None or conditions.reference is None:
            return self.attn1(feature_NLC, own)
        if conditions.reference_weight == 0.0:
            return self.attn1(feature_NLC, own)
        order_N = conditions.reference_order_N
        if order_N is None:
            num_shared = conditions.reference.key.shape[0]
            num_each = len(feature_NLC) // num_shared
            order_N = tuple(index for index in range(num_shared) for _ in range(num_each))
        joined = joined_keys(own, conditions.reference, order_N)
        if conditions.reference_weight == 1.0:
            return self.attn1(feature_NLC, joined)
        # Scores moved by log w weigh every reference token w times as much as one of the frame.
        bias_T = feature_NLC.new_zeros(joined.key.shape[2])
        bias_T[feature_NLC.shape[1] :] = math.log(conditions.reference_weight)
        return self.attn1(feature_NLC, joined, bias=bias_T)

    def _read_reference(self, hidden_NLC: Tensor, reference: KeyValue | None) -> Tensor:
        if reference is None:
            return self.attn1_5.of_nothing(hidden_NLC)
        return self.attn1_5(self.norm1_5(hidden_NLC), reference)

    def _read_context(self, placed_NLC: Tensor, context: KeyValue | None) -> Tensor:
        if context is None:
            return self.attn2.of_nothing(placed_NLC)
        return self.attn2(placed_NLC, context)


def joined_keys(own: KeyValue, shared: KeyValue, order_N: tuple[int, ...]) -> KeyValue:
    """The keys and values of N images, each followed by the shared sequence that it reads."""
    rows_N = list(order_N)
    return KeyValue(
        torch.cat([own.key, shared.key[rows_N]], dim=2),
        torch.cat([own.value, shared.value[rows_N]], dim=2),
    )


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
        is_feature_after_attention: bool = False,
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
                    is_feature_after_attention=is_feature_after_attention,
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
