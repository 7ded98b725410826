"""A face recogniser's embedding -> the tokens that cross-attention reads.

Source: Hallo, `hallo/models/image_proj.py`. An embedding of zeros, which also stands for a dropped
identity, gives tokens that are not zero.

Letters: B conditions, E embedding width, T tokens, C token width.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from ..config import IdentityConfig


class IdentityProjection(nn.Module):
    """One linear layer and a norm per token."""

    def __init__(self, config: IdentityConfig, *, ops: ModuleType = nn) -> None:
        super().__init__()
        self.config = config
        self.proj = ops.Linear(config.embedding_dim, config.num_tokens * config.token_dim)
        self.norm = ops.LayerNorm(config.token_dim)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        """Return tokens (B, T, C)."""
        return self.norm(self.proj(embedding_BE).unflatten(-1, (self.config.num_tokens, -1)))
