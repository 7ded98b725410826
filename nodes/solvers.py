"""DDIM and LCM exactly as diffusers runs them, as a SAMPLER with its SIGMAS.

ComfyUI's zero-terminal-SNR schedule ends at a tiny signal instead of none, and its samplers go to
the next sigma that is listed, where diffusers goes to timestep - 1000 // steps. The difference is
small, but a checkpoint's published pictures are made by diffusers' rule.

Source: diffusers `schedulers/scheduling_ddim.py`, step, eta 0, and `scheduling_lcm.py`, step,
without its `c_skip`, which is below 1e-6 above timestep 50: with more than 20 steps the last ones
differ.

Letters: F frames, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSAMPLER, CFGGuider
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.sampling.noise import step_generator

OWN_SOLVERS = ("ddim", "lcm")
"""Solvers of checkpoints for which ComfyUI's samplers are not exact."""


def own_schedule(model: ModelPatcher, *, solver: str, steps: int) -> tuple[KSAMPLER, Tensor]:
    """Return the sampler and the sigmas of `steps` steps.

    Args:
        solver: one of OWN_SOLVERS.

    Raises:
        InputError: fewer than one step, or more than the schedule has.
    """
    # Imported here: diffusers takes a second, and only this node needs it.
    from ..emo_core.sampling.schedule import make_scheduler, set_steps

    config = model.model.emo_config.diffusion
    scheduler = make_scheduler(config, solver=solver)
    set_steps(scheduler, steps)
    timesteps = scheduler.timesteps.tolist()
    stride = config.num_train_timesteps // steps
    is_noise_new = solver == "lcm"
    following = [*timesteps[1:], -1] if is_noise_new else [now - stride for now in timesteps]
    sampler = KSAMPLER(
        partial(
            _sample,
            alphas_bar=scheduler.alphas_cumprod.double(),
            timesteps=timesteps,
            following=following,
            is_noise_new=is_noise_new,
        )
    )
    sigmas = model.get_model_object("model_sampling").sigmas.cpu()[timesteps]
    return sampler, torch.cat([sigmas, sigmas.new_zeros(1)])


def _sample(
    model: CFGGuider,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: object = None,
    disable: bool | None = None,
    *,
    alphas_bar: Tensor,
    timesteps: list[int],
    following: list[int],
    is_noise_new: bool,
) -> Tensor:
    """ComfyUI's contract of a sampler function; x (F, C, h, w) is scaled as it scales noise.

    Args:
        following: where each step leads from its timestep; below 0 there is no noise.
        is_noise_new: whether every step draws noise instead of keeping the model's.
    """
    if len(sigmas) != len(timesteps) + 1:
        raise InputError(
            f"EMO DDIM: {len(sigmas) - 1} sigmas for {len(timesteps)} steps. Connect SAMPLER and "
            "SIGMAS of the same 'EMO DDIM' node."
        )
    extra_args = extra_args or {}
    seed = extra_args.get("seed")
    generator = step_generator(seed) if is_noise_new and seed is not None else None
    ones = x.new_ones(x.shape[0])
    x = x / (1 + sigmas[0] ** 2).sqrt()
    for index, (timestep, after) in enumerate(zip(timesteps, following, strict=True)):
        sigma = sigmas[index]
        scale = (1 + sigma**2).sqrt()
        denoised = model(x * scale, sigma * ones, **extra_args)
        # The wrapper answers with a clean estimate; the velocity it came from is exact again.
        velocity = (x / scale - denoised) * scale / sigma
        alpha = alphas_bar[timestep]
        alpha_after = alphas_bar[after] if after >= 0 else alphas_bar.new_ones(())
        signal, spread = float(alpha.sqrt()), float((1 - alpha).sqrt())
        x0 = signal * x - spread * velocity
        if is_noise_new:
            # Drawn on the CPU, so that every device draws the same.
            noise = torch.randn(x.shape, generator=generator).to(x)
        else:
            noise = signal * velocity + spread * x
        if callback is not None:
            step = {"x": x, "i": index, "sigma": sigma, "sigma_hat": sigma, "denoised": x0}
            callback(step)
        x = float(alpha_after.sqrt()) * x0 + float((1 - alpha_after).sqrt()) * noise
    return x
