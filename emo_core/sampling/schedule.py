"""The noise schedule as a diffusers scheduler.

DDIM with trailing timesteps on a schedule of zero terminal SNR is the reference (Hallo,
EchoMimic, V-Express sample so); the multistep solvers need fewer steps. LCM draws new noise after
every step, so that what one step got wrong does not lead the next; it is for checkpoints that were
taught to guess clean frames in few steps.
"""

from __future__ import annotations

import dataclasses

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    LCMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from ..config import DiffusionConfig
from ..errors import InputError

SOLVERS = ("ddim", "dpm++2m", "unipc", "lcm")


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
    if solver == "lcm":
        # With as many original steps as timesteps they are DDIM's trailing ones, cut, not rounded.
        return LCMScheduler(
            **schedule, clip_sample=False, original_inference_steps=config.num_train_timesteps
        )
    raise InputError(f"solver {solver!r}: unknown. Choose one of {', '.join(SOLVERS)}.")


def set_steps(scheduler: SchedulerMixin, steps: int) -> None:
    """Have a scheduler take exactly `steps` steps.

    For some numbers, such as 61, rounding makes diffusers list one timestep more, -1, which no
    model knows; it is left out.

    Raises:
        InputError: fewer than one step, or more than the schedule has timesteps.
    """
    most = scheduler.config.num_train_timesteps
    if not 1 <= steps <= most:
        raise InputError(f"{steps} steps: expected 1 to {most}; 4 to 40 are usual.")
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) == steps:
        return
    scheduler.timesteps = scheduler.timesteps[:steps]
    scheduler.num_inference_steps = steps
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])
