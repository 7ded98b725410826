"""The generation loop: clip after clip, each led by the last frames of the one before.

A Python generator, so that progress, preview, streaming, resuming and cancelling all hang on one
place. What one clip is given of those before it are the motion latents and nothing else, so a clip
that is remembered stands for making it; frames that two clips share are faded from one to the other
only when both are there. Who makes a clip is handed in: a diffusers scheduler (`denoising.py`) or
ComfyUI's sampler stack.

Letters: F frames of a clip, M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .anchor import Anchor
from .clip_plan import ClipSpan, plan_clips
from .held import Held


class MakeClip(Protocol):
    """Samples one clip."""

    def __call__(self, span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        """Return latents (F, C, h, w), at least the span's frames.

        Args:
            span: its index says which noise is drawn.
            motion: clean latents (M, C, h, w) that lead it; None before the film's first clip.
            held: frames that are to become known ones.
        """
        ...


@dataclass(frozen=True)
class Stretch:
    """Frames in a row, as the loop yields them."""

    first: int
    """Its first frame's number in the film."""
    latents: Tensor
    """[frames, C, h, w], float32."""

    @property
    def last(self) -> int:
        """Exclusive."""
        return self.first + len(self.latents)

    def part(self, first: int, last: int) -> Stretch:
        """Those of its frames that lie between two of the film's."""
        first, last = max(first, self.first), min(last, self.last)
        return Stretch(first, self.latents[first - self.first : max(last, first) - self.first])


@dataclass(frozen=True)
class FinishedClip:
    """What a memory keeps of a clip."""

    latents: Tensor
    motion: Tensor | None
    """[M, C, h, w]: what leads the next clip; None without motion frames."""


class ClipMemory(Protocol):
    """Clips that need not be made again."""

    def recall(
        self, span: ClipSpan, led_by: Tensor | None, held: Held | None
    ) -> FinishedClip | None:
        """Return a clip that was made before in this way; None where it is to be made."""
        ...

    def keep(
        self, span: ClipSpan, clip: FinishedClip, *, led_by: Tensor | None, held: Held | None
    ) -> None:
        """Take a clip that was just made."""
        ...


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What leads the clips of a film."""

    num_frames: int = 0
    """That one clip hands to the next; 0 lets every clip begin like the first."""
    first: Tensor | None = None
    """(M, C, h, w) before the film's first frame; None are zero maps."""
    recode: Callable[[Tensor], Tensor] | None = None
    """What becomes of a clip's last frames before they lead the next."""
    anchor: Anchor | None = None

    def after(self, latents: Tensor) -> Tensor | None:
        """What leads on from the last of some frames."""
        if not self.num_frames:
            return self.first
        last = latents[-self.num_frames :]
        return last if self.recode is None else self.recode(last)

    def leading(self, before: FinishedClip, *, index: int) -> Tensor | None:
        """What leads clip `index` of those that are made in a row, after the one before it."""
        if self.anchor is None or before.motion is None:
            return before.motion
        return self.anchor.leading(before.motion, index=index)


@torch.no_grad()
def generate_clips(
    make: MakeClip,
    *,
    num_frames: int,
    clip_frames: int,
    overlap: int = 0,
    are_faded: bool = True,
    motion: Motion,
    memory: ClipMemory | None = None,
) -> Iterator[Stretch]:
    """Yield a film's clips in order.

    Args:
        overlap: frames that a clip shares with the one before.
        are_faded: whether these are faded from one to the other; else they are the later clip's.
        memory: asked for every clip first, and given every clip that is made.
    """
    spans = plan_clips(num_frames, clip_frames=clip_frames, overlap=overlap)
    yield from clips_in_a_row(
        make, spans, led_by=motion.first, motion=motion, memory=memory, are_faded=are_faded
    )


def clips_in_a_row(
    make: MakeClip,
    spans: Sequence[ClipSpan],
    *,
    led_by: Tensor | None,
    motion: Motion,
    memory: ClipMemory | None,
    are_faded: bool = True,
    shared: Tensor | None = None,
    hold: Callable[[ClipSpan], Held | None] = lambda span: None,
) -> Iterator[Stretch]:
    """Yield clips that follow each other, each up to the frames that the next has too.

    Args:
        led_by: what leads the first of them.
        shared: frames (O, C, h, w) out of which the first of them comes.
        hold: which frames of a clip are to become known ones.
    """
    for span in spans:
        clip = finish_clip(make, span, led_by, hold(span), motion=motion, memory=memory)
        led_by = motion.leading(clip, index=span.index + 1)
        latents = clip.latents if shared is None else faded(shared, clip.latents)
        shared = latents[span.num_own :] if span.num_shared and are_faded else None
        yield Stretch(span.first, latents[: span.num_own])


def faded(before_OChw: Tensor, after_FChw: Tensor) -> Tensor:
    """Return a clip's latents (F, C, h, w), whose first frames come out of the clip before it.

    The two takes of what both have part as they go on: of n shared frames the last ones are taken
    to be n times as far from each other as the first ones. The shares rise evenly to where the
    step out of the shared frames is then no larger than that into them.

    Args:
        before_OChw: the frames that both have, as the clip before shows them; those that a short
            clip lacks are not read.
    """
    num_before = len(before_OChw)
    share = torch.arange(1, num_before + 1).to(after_FChw) * num_before / (num_before**2 + 1)
    num_shared = min(num_before, len(after_FChw))
    mixed = (
        before_OChw[:num_shared]
        .to(after_FChw)
        .lerp(after_FChw[:num_shared], share[:num_shared, None, None, None])
    )
    return torch.cat([mixed, after_FChw[num_shared:]])


def finish_clip(
    make: MakeClip,
    span: ClipSpan,
    led_by: Tensor | None,
    held: Held | None,
    *,
    motion: Motion,
    memory: ClipMemory | None,
) -> FinishedClip:
    """Return a clip: remembered, or made and then kept."""
    found = None if memory is None else memory.recall(span, led_by, held)
    if found is not None:
        return found
    latents = make(span, led_by, held)[: span.num_frames]
    clip = FinishedClip(latents, motion.after(latents[: span.num_own]))
    if memory is not None:
        memory.keep(span, clip, led_by=led_by, held=held)
    return clip
