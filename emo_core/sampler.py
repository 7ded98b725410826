"""A film's conditions -> its latents, by networks that are loaded: what runs the steps headless.

Letters: F frames, M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import diffusers
import torch
from torch import Tensor

from .checkpoints.emo import Networks
from .errors import InputError
from .film import Clip, Film
from .models.backbone import SharedConditions
from .models.vae import VAE
from .resume import FilmMemory
from .sampling.anchor import Anchor
from .sampling.clip_plan import ClipSpan
from .sampling.denoising import OnStep, Predict, PredictGuided, denoise, guided
from .sampling.generate import Motion
from .sampling.held import Held
from .sampling.noise import FilmNoise, clip_seed, limited, step_generator
from .sampling.retake import Retake
from .sampling.schedule import make_scheduler
from .sampling.windows import predict_in_windows
from .store.clips import ClipStore
from .store.fingerprint import Fingerprint, tensors_fingerprint
from .takes import Making, film_stretches


@dataclass(frozen=True, kw_only=True)
class How:
    """How latents are sampled."""

    solver: str
    """One of `sampling.schedule.SOLVERS`."""
    steps: int
    guidance: float
    """1 is none."""
    seed: int

    def __post_init__(self) -> None:
        if not -(2**63) <= self.seed < 2**64:  # What torch takes.
            raise InputError(f"seed {self.seed}: expected 0 to {2**64 - 1}. Choose one of these.")


@dataclass(frozen=True, kw_only=True)
class Take:
    """A part of a film that is made again, under conditions of its own."""

    film: Film
    """As long as the film itself; only the part's frames are read."""
    how: How
    part: Retake


@torch.no_grad()
def sample_film(
    networks: Networks,
    vae: VAE,
    film: Film,
    how: How,
    *,
    takes: Sequence[Take] = (),
    anchor: Anchor | None = None,
    store: ClipStore | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Tensor]:
    """Yield a film's latents (F, C, h, w) in order, a clip or so at a time, or all at once.

    Args:
        vae: motion frames of some families go through it.
        takes: parts that are made again, each in the film that those before it left.
        anchor: brings the film back to its reference every few clips.
        store: clips that are in it are not made again, others are kept in it.
        on_step: called after every denoising step; its clip index counts all clips, those that the
            store had too.
    """
    progress = _Progress(on_step)
    weights = None if store is None else _weights_fingerprint(networks, vae, film)

    def making(film: Film, how: How) -> Making:
        memory = None
        if store is not None:
            shaped_by = weights.copy().add("sampled", how)
            memory = FilmMemory(store, film, shaped_by, networks.like.device, progress.skip)
        return Making(_ClipMaker(networks, film, how, progress), memory)

    motion = Motion(
        num_frames=film.num_carried_frames,
        first=film.first_motion,
        recode=_through_pixels(vae) if film.config.sampling.motion.is_decoded else None,
        anchor=anchor,
    )
    again = [(take.part, making(take.film, take.how)) for take in takes]
    for stretch in film_stretches(film, making(film, how), again, motion=motion):
        yield stretch.latents


class _Progress:
    """Numbers the clips of all takes, in the order in which they are made or found."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.on_step = on_step
        self.clip = 0

    def skip(self) -> None:
        self.clip += 1

    def step(self, index: int, latents: Tensor) -> None:
        if self.on_step is not None:
            self.on_step(self.clip, index, latents)


class _ClipMaker:
    """Makes clips of a film in one way; the loop's `MakeClip`."""

    def __init__(self, networks: Networks, film: Film, how: How, progress: _Progress) -> None:
        self.networks = networks
        self.film = film
        self.how = how
        self.progress = progress
        self.like = networks.like
        self.scheduler = make_scheduler(film.config.diffusion, solver=how.solver)
        self.noise: FilmNoise | None = None

    def __call__(self, span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        sampling = self.film.config.sampling
        if sampling.windows is None:
            frames = range(span.first, span.first + sampling.clip_frames)
            predict = self._predict_clip(frames, motion)
        else:
            frames = range(span.first, span.last)
            predict = predict_in_windows(
                lambda places: self._predictor(self._window(frames, places)),
                guidance=self.how.guidance,
                length=sampling.clip_frames,
                config=sampling.windows,
            )
        latents = denoise(
            predict,
            limited(self._noise(span.index, len(frames)), sampling.noise_limit),
            scheduler=self.scheduler,
            steps=self.how.steps,
            device=self.like.device,
            held=held,
            generator=step_generator(clip_seed(self.how.seed, span.index)),
            on_step=self.progress.step,
        )
        self.progress.skip()
        return latents

    def _noise(self, index: int, num_frames: int) -> Tensor:
        if self.noise is None:
            shape = self.film.latent_shape
            self.noise = FilmNoise(
                self.how.seed,
                clip_frames=num_frames,
                overlap=self.film.config.sampling.clip_overlap,
                shape=shape,
            )
        return self.noise.clip(index)

    @cached_property
    def _shared(self) -> dict[bool, SharedConditions]:
        """What all clips read alike, with all conditions and, for guidance, without."""
        whole = self.film.clip(range(0), motion=None)
        # Guidance of 1 is none: its other half is not asked for.
        halves = [whole] if self.how.guidance == 1.0 else [whole, whole.unconditional()]
        backbone = self.networks.backbone
        return {half.is_conditional: half.share(backbone, like=self.like) for half in halves}

    def _predict_clip(self, frames: range, motion_latents: Tensor | None) -> PredictGuided:
        """Past the film's end its last sound and speed are held."""
        motion = None
        if motion_latents is not None:
            motion = self.networks.reference_net.read_motion(
                motion_latents.to(self.like),
                identity_2TD=self.film.reference.identity_2TD,
                is_unknown_read=False in self._shared,
            )
        both = self._predictor(self.film.clip(frames, motion=motion))

        def predict(latents: Tensor, timestep: Tensor, step_index: int) -> Tensor:
            return guided(*both(latents, timestep), guidance=self.how.guidance)

        return predict

    def _window(self, frames: range, places: list[int]) -> Clip:
        window = tuple(frames[place] for place in places)
        return Clip(film=self.film, frames=window, motion=None)

    def _predictor(self, clip: Clip) -> Predict:
        backbone = self.networks.backbone
        prepared = [
            dataclasses.replace(clip, is_conditional=is_conditional).prepare(
                backbone, shared, like=self.like
            )
            for is_conditional, shared in self._shared.items()
        ]

        def predict(latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor | None]:
            latents = latents.to(self.like)
            answers = [backbone(latents, timestep, conditions) for conditions in prepared]
            return answers[0], answers[1] if len(answers) > 1 else None

        return predict


def _through_pixels(vae: VAE) -> Callable[[Tensor], Tensor]:
    """Decode, which cuts to 0..1, and encode again."""
    return lambda latents: vae.encode(vae.decode(latents))


def _weights_fingerprint(networks: Networks, vae: VAE, film: Film) -> Fingerprint:
    like = networks.like
    fingerprint = Fingerprint()
    # Solvers are those of diffusers.
    program = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    fingerprint.add("program", program)
    fingerprint.add("computed", f"{like.dtype} on {like.device.type}")
    fingerprint.add("backbone", tensors_fingerprint(networks.backbone.state_dict()))
    fingerprint.add("reference_net", tensors_fingerprint(networks.reference_net.state_dict()))
    if film.config.sampling.motion.is_decoded:
        fingerprint.add("vae", tensors_fingerprint(vae.state_dict()))
    return fingerprint
