"""Bringing a long film back to its reference.

What one clip hands to the next drifts over many of them. Every few clips the motion frames are
mixed with the reference, as a still: the film goes on, but leans towards how it began.

Letters: M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError

USUAL_ANCHOR_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """When motion frames are mixed with the reference, and how far."""

    every: int
    """Clips."""
    share: float
    """Of the reference, 0 to 1."""
    reference: Tensor
    """Latents (1, C, h, w)."""

    def __post_init__(self) -> None:
        if self.every < 1 or not 0.0 <= self.share <= 1.0:
            raise InputError(
                f"anchor every {self.every} clips with a share of {self.share}: expected a number "
                "of clips, and a share of 0 to 1."
            )

    def leading(self, motion_MChw: Tensor, *, index: int) -> Tensor:
        """What leads clip `index`, given the last frames before it."""
        if index % self.every:
            return motion_MChw
        return motion_MChw.lerp(self.reference.to(motion_MChw), self.share)
