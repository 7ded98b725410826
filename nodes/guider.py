"""The temporal-aware sampler: a guider that samples clip after clip inside ComfyUI's own stack.

Every sampler, scheduler, patch and preview works on it as on any model. The last frames of a clip,
read by the ReferenceNet, lead the next. Families that sample in windows have one clip, the film.
The loop is `emo_core.sampling`'s; here is who makes a clip.

Source: EMO (arXiv 2402.17485), "Temporal Modules".

Letters: F frames, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.film import Film
from ..emo_core.preflight.plan import FilmPlan
from ..emo_core.resume import FilmMemory
from ..emo_core.sampling.anchor import Anchor
from ..emo_core.sampling.clip_plan import ClipSpan, whole_clip_frames
from ..emo_core.sampling.generate import Motion, Stretch
from ..emo_core.sampling.held import Held
from ..emo_core.sampling.noise import FilmNoise, clip_seed
from ..emo_core.sampling.retake import Retake
from ..emo_core.store.clips import ClipStore
from ..emo_core.takes import Making, film_stretches
from .film import FilmToSample
from .fingerprints import sampling_fingerprint
from .network import CLIP_KEY
from .watch import Callback, Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a clip's frames begin with."""

    noise_FChw: Tensor
    latents_FChw: Tensor
    mask_F1hw: Tensor | None
    """1 where latents may change; None everywhere."""


