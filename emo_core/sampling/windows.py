"""Overlapping windows over all frames of a film, which are denoised together.

At every step each window is predicted by itself, and a frame's prediction is the mean over the
windows that it is in.

Source: EchoMimic, `src/pipelines/pipeline_echo_mimic.py`; V-Express,
`pipelines/v_express_pipeline.py`.

Letters: F frames of the film, W frames of a window, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from ..config import WindowsConfig
from .generate import OnStep, Predict, guided
from .schedule import set_steps
from .window_plan import plan_windows

PrepareWindow = Callable[[list[int]], Predict]
"""Frame numbers of a window -> its predictor."""


@torch.no_grad()
def generate_in_windows(
    prepare_window: PrepareWindow,
    *,
    scheduler: SchedulerMixin,
    steps: int,
    guidance: float,
    noise_FChw: Tensor,
    length: int,
    config: WindowsConfig,
    device: torch.device,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise a whole film.

    Args:
        prepare_window: called for every window of every step, since windows may move.
        length: frames of a window.

    Returns:
        Latents (F, C, h, w), float32.
    """
    set_steps(scheduler, steps)
    latents = noise_FChw.to(device) * scheduler.init_noise_sigma
    for step_index, timestep in enumerate(scheduler.timesteps):
        timestep = timestep.to(device)
        scaled = scheduler.scale_model_input(latents, timestep)
        total, count_F = torch.zeros_like(latents), latents.new_zeros(len(latents))
        for frames in plan_windows(
            len(latents), length=length, config=config, step_index=step_index
        ):
            conditional, unconditional = prepare_window(frames)(scaled[frames], timestep)
            total[frames] += guided(conditional, unconditional, guidance=guidance)
            count_F[frames] += 1
        total.div_(count_F[:, None, None, None])
        del scaled  # Every tensor of a film's length counts.
        latents = scheduler.step(total, timestep, latents).prev_sample
        if on_step is not None:
            on_step(0, step_index, latents)
    return latents
