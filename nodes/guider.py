"""The temporal-aware sampler: a guider that samples clip after clip inside ComfyUI's own stack.

Every sampler, scheduler, patch and preview works on it as on any model. The last frames of a clip,
read by the ReferenceNet, lead the next.

Source: EMO (arXiv 2402.17485), "Temporal Modules"; the loop is that of `emo_core.sampling`.

Letters: F frames, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.models.unet import Features
from ..emo_core.sampling.clip_plan import plan_clips
from .film import Film
from .loading import read_reference
from .network import CLIP_KEY

Callback = Callable[[int, Tensor, Tensor, int], None]


class ClipGuider(CFGGuider):
    """A GUIDER for latents of a whole film."""

    def __init__(self, model: ModelPatcher, film: Film, *, guidance: float) -> None:
        super().__init__(model)
        self.film = film
        self.set_cfg(guidance)

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: object,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """Sample the film (F, C, h, w); ComfyUI's contract."""
        self._check(latent_image)
        if sigmas.shape[-1] == 0:
            return latent_image
        clip_frames = self.film.config.sampling.clip_frames
        clips = plan_clips(self.film.num_frames, clip_frames=clip_frames)
        whole = len(clips) * clip_frames
        noise = _whole_noise(noise, num_frames=whole, seed=seed or 0)
        latent_image = _held(latent_image, num_frames=whole)
        if denoise_mask is not None:
            denoise_mask = _held(_per_frame(denoise_mask, self.film.num_frames), num_frames=whole)
        steps = sigmas.shape[-1] - 1
        finished: list[Tensor] = []
        estimates: list[Tensor] = []
        for span in clips:
            frames = slice(span.first, span.first + clip_frames)
            self._set_clip(span.first, clip_frames, self._motion(finished))
            last_of_film = (span is clips[-1], steps - 1)

            def on_step(step: int, x0: Tensor, x: Tensor, _: int) -> None:
                if step == steps - 1:
                    estimates.append(x0[: span.num_frames])  # noqa: B023
                if callback is None:
                    return
                # Previews show the first frame they get; only the film's very last call is kept
                # by ComfyUI as the denoised output.
                shown = x0[span.num_frames - 1 :]  # noqa: B023
                if last_of_film == (True, step):  # noqa: B023
                    shown = torch.cat(estimates)
                callback(span.index * steps + step, shown, x, steps * len(clips))  # noqa: B023

            clip = super().sample(
                noise[frames],
                latent_image[frames],
                sampler,
                sigmas,
                denoise_mask=None if denoise_mask is None else denoise_mask[frames],
                callback=on_step,
                disable_pbar=disable_pbar,
                seed=seed,
            )
            finished.append(clip[: span.num_frames])
        self.original_conds = {}
        return torch.cat(finished)

    def _set_clip(self, first: int, num_frames: int, motion: Features | None) -> None:
        inputs = self.film.clip(first, num_frames=num_frames, motion=motion)
        self.set_conds([[None, {CLIP_KEY: inputs}]], [[None, {CLIP_KEY: inputs.unconditional()}]])

    def _motion(self, finished: list[Tensor]) -> Features | None:
        temporal = self.film.config.backbone.temporal
        if not finished or temporal is None or not temporal.num_motion_frames:
            return None
        comfy.model_management.throw_exception_if_processing_interrupted()
        latents = torch.cat(finished[-2:])[-temporal.num_motion_frames :]
        return read_reference(self.film.reference.net, latents)

    def _check(self, latent_image: Tensor) -> None:
        found, wanted = tuple(latent_image.shape), (self.film.num_frames, *self.film.latent_shape)
        if found != wanted:
            raise InputError(
                f"EMO Guider: the sampler got latents of shape {list(found)}; this film needs "
                f"{list(wanted)} (frames, channels, rows, columns). Connect the LATENT that comes "
                "out of the same EMO Guider."
            )


def _whole_noise(noise: Tensor, *, num_frames: int, seed: int) -> Tensor:
    """Lengthen the noise to whole clips.

    What is added goes on where ComfyUI's RandomNoise, and the headless loop, would go on with the
    same seed: one generator draws the frames in order.
    """
    missing = num_frames - len(noise)
    if missing == 0:
        return noise
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((num_frames, *noise.shape[1:]), generator=generator)
    return torch.cat([noise, drawn[-missing:].to(noise)])


def _held(values: Tensor, *, num_frames: int) -> Tensor:
    """Repeat the last frame up to a number of frames."""
    frame_F = torch.arange(num_frames, device=values.device).clamp(max=len(values) - 1)
    return values[frame_F]


def _per_frame(mask: Tensor, num_frames: int) -> Tensor:
    """One mask for all frames becomes one each."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    return _held(mask, num_frames=num_frames)
