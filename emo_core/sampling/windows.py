"""Overlapping windows over all frames of a film, which are denoised together.

At every step each window is predicted by itself, and a frame's prediction is the mean over the
windows that it is in.

Source: EchoMimic, `src/pipelines/context.py` and `pipeline_echo_mimic.py`; V-Express,
`pipelines/context.py`. Both come from AnimateDiff's uniform schedule with stride 1.

Letters: F frames of the film, W frames of a window, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from ..config import WindowsConfig
from .generate import OnStep, Predict, guided

PrepareWindow = Callable[[list[int]], Predict]
"""Frame numbers of a window -> its predictor."""


def plan_windows(
    num_frames: int, *, length: int, config: WindowsConfig, step_index: int = 0
) -> list[list[int]]:
    """Return the frame numbers of every window of one step; each frame is in at least one.

    A film no longer than a window is one window. A loop's last window goes on with the first
    frames; otherwise it is pulled back to end with the film.
    """
    if num_frames <= length:
        return [list(range(num_frames))]
    stride = length - config.overlap
    offset = config.shift * step_index
    if config.is_loop:
        return [
            [(first + place + offset) % num_frames for place in range(length)]
            for first in range(0, num_frames, stride)
        ]
    windows = []
    for first in range(0, num_frames - config.overlap, stride):
        first = min(first, num_frames - length)
        windows.append(list(range(first, first + length)))
    return windows


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
    scheduler.set_timesteps(steps)
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
        prediction = total / count_F[:, None, None, None]
        latents = scheduler.step(prediction, timestep, latents).prev_sample
        if on_step is not None:
            on_step(0, step_index, latents)
    return latents
