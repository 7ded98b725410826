"""A film and its parts that are made again, as one stream; the same for whoever makes clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .film import Film
from .sampling.generate import ClipMemory, MakeClip, Motion, Stretch, generate_clips
from .sampling.retake import Retake, retake_clips, retake_together


@dataclass(frozen=True)
class Making:
    """Who makes clips in one way, and who remembers them."""

    make: MakeClip
    memory: ClipMemory | None


def film_stretches(
    film: Film,
    whole: Making,
    again: Sequence[tuple[Retake, Making]],
    *,
    motion: Motion,
    are_faded: bool = True,
) -> Iterator[Stretch]:
    """Yield a film's latents in order: clip after clip, or at once where windows cover it together.

    Args:
        again: parts that are made again, each in the film that those before it left.
        motion: what leads clips; not read where windows cover the film.
        are_faded: whether clips that share frames are faded into each other, or cut.
    """
    sampling = film.config.sampling
    if sampling.windows is not None:
        # All frames are made together: they are one clip.
        num_frames = film.num_sampled_frames
        (stretch,) = generate_clips(
            whole.make,
            num_frames=num_frames,
            clip_frames=num_frames,
            motion=Motion(),
            memory=whole.memory,
        )
        latents = stretch.latents[: film.num_frames]
        for part, new in again:
            latents = retake_together(
                latents, new.make, part, context=sampling.clip_frames, memory=new.memory
            )
        yield Stretch(0, latents)
        return
    sizes = {
        "num_frames": film.num_frames,
        "clip_frames": sampling.clip_frames,
        "overlap": sampling.clip_overlap,
        "motion": motion,
    }
    stretches = generate_clips(whole.make, memory=whole.memory, are_faded=are_faded, **sizes)
    for part, new in again:
        stretches = retake_clips(stretches, new.make, part, memory=new.memory, **sizes)
    yield from stretches
