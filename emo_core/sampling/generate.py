"""The generation loop: clip after clip, each led by the last frames of the one before.

A Python generator, so that progress, preview, streaming, resuming and cancelling all hang on one
place. Between two clips nothing is carried but the motion latents and the state of the noise, so
a run that is resumed after clip k gives the clips that the whole run would have given.

Letters: F frames of a clip, M motion frames, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from .clip_plan import ClipSpan, plan_clips
from .noise import FilmNoise
from .schedule import set_steps

Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(noisy latents, timestep) -> prediction with all conditions, and without reference and audio.
The second is None when guidance does not need it."""

PrepareClip = Callable[[ClipSpan, Tensor | None], Predict]
"""(span, motion latents [M, 4, h, w] or None before the first clip) -> predictor of that clip. It
predicts `clip_frames` frames even for a shorter last clip."""

OnStep = Callable[[int, int, Tensor], None]
"""(clip index, step index, latents): called after every step; may raise to cancel."""


@dataclass(frozen=True)
class FinishedClip:
    """What the loop yields."""

    span: ClipSpan
    latents: Tensor
    """[span.num_frames, 4, h, w], float32."""
    motion: Tensor | None
    """[M, 4, h, w]: what leads the next clip; None without motion frames."""


class ClipMemory(Protocol):
    """Clips that need not be made again."""

    def recall(self, span: ClipSpan, motion: Tensor | None) -> FinishedClip | None:
        """Return a clip that was made before, led by `motion`; None where it is to be made."""
        ...

    def keep(self, clip: FinishedClip, *, led_by: Tensor | None) -> None:
        """Take a clip that was just made."""
        ...


@torch.no_grad()
def generate_clips(
    prepare_clip: PrepareClip,
    *,
    scheduler: SchedulerMixin,
    steps: int,
    guidance: float,
    num_frames: int,
    clip_frames: int,
    num_motion_frames: int,
    noise: FilmNoise,
    device: torch.device,
    first_clip: int = 0,
    motion: Tensor | None = None,
    recode_motion: Callable[[Tensor], Tensor] | None = None,
    memory: ClipMemory | None = None,
    on_step: OnStep | None = None,
) -> Iterator[FinishedClip]:
    """Yield the finished clips of a film.

    Args:
        guidance: 1 is none; the unconditional prediction is then not asked for.
        noise: fresh, also where another run is gone on with.
        first_clip: to go on where another run stopped, with its last clip's `motion`.
        motion: leads the first clip; None stands for the film's beginning.
        recode_motion: what becomes of a clip's last frames before they lead the next.
        memory: asked for every clip first, and given every clip that is made.

    Yields:
        Clips in order, beginning with `first_clip`.
    """
    for span in plan_clips(num_frames, clip_frames=clip_frames):
        clip_noise = noise.next_clip()
        if span.index < first_clip:
            continue
        finished = None if memory is None else memory.recall(span, motion)
        if finished is not None:
            motion = finished.motion
            yield finished
            continue
        predict = prepare_clip(span, motion)
        set_steps(scheduler, steps)
        latents = clip_noise.to(device) * scheduler.init_noise_sigma
        for step_index, timestep in enumerate(scheduler.timesteps):
            timestep = timestep.to(device)
            conditional, unconditional = predict(
                scheduler.scale_model_input(latents, timestep), timestep
            )
            prediction = guided(conditional, unconditional, guidance=guidance)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
            if on_step is not None:
                on_step(span.index, step_index, latents)
        latents = latents[: span.num_frames]
        led_by, motion = motion, latents[-num_motion_frames:] if num_motion_frames else None
        if motion is not None and recode_motion is not None:
            motion = recode_motion(motion)
        finished = FinishedClip(span=span, latents=latents, motion=motion)
        if memory is not None:
            memory.keep(finished, led_by=led_by)
        yield finished


def guided(conditional: Tensor, unconditional: Tensor | None, *, guidance: float) -> Tensor:
    """Classifier-free guidance, in float32: u + g (c - u)."""
    conditional = conditional.float()
    if unconditional is None:
        return conditional
    unconditional = unconditional.float()
    return unconditional + guidance * (conditional - unconditional)
