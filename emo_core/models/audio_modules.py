"""Audio modules: a transformer per layer that hears the voice, apart from the spatial one.

Three cross-attentions read the same audio tokens, one for the whole picture, one for the face and
one for the lips. A mask says where each of them counts, and a factor how much, so that the motion
of head, face and lips can be weighted.

Source: Hallo, `hallo/models/attention.py` (AudioTemporalBasicTransformerBlock) and
`hallo/models/transformer_3d.py`. Inside, a module is as wide as its block's input, not as its
output (`hallo/models/unet_3d_blocks.py`); published weights have these shapes.

Letters: N images (B conditions times F frames), L tokens of one image, C channels outside, c
inside, T audio tokens, D their width, R branches.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from .attention import TRANSFORMER_NORM_EPS, Attention, FeedForward, KeyValue

BRANCHES = ("full", "face", "lip")
"""Names of the output layers, in the order of `attn2_0`, `attn2_1`, `attn2_2`."""


@dataclass(frozen=True)
class AudioModuleConditions:
    """What one audio module reads, already projected."""

    branches: tuple[KeyValue, ...] | None
    """One sequence per image (N) for each branch; None is a context of zeros."""
    mask_RL: Tensor
    weights: tuple[float, ...]
    """A factor on what each branch adds."""
    constant_1Lc: Tensor | None
    """What all branches together add where the context is zeros."""

    def to(self, device: torch.device) -> AudioModuleConditions:
        branches, constant = self.branches, self.constant_1Lc
        return dataclasses.replace(
            self,
            branches=None if branches is None else tuple(kv.to(device) for kv in branches),
            mask_RL=self.mask_RL.to(device),
            constant_1Lc=None if constant is None else constant.to(device),
        )


class AudioBlock(nn.Module):
    """Self-attention, masked cross-attentions, feed-forward; all residual."""

    def __init__(self, dim: int, *, num_heads: int, context_dim: int, ops: ModuleType = nn) -> None:
        super().__init__()
        self.norm1 = ops.LayerNorm(dim)
        self.attn1 = Attention(dim, num_heads=num_heads, ops=ops)
        self.norm2 = ops.LayerNorm(dim)
        for index, name in enumerate(BRANCHES):
            attention = Attention(dim, num_heads=num_heads, context_dim=context_dim, ops=ops)
            setattr(self, f"attn2_{index}", attention)
            setattr(self, f"zero_conv_{name}", ops.Conv2d(dim, dim, 1))
        self.norm3 = ops.LayerNorm(dim)
        self.ff = FeedForward(dim, ops=ops)

    def prepare(
        self, tokens_NTD: Tensor | None, mask_RL: Tensor, weights: tuple[float, ...]
    ) -> AudioModuleConditions:
        """Project what does not depend on the timestep."""
        attentions = [attention for attention, _ in self._branches()]
        if tokens_NTD is not None:
            branches = tuple(attention.project(tokens_NTD) for attention in attentions)
            return AudioModuleConditions(branches, mask_RL, weights, constant_1Lc=None)
        silent = mask_RL.new_zeros(1, mask_RL.shape[1], self.norm2.normalized_shape[0])
        answers = [attention.of_nothing(silent).expand_as(silent) for attention in attentions]
        constant = self._sum(answers, mask_RL, weights)
        return AudioModuleConditions(None, mask_RL, weights, constant_1Lc=constant)

    def forward(self, hidden_NLc: Tensor, conditions: AudioModuleConditions) -> Tensor:
        placed = self.norm1(hidden_NLc)
        hidden = hidden_NLc + self.attn1(placed, self.attn1.project(placed))
        if conditions.branches is None:
            hidden = hidden + conditions.constant_1Lc
        else:
            placed = self.norm2(hidden)
            answers = [
                attention(placed, key_value)
                for (attention, _), key_value in zip(
                    self._branches(), conditions.branches, strict=True
                )
            ]
            hidden = hidden + self._sum(answers, conditions.mask_RL, conditions.weights)
        return hidden + self.ff(self.norm3(hidden))

    def _branches(self) -> list[tuple[Attention, nn.Module]]:
        return [
            (getattr(self, f"attn2_{index}"), getattr(self, f"zero_conv_{name}"))
            for index, name in enumerate(BRANCHES)
        ]

    def _sum(self, answers: list[Tensor], mask_RL: Tensor, weights: tuple[float, ...]) -> Tensor:
        """Mask what the branches answer, pass it through their output layers, weigh and add.

        The mask covers the attention's bias, but not that of the output layer.
        """
        total = 0.0
        for (_, layer), answer, mask_L, weight in zip(
            self._branches(), answers, mask_RL, weights, strict=True
        ):
            masked_NcL1 = (answer * mask_L[:, None]).transpose(1, 2)[..., None]
            total = total + weight * layer(masked_NcL1)[..., 0].transpose(1, 2)
        return total


class AudioTransformer(nn.Module):
    """GroupNorm, 1x1 projection to the inner width, one block, projection back; plus the input."""

    def __init__(
        self,
        channels: int,
        inner: int,
        *,
        num_heads: int,
        norm_num_groups: int,
        context_dim: int,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.norm = ops.GroupNorm(norm_num_groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = ops.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            [AudioBlock(inner, num_heads=num_heads, context_dim=context_dim, ops=ops)]
        )
        self.proj_out = ops.Conv2d(inner, channels, 1)

    @property
    def block(self) -> AudioBlock:
        return self.transformer_blocks[0]

    def forward(self, hidden_NCHW: Tensor, conditions: AudioModuleConditions) -> Tensor:
        height, width = hidden_NCHW.shape[-2:]
        hidden = self.proj_in(self.norm(hidden_NCHW))
        hidden = self.block(hidden.flatten(2).transpose(1, 2), conditions)
        hidden = hidden.transpose(1, 2).unflatten(2, (height, width))
        return hidden_NCHW + self.proj_out(hidden)
