"""A film's frames, cut into clips that are generated one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError


@dataclass(frozen=True)
class ClipSpan:
    """One clip: frames `first` to `last` (exclusive) of the film."""

    index: int
    first: int
    last: int
    num_shared: int = 0
    """Of its last frames: those that the next clip has too."""

    @property
    def num_frames(self) -> int:
        return self.last - self.first

    @property
    def num_own(self) -> int:
        """Frames before those that the next clip has too."""
        return self.num_frames - self.num_shared

    def moved(self, num_frames: int) -> ClipSpan:
        """The same clip, so many frames later in the film."""
        return replace(self, first=self.first + num_frames, last=self.last + num_frames)


def whole_clip_frames(num_frames: int, *, clip_frames: int, overlap: int = 0) -> int:
    """Frames of a film's clips when the last one is made whole; arguments as of `plan_clips`."""
    return plan_clips(num_frames, clip_frames=clip_frames, overlap=overlap)[-1].first + clip_frames


def plan_clips(num_frames: int, *, clip_frames: int, overlap: int = 0) -> list[ClipSpan]:
    """Cover `num_frames` frames by clips of `clip_frames`; the last may be shorter.

    Args:
        overlap: frames that a clip shares with the one before, fewer than `clip_frames`.

    Raises:
        InputError: fewer than one frame.
    """
    if num_frames < 1:
        raise InputError(f"film of {num_frames} frames: at least 1 is needed. Give more sound.")
    stride = clip_frames - overlap
    firsts = range(0, max(num_frames - overlap, 1), stride)
    return [
        ClipSpan(
            index=index,
            first=first,
            last=min(first + clip_frames, num_frames),
            num_shared=overlap if first != firsts[-1] else 0,
        )
        for index, first in enumerate(firsts)
    ]


def plan_joined_clips(
    lengths: Sequence[int], *, clip_frames: int, overlap: int, crossfade: int
) -> list[ClipSpan]:
    """Say where clips begin in a film that is joined of pieces, as `video.joining` joins them.

    A piece no longer than a clip is one; others are films, of clips that share `overlap` frames.

    Args:
        lengths: frames of each piece.
        crossfade: frames that neighbours share.
    """
    spans: list[ClipSpan] = []
    start = 0
    for length in lengths:
        # Of the pieces before, nothing begins where this one fades in.
        spans = [span for span in spans if span.first < start]
        if spans:
            spans[-1] = replace(spans[-1], num_shared=crossfade)
        inside = plan_clips(length, clip_frames=clip_frames, overlap=overlap)
        spans += [replace(span.moved(start), index=len(spans) + span.index) for span in inside]
        start += length - crossfade
    return spans
