"""The temporal-aware sampler: a guider that samples clip after clip inside ComfyUI's own stack.

Every sampler, scheduler, patch and preview works on it as on any model. The last frames of a clip,
read by the ReferenceNet, lead the next. Families that sample in windows have one clip, the film.

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
from ..emo_core.models.reference import MotionReading
from ..emo_core.sampling.clip_plan import ClipSpan, plan_clips
from .film import FilmToSample
from .network import CLIP_KEY

Callback = Callable[[int, Tensor, Tensor, int], None]


class ClipGuider(CFGGuider):
    """A GUIDER for latents of a whole film."""

    def __init__(self, model: ModelPatcher, film: FilmToSample, *, guidance: float) -> None:
        super().__init__(model)
        self.to_sample = film
        self.film = film.film
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
        sampling_config = self.film.config.sampling
        clip_frames = sampling_config.clip_frames
        if sampling_config.windows is not None:
            clip_frames = self.film.num_sampled_frames
        clips = plan_clips(self.film.num_frames, clip_frames=clip_frames)
        whole = len(clips) * clip_frames
        noise = _whole_noise(noise, num_frames=whole, seed=seed or 0)
        latent_image = _held(latent_image, num_frames=whole)
        if denoise_mask is not None:
            denoise_mask = _held(_per_frame(denoise_mask, self.film.num_frames), num_frames=whole)
        sampling = _Sampling(steps=sigmas.shape[-1] - 1, num_clips=len(clips), callback=callback)
        finished: list[Tensor] = []
        led_by: Tensor | None = None
        try:
            for span in clips:
                frames = slice(span.first, span.first + clip_frames)
                self._set_clip(span.first, clip_frames, self._motion(led_by))
                sampling.begin(span)
                clip = super().sample(
                    noise[frames],
                    latent_image[frames],
                    sampler,
                    sigmas,
                    denoise_mask=None if denoise_mask is None else denoise_mask[frames],
                    callback=sampling.on_step,
                    disable_pbar=disable_pbar,
                    # Samplers that add noise on their way draw it from this: not twice the same.
                    seed=None if seed is None else (seed + span.index) % (2**64 - 1),
                )
                sampling.end()
                finished.append(clip[: span.num_frames])
                led_by = finished[-1]
                if sigmas[-1] > 0 and sampling.latest is not None:
                    # The clip is still noisy; what it will become leads.
                    led_by = self.model_patcher.model.process_latent_out(sampling.latest)
        finally:
            self._forget()
        sampling.end_film(finished[-1])
        return torch.cat(finished)

    def _forget(self) -> None:
        """Drop the last clip's conditions; after an exception ComfyUI leaves them on the device."""
        self.original_conds = {}
        for name in ("conds", "inner_model", "loaded_models"):
            self.__dict__.pop(name, None)

    def _set_clip(self, first: int, num_frames: int, motion: MotionReading | None) -> None:
        clip = self.film.clip(range(first, first + num_frames), motion=motion)
        self.set_conds([[None, {CLIP_KEY: clip}]], [[None, {CLIP_KEY: clip.unconditional()}]])

    def _motion(self, led_by: Tensor | None) -> MotionReading | None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self.to_sample.motion(led_by)

    def _check(self, latent_image: Tensor) -> None:
        found, wanted = tuple(latent_image.shape), (self.film.num_frames, *self.film.latent_shape)
        if found != wanted:
            raise InputError(
                f"EMO Guider: the sampler got latents of shape {list(found)}; this film needs "
                f"{list(wanted)} (frames, channels, rows, columns). Connect the LATENT that comes "
                "out of the same EMO Guider."
            )


class _Sampling:
    """Joins the steps of all clips for progress, previews and the denoised output."""

    def __init__(self, *, steps: int, num_clips: int, callback: Callback | None) -> None:
        self.steps = steps
        self.total = steps * num_clips
        self.callback = callback
        self.estimates: list[Tensor] = []
        """The last clean estimate of every finished clip, in the model's scale."""

    def begin(self, span: ClipSpan) -> None:
        self.span = span
        self.latest: Tensor | None = None

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int) -> None:
        """ComfyUI's callback. Previews show the first frame they get: the clip's newest."""
        self.latest = x0[: self.span.num_frames]
        if self.callback is not None:
            done = min(self.span.index * self.steps + step, self.total - 1)
            self.callback(done, self.latest[-1:], x, self.total)

    def end(self) -> None:
        """A few samplers report no step at all; their clip is its own estimate then."""
        if self.latest is not None:
            self.estimates.append(self.latest)

    def end_film(self, x: Tensor) -> None:
        """ComfyUI keeps what the very last callback passes as the denoised output."""
        if self.callback is not None and self.estimates:
            self.callback(self.total - 1, torch.cat(self.estimates), x, self.total)


def _whole_noise(noise: Tensor, *, num_frames: int, seed: int) -> Tensor:
    """Lengthen the noise to whole clips.

    What is added goes on where ComfyUI's RandomNoise, and the headless loop, would go on with the
    same seed: one generator draws the frames in order.
    """
    missing = num_frames - len(noise)
    if missing == 0:
        return noise
    if not noise.any():  # DisableNoise: the latents bring their own.
        return _held(noise, num_frames=num_frames)
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
