"""Parts of a film made again: another take from one frame to another, joined to the old film.

The start follows the old frames as any clip follows another. At the end the last new frames are
held more and more at the old ones, so the two takes meet within a few frames.

Letters: F frames, M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from ..errors import InputError
from .clip_plan import ClipSpan, plan_clips
from .generate import ClipMemory, MakeClip, Motion, Stretch, clips_in_a_row, finish_clip
from .held import Held

USUAL_BLEND_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Retake:
    """Frames of a film that are made again."""

    first: int
    last: int
    """Exclusive."""
    blend_frames: int
    """After `last`, in which the new take becomes the old one."""

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last:
            raise InputError(
                f"retake of frames {self.first} to {self.last}: expected an end behind its start."
            )
        if self.blend_frames < 1:
            raise InputError(
                f"retake: {self.blend_frames} frames in which the new take becomes the old one "
                "(blend); expected at least 1. Give a longer blend."
            )

    @property
    def end(self) -> int:
        """The first frame that is the old one again."""
        return self.last + self.blend_frames

    def frames_seen(self, num_frames: int, *, context: int) -> range:
        """With some frames of the old film on either side."""
        last = min(min(self.end, num_frames) + context, num_frames)
        return range(max(self.first - context, 0), last)

    def share_of_old(self, frames: range) -> Tensor:
        """How far some frames are held at the old take's, (F,)."""
        step = torch.tensor([frame - self.last + 1 for frame in frames], dtype=torch.float32)
        return (step / (self.blend_frames + 1)).clamp(0.0, 1.0)


def retake_part(
    start_s: float, end_s: float, *, fps: float, num_frames: int, blend_frames: int
) -> Retake:
    """Return the frames of a stretch of time.

    Raises:
        InputError: it is empty, or not inside the film.
    """
    duration_s = num_frames / fps
    first, last = round(start_s * fps), min(round(end_s * fps), num_frames)
    if not 0 <= first < last:
        raise InputError(
            f"retake from {start_s:g} to {end_s:g} s: expected a start before its end, inside the "
            f"film's {duration_s:.2f} s."
        )
    return Retake(first=first, last=last, blend_frames=blend_frames)


@torch.no_grad()
def retake_clips(
    film: Iterator[Stretch],
    make: MakeClip,
    retake: Retake,
    *,
    num_frames: int,
    clip_frames: int,
    overlap: int = 0,
    motion: Motion,
    memory: ClipMemory | None = None,
) -> Iterator[Stretch]:
    """Yield a film with a part made again.

    What lies before `retake.first` and from `retake.end` on is the old film's, bit for bit; the
    first new clip is led by the old frames before it, and an anchor counts clips from there. Where
    fewer lie before it than lead a clip, it begins with the film, and these are held.

    Args:
        film: the old one; its later clips are led by its own.
    """
    old, shared = _OldFilm(film), None
    num_kept = retake.first if retake.first < motion.num_frames else 0
    first = retake.first - num_kept
    end = min(retake.end, num_frames)
    led_by = motion.first
    if first:
        before = None
        for stretch in old.until(first):
            yield stretch
            seen = stretch.latents if before is None else torch.cat([before, stretch.latents])
            before = seen[-max(motion.num_frames, 1) :]
        led_by = motion.after(before)
        if overlap:
            shared = old.frames(range(first, first + overlap), since=first)

    def hold(span: ClipSpan) -> Held | None:
        frames = range(span.first, span.first + clip_frames)
        is_end_seen = retake.last < min(frames.stop, num_frames)
        if frames.start >= num_kept and not is_end_seen:
            return None
        share = retake.share_of_old(frames) if is_end_seen else torch.zeros(clip_frames)
        share[: max(num_kept - frames.start, 0)] = 1.0
        since = retake.last if frames.start >= num_kept else frames.start
        return Held(old.frames(frames, since=since), share)

    kept = old.frames(range(num_kept), since=0) if num_kept else None
    spans = plan_clips(end - first, clip_frames=clip_frames, overlap=overlap)
    for stretch in clips_in_a_row(
        make,
        [span.moved(first) for span in spans],
        led_by=led_by,
        motion=motion,
        memory=memory,
        shared=shared,
        hold=hold,
    ):
        num_old = max(num_kept - stretch.first, 0)
        if num_old:
            latents = stretch.latents.clone()
            latents[:num_old] = kept[stretch.first : stretch.first + len(latents)]
            stretch = Stretch(stretch.first, latents)
        yield stretch
    if end < num_frames:
        yield from old.since(end)


@torch.no_grad()
def retake_together(
    latents: Tensor,
    make: MakeClip,
    retake: Retake,
    *,
    context: int,
    memory: ClipMemory | None = None,
) -> Tensor:
    """As `retake_clips`, where all frames of a film (F, C, h, w) are made together in windows.

    Nothing leads there, so the part's first frames are held like its last.

    Args:
        context: frames of the old film on either side that the new ones see.
    """
    end = min(retake.end, len(latents))
    frames = retake.frames_seen(len(latents), context=context)
    share = retake.share_of_old(frames)
    if retake.first > 0:
        step = torch.tensor([retake.first + retake.blend_frames - frame for frame in frames])
        share = share.maximum((step / (retake.blend_frames + 1)).clamp(0.0, 1.0))
    span = ClipSpan(0, frames.start, frames.stop)
    held = Held(latents[frames.start : frames.stop], share)
    clip = finish_clip(make, span, None, held, motion=Motion(), memory=memory)
    new = clip.latents[retake.first - frames.start : end - frames.start].to(latents)
    return torch.cat([latents[: retake.first], new, latents[end:]])


class _OldFilm:
    """A film's stretches, handed on or looked at."""

    def __init__(self, film: Iterator[Stretch]) -> None:
        self.film = film
        self.seen: list[Stretch] = []
        """Taken from the film and not handed on yet."""

    def until(self, last: int) -> Iterator[Stretch]:
        """Hand on everything before a frame."""
        for stretch in self.film:
            if stretch.last > last:
                self.seen = [stretch]
            yield stretch.part(stretch.first, last)
            if stretch.last >= last:
                return

    def frames(self, frames: range, *, since: int) -> Tensor:
        """Look at some frames; those before `since` are not of interest and may be any, those
        past the film's end are its last."""
        while not self.seen or self.seen[-1].last < frames.stop:
            stretch = next(self.film, None)
            if stretch is None:
                break
            self.seen = [old for old in [*self.seen, stretch] if old.last > since]
        latents = torch.cat([stretch.latents for stretch in self.seen])
        place = torch.tensor(frames) - self.seen[0].first
        return latents[place.clamp(0, len(latents) - 1)]

    def since(self, first: int) -> Iterator[Stretch]:
        """Hand on everything from a frame on."""
        for stretch in chain(self.seen, self.film):
            if stretch.last > first:
                yield stretch.part(first, stretch.last)
