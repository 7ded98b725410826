"""From noise to latents by a diffusers scheduler.

Letters: F frames of a clip, C channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import LCMScheduler, SchedulerMixin
from torch import Tensor

from .held import Held, HeldSteps
from .schedule import set_steps

Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(noisy latents, timestep) -> prediction with all conditions, and without those that guidance
holds: reference and audio, for some checkpoints head speed or the face region too.
The second is None when guidance does not need it."""

PredictGuided = Callable[[Tensor, Tensor, int], Tensor]
"""(noisy latents, timestep, step index) -> prediction under guidance, float32."""

OnStep = Callable[[int, int, Tensor], None]
"""(clip index, step index, latents): called after every step; may raise to cancel."""


@torch.no_grad()
def denoise(
    predict: PredictGuided,
    noise_FChw: Tensor,
    *,
    scheduler: SchedulerMixin,
    steps: int,
    device: torch.device,
    held: Held | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Take all steps.

    Args:
        generator: on the CPU; draws what a solver adds on its way. None draws it by chance.
        held: frames that are to become known ones.
        on_step: called with the step's index and the latents after it; may raise to cancel.

    Returns:
        Latents (F, C, h, w), float32.
    """
    set_steps(scheduler, steps)
    noise_FChw = noise_FChw.to(device)
    latents = noise_FChw * scheduler.init_noise_sigma
    holding = None
    if held is not None:
        holding = HeldSteps(
            held.to(device),
            noise_FChw=noise_FChw,
            alphas_bar=scheduler.alphas_cumprod,
            prediction_type=scheduler.config.prediction_type,
        )
    drawing = {"generator": generator} if isinstance(scheduler, LCMScheduler) else {}
    for step_index, timestep in enumerate(scheduler.timesteps):
        timestep = timestep.to(device)
        seen = latents if holding is None else holding.seen(latents, timestep)
        prediction = predict(scheduler.scale_model_input(seen, timestep), timestep, step_index)
        if holding is not None:
            prediction = holding.predicted(prediction, seen, latents, timestep)
        latents = scheduler.step(prediction, timestep, latents, **drawing).prev_sample
        if on_step is not None:
            on_step(step_index, latents)
    return latents


def guided(conditional: Tensor, unconditional: Tensor | None, *, guidance: float) -> Tensor:
    """Classifier-free guidance, in float32: u + g (c - u)."""
    conditional = conditional.float()
    if unconditional is None:
        return conditional
    unconditional = unconditional.float()
    return unconditional + guidance * (conditional - unconditional)
