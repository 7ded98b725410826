"""Windows of audio features -> the tokens that a frame's cross-attention reads.

Three kinds: an MLP (emo, Hallo), a Perceiver (V-Express, `models/perceiver.py`), or none at all,
where every row's every layer is a token (EchoMimic).

Source: EMO, "Audio Layers"; the network is Hallo's, `hallo/models/audio_proj.py` (whose
docstrings give another shape than its code).

Letters: B conditions, F frames, W window width in frames, L encoder layers, D feature width,
T tokens of one frame, C token width.
"""

from __future__ import annotations

from types import ModuleType

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AudioConfig
from .perceiver import PerceiverProjection


class AudioProjection(nn.Module):
    """Three linear layers and a norm per token."""

    def __init__(self, config: AudioConfig, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.num_tokens = config.num_tokens
        in_dim = config.window * config.num_layers * config.feature_dim
        self.proj1 = ops.Linear(in_dim, config.hidden_dim)
        self.proj2 = ops.Linear(config.hidden_dim, config.hidden_dim)
        self.proj3 = ops.Linear(config.hidden_dim, config.num_tokens * config.token_dim)
        self.norm = ops.LayerNorm(config.token_dim)

    def forward(self, windows_BFWLD: Tensor) -> Tensor:
        """Return tokens (B, F, T, C)."""
        hidden = F.relu(self.proj1(windows_BFWLD.flatten(2)))
        hidden = F.relu(self.proj2(hidden))
        return self.norm(self.proj3(hidden).unflatten(-1, (self.num_tokens, -1)))


class PlainTokens(nn.Module):
    """No projection: rows and layers of a window stand side by side as tokens."""

    def forward(self, windows_BFWLD: Tensor) -> Tensor:
        """Return tokens (B, F, W * L, D)."""
        return windows_BFWLD.flatten(2, 3)


def audio_projection_of(config: AudioConfig, *, ops: ModuleType = nn) -> nn.Module:
    """Build the projection of a config, (B, F, W, L, D) -> tokens (B, F, T, C)."""
    if config.projection is None:
        return PlainTokens()
    if config.projection == "perceiver":
        return PerceiverProjection(config, ops=ops)
    return AudioProjection(config, ops=ops)