StartOf = Callable[[ClipSpan, int], Start]
"""(clip, its frames when made whole) -> what it begins with."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """A part of the film that is made again, under conditions of its own."""

    film: Film
    part: Retake
    guidance: float
    seed: int


class ClipGuider(CFGGuider):
    """A GUIDER for latents of a whole film."""

    def __init__(
        self,
        model: ModelPatcher,
        film: FilmToSample,
        *,
        guidance: float,
        takes: Sequence[Take] = (),
        anchor: Anchor | None = None,
        store: ClipStore | None = None,
    ) -> None:
        super().__init__(model)
        self.to_sample = film
        self.film = film.film
        self.takes = takes
        self.anchor = anchor
        self.store = store
        self.num_recalled = 0
        """Clips of the last film that the store had."""
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
        num_frames = whole_clip_frames(
            self.film.num_frames,
            clip_frames=self.clip_frames,
            overlap=self.film.config.sampling.clip_overlap,
        )
        noise = _whole_noise(noise, num_frames=num_frames, seed=seed or 0)
        latent_image = _held(latent_image, num_frames=num_frames)
        if denoise_mask is not None:
            denoise_mask = _per_frame(denoise_mask, self.film.num_frames)
            denoise_mask = _held(denoise_mask, num_frames=num_frames)

        def start(span: ClipSpan, num_frames: int) -> Start:
            frames = slice(span.first, span.first + num_frames)
            mask = None if denoise_mask is None else denoise_mask[frames]
            return Start(noise[frames], latent_image[frames], mask)

        is_noisy = _ends_noisy(sigmas)
        watch = self._watch(sigmas, callback, is_estimate_kept=is_noisy)
        stretches = self.stretches(
            start, sampler, sigmas, watch=watch, disable_pbar=disable_pbar, seed=seed
        )
        film = torch.cat([stretch.latents for stretch in stretches])
        model = self.model_patcher.model
        watch.end_film(film, estimate=None if is_noisy else model.process_latent_in(film))
        return film

    def stretches_of_seed(
        self, seed: int, sampler: object, sigmas: Tensor, *, callback: Callback, disable_pbar: bool
    ) -> Iterator[Stretch]:
        """Yield the film that `sample` gives for ComfyUI's noise of this seed, part by part."""
        watch = self._watch(sigmas, callback, is_estimate_kept=False)
        return self.stretches(
            self._start_of_seed(seed),
            sampler,
            sigmas,
            watch=watch,
            disable_pbar=disable_pbar,
            seed=seed,
        )

    @property
    def clip_frames(self) -> int:
        """Frames per clip; all of them for families that sample in windows."""
        sampling = self.film.config.sampling
        return sampling.clip_frames if sampling.windows is None else self.film.num_sampled_frames

    def stretches(
        self,
        start: StartOf,
        sampler: object,
        sigmas: Tensor,
        *,
        watch: Watch,
        disable_pbar: bool,
        seed: int | None,
    ) -> Iterator[Stretch]:
        """Yield the film's latents in order, in the VAE's scale."""
        self.num_recalled = 0
        run = partial(super().sample, sampler=sampler, sigmas=sigmas, disable_pbar=disable_pbar)

        def making(film: Film, start: StartOf, guidance: float, seed: int | None) -> Making:
            make = partial(self._make, run, film, start, guidance, seed, watch)
            memory = self._memory(film, start, sampler, sigmas, guidance, seed, watch)
            return Making(make, memory)

        guidance, is_noisy = self.cfg, _ends_noisy(sigmas)
        if is_noisy and self.takes:
            raise InputError(
                "EMO Guider: the sigmas end before the film is clean, and a part is to be made "
                "again. Give all sigmas to one sampler, or leave 'EMO Retake' out."
            )
        whole = making(self.film, start, guidance, seed)
        again = [
            (take.part, making(take.film, self._start_of_seed(take.seed), take.guidance, take.seed))
            for take in self.takes
        ]
        motion = Motion(
            num_frames=self.film.num_carried_frames,
            # A clip that is still noisy is led on by what it will become.
            recode=partial(self._estimate, watch) if is_noisy else None,
            anchor=self._anchor_of_vae(),
        )
        try:
            # Noise of two clips that is mixed would be less of it.
            yield from film_stretches(
                self.film, whole, again, motion=motion, are_faded=not is_noisy
            )
        finally:
            self.set_cfg(guidance)
            self._forget()

    def _make(
        self,
        run: Callable[..., Tensor],
        film: Film,
        start: StartOf,
        guidance: float,
        seed: int | None,
        watch: Watch,
        span: ClipSpan,
        motion: Tensor | None,
        held: Held | None,
    ) -> Tensor:
        """Sample one clip; the loop's `MakeClip` once the first six are given."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        num_frames = self._num_made(span)
        begin = start(span, num_frames)
        latents, mask = begin.latents_FChw, begin.mask_F1hw
        if held is not None:
            latents, mask = held.latents_FChw, 1.0 - held.share_F[:, None, None, None]
        clip = film.clip(
            range(span.first, span.first + num_frames), motion=self.to_sample.motion(motion)
        )
        self.set_conds([[None, {CLIP_KEY: clip}]], [[None, {CLIP_KEY: clip.unconditional()}]])
        self.set_cfg(guidance)
        watch.begin(span)
        made = run(
            begin.noise_FChw,
            latents,
            denoise_mask=mask,
            callback=watch.on_step,
            # Samplers that add noise on their way draw it from this: not twice the same.
            seed=None if seed is None else clip_seed(seed, span.index),
        )
        watch.end()
        return made

    def _num_made(self, span: ClipSpan) -> int:
        """Frames that a clip is made with; a shorter last one is made whole and cut."""
        is_in_clips = self.film.config.sampling.windows is None
        return self.clip_frames if is_in_clips else span.num_frames

    def _start_of_seed(self, seed: int) -> StartOf:
        noises: dict[int, FilmNoise] = {}

        def start(span: ClipSpan, num_frames: int) -> Start:
            if num_frames not in noises:
                noises[num_frames] = FilmNoise(
                    seed,
                    clip_frames=num_frames,
                    overlap=self.film.config.sampling.clip_overlap,
                    shape=self.film.latent_shape,
                )
            noise = noises[num_frames].clip(span.index)
            return Start(noise, torch.zeros_like(noise), None)

        return start

    def _memory(
        self,
        film: Film,
        start: StartOf,
        sampler: object,
        sigmas: Tensor,
        guidance: float,
        seed: int | None,
        watch: Watch,
    ) -> FilmMemory | None:
        if self.store is None or _ends_noisy(sigmas):
            return None
        try:
            shaped_by = sampling_fingerprint(
                self.model_patcher,
                self.to_sample.reference,
                how=[sampler, sigmas, guidance, seed],
            )
        except TypeError as error:
            logger.warning(
                "EMO: the film's clips are not kept, since something on the MODEL cannot be told "
                "from other things: %s.",
                error,
            )
            return None
        return FilmMemory(
            self.store,
            film,
            shaped_by,
            comfy.model_management.intermediate_device(),
            partial(self._on_recall, watch),
            start=lambda span: start(span, self._num_made(span)),
            is_wanted=False,
        )

    def _on_recall(self, watch: Watch) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.num_recalled += 1
        watch.pass_clip()

    def _anchor_of_vae(self) -> Anchor | None:
        """The anchor in the VAE's scale, as clips are here."""
        if self.anchor is None:
            return None
        reference = self.anchor.reference / self.film.config.latent_scale
        return dataclasses.replace(self.anchor, reference=reference)

    def _estimate(self, watch: Watch, latents: Tensor) -> Tensor:
        """What the last frames before the next clip will become."""
        if watch.latest is None:
            return latents
        return self.model_patcher.model.process_latent_out(watch.latest)[-len(latents) :]

    def _watch(self, sigmas: Tensor, callback: Callback | None, *, is_estimate_kept: bool) -> Watch:
        steps, parts = sigmas.shape[-1] - 1, [take.part for take in self.takes]
        return Watch(
            steps=steps,
            num_clips=FilmPlan.of(self.film, steps=steps, parts=parts).num_clips,
            callback=callback,
            is_estimate_kept=is_estimate_kept,
        )

    def _forget(self) -> None:
        """Drop the last clip's conditions; after an exception ComfyUI leaves them on the device."""
        self.original_conds = {}
        for name in ("conds", "inner_model", "loaded_models"):
            self.__dict__.pop(name, None)

    def _check(self, latent_image: Tensor) -> None:
        found, wanted = tuple(latent_image.shape), (self.film.num_frames, *self.film.latent_shape)
        if found != wanted:
            raise InputError(
                f"EMO Guider: the sampler got latents of shape {list(found)}; this film needs "
                f"{list(wanted)} (frames, channels, rows, columns). Connect the LATENT that comes "
                "out of the same EMO Guider."
            )


def _ends_noisy(sigmas: Tensor) -> bool:
    """Whether another sampler is to go on."""
    return bool(sigmas[-1] > 0)


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
