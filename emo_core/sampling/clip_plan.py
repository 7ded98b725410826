"""A film's frames, cut into clips that are generated one after another."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class ClipSpan:
    """One clip: frames `first` to `last` (exclusive) of the film."""

    index: int
    first: int
    last: int

    @property
    def num_frames(self) -> int:
        return self.last - self.first


def plan_clips(num_frames: int, *, clip_frames: int) -> list[ClipSpan]:
    """Cover `num_frames` frames by clips of `clip_frames`; the last may be shorter.

    Raises:
        InputError: fewer than one frame.
    """
    if num_frames < 1:
        raise InputError(f"film of {num_frames} frames: at least 1 is needed. Give more sound.")
    return [
        ClipSpan(index=index, first=first, last=min(first + clip_frames, num_frames))
        for index, first in enumerate(range(0, num_frames, clip_frames))
    ]
