"""Head speed -> one token per frame.

The angular speed w of the head is compared with every bucket, tanh(3 (w - c) / r) for a bucket of
centre c and radius r; the values of the neighbouring frames stand side by side and an MLP makes
one token of them (EMO, "Speed Layers"). The token carries the frame's position in the clip, since
the temporal modules read all tokens of a clip.

Letters: B conditions, F frames, W window width in frames, D token width.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import SpeedConfig
from .temporal import sinusoidal_positions


def speed_buckets(speed_deg_s: Tensor, config: SpeedConfig) -> Tensor:
    """Return tanh(3 (w - c_d) / r) for every bucket d, on a new last axis; values in -1..1."""
    centers = torch.tensor(
        config.bucket_centers_deg_s, dtype=torch.float32, device=speed_deg_s.device
    )
    distance = speed_deg_s.float()[..., None] - centers
    return torch.tanh(3.0 * distance / config.bucket_radius_deg_s)


class SpeedEmbedding(nn.Module):
    """Windows of angular speeds -> speed tokens."""

    def __init__(self, config: SpeedConfig, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.config = config
        in_dim = (2 * config.window_margin + 1) * len(config.bucket_centers_deg_s)
        self.linear_1 = ops.Linear(in_dim, config.token_dim)
        self.linear_2 = ops.Linear(config.token_dim, config.token_dim)

    def forward(self, speed_windows_BFW: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Return tokens (B, F, D) for speeds in degrees per second."""
        buckets = speed_buckets(speed_windows_BFW, self.config).flatten(2).to(dtype)
        tokens_BFD = self.linear_2(F.silu(self.linear_1(buckets)))
        return tokens_BFD + sinusoidal_positions(*tokens_BFD.shape[1:], like=tokens_BFD)
