"""Run the beginning of a film, with everything that rendering does, and time it.

Letters: F frames, H and W rows and columns of pixels.
"""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

from ..film import Film
from ..pipeline import AnimateSettings, Animator
from .costs import MEASURED_STEPS, Costs, StepClock
from .plan import FilmPlan, first_part
from .scratch import OpenScratch, time_writing


@torch.no_grad()
def measure(
    animator: Animator,
    film: Film,
    *,
    settings: AnimateSettings,
    prepare_s: float,
    open_scratch: OpenScratch,
) -> Costs:
    """Sample two clips of a few steps, decode and write them.

    Args:
        prepare_s: seconds that gathering the film took.

    Raises:
        torch.OutOfMemoryError: the card has no room for it, and so not for the film.
    """
    few = dataclasses.replace(settings, steps=MEASURED_STEPS)
    part = first_part(film)
    plan = FilmPlan.of(part, steps=MEASURED_STEPS)
    clock = StepClock(plan)

    def on_step(clip_index: int, step_index: int, latents: Tensor) -> None:
        clock.tick(clip_index * MEASURED_STEPS + step_index, latents)

    clips = list(animator.sample(part, settings=few, on_step=on_step))
    sampling = clock.costs()
    for _ in animator.decode(clips[:1]):  # Warms up.
        pass
    begun_s = time.perf_counter()
    frames_FHW3 = torch.cat(list(animator.decode(clips)))
    decode_s = (time.perf_counter() - begun_s) / len(frames_FHW3)
    write_s, frame_bytes = time_writing(frames_FHW3, open_scratch)
    return Costs(
        prepare_s=prepare_s,
        sampling=sampling,
        decode_s=decode_s,
        write_s=write_s,
        frame_bytes=frame_bytes,
    )
