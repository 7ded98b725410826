"""The noise schedule as a diffusers scheduler.

DDIM with trailing timesteps on a schedule of zero terminal SNR is the reference (Hallo,
EchoMimic, V-Express sample so); the multistep solvers need fewer steps.
"""

from __future__ import annotations

import dataclasses

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from ..config import DiffusionConfig
from ..errors import InputError

SOLVERS = ("ddim", "dpm++2m", "unipc")


def make_scheduler(config: DiffusionConfig, *, solver: str) -> SchedulerMixin:
    """Build the scheduler of one solver.

    Raises:
        InputError: no such solver.
    """
    schedule = dataclasses.asdict(config)
    if solver == "ddim":
        return DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=True)
    if solver == "dpm++2m":
        return DPMSolverMultistepScheduler(**schedule)
    if solver == "unipc":
        return UniPCMultistepScheduler(**schedule)
    raise InputError(f"solver {solver!r}: unknown. Choose one of {', '.join(SOLVERS)}.")
