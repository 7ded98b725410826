"""Windows of audio features -> the tokens that a frame's cross-attention reads.

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
