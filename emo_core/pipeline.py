"""Portrait + voice -> film, from the parts of a checkpoint. The headless twin of the nodes.

Letters: F frames of the film, H and W rows and columns of pixels, C channels, h and w of latents,
E width of an identity embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from .audio.encoder import AudioEncoder, Wav2Vec2
from .audio.front_end import SAMPLE_RATE_HZ
from .audio.load import load_audio_encoder
from .audio.rows import encode_rows
from .audio.timing import FilmLength, film_length
from .audio.waveform import Waveform, check_waveform, to_mono
from .audio.whisper import Whisper
from .checkpoints.emo import Networks
from .checkpoints.load import load_networks, load_vae
from .config import PIXELS_PER_LATENT
from .errors import InputError
from .face.placement import FacePlacement, usual_placement
from .face.track import SpeedTrack, check_reach
from .film import Clip, Film
from .models.backbone import AS_TRAINED, Weights
from .models.vae import VAE
from .resume import FilmMemory
from .sampling.clip_plan import ClipSpan
from .sampling.generate import FinishedClip, OnStep, Predict, generate_clips
from .sampling.noise import FilmNoise, limited
from .sampling.schedule import make_scheduler
from .sampling.windows import generate_in_windows
from .store.clips import ClipStore
from .video.images import Fit
from .video.median import MedianFilter

T = TypeVar("T")
USUAL_SOLVER = "dpm++2m"
FRAMES_AT_ONCE = 16
"""Decoded at a time."""


@dataclass(frozen=True, kw_only=True)
class AnimateSettings:
    """What a user may change. None stands for the checkpoint's own default.

    `Animator.film` reads what shapes a film's conditions (size, fps, speed, weights), `sample` and
    `animate` how it is sampled (steps, guidance, solver, seed).
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    steps: int | None = None
    guidance: float | None = None
    solver: str | None = None
    seed: int = 0
    speed_deg_s: float | None = None
    """Head speed; None leaves the speed layers out."""
    weights: Weights = AS_TRAINED


class Animator:
    """A checkpoint and its VAE, ready to animate."""

    def __init__(
        self, networks: Networks, vae: VAE, audio_encoder: AudioEncoder | Wav2Vec2 | Whisper
    ) -> None:
        self.networks = networks
        self.vae = vae
        self.audio_encoder = audio_encoder

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        vae: Path,
        *,
        audio_encoder: Path | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> Animator:
        """Load from files.

        Args:
            checkpoint: see `checkpoints.families.open_checkpoint`.
            audio_encoder: wav2vec2 or Whisper model, for checkpoints without a front end.
        """
        networks = load_networks(checkpoint, dtype=dtype)
        for network in networks.parts().values():
            network.to(device)
        encoder = networks.front_end
        if encoder is None:
            if audio_encoder is None:
                raise InputError(
                    f"{checkpoint}: brings no audio encoder. Give the "
                    f"{networks.config.backbone.audio.encoder} model that it was made with as "
                    "--audio-encoder."
                )
            encoder = load_audio_encoder(audio_encoder).to(device)
        loaded_vae = load_vae(vae, scale=networks.config.latent_scale, dtype=dtype).to(device)
        return cls(networks, loaded_vae, encoder)

    def length(self, waveform: Waveform, settings: AnimateSettings) -> FilmLength:
        """How many frames the film has for a sound, and how fast they follow each other."""
        config = self.networks.config
        return film_length(
            waveform.samples.shape[-1],
            sample_rate_hz=waveform.sample_rate_hz,
            sampling=config.sampling,
            audio=config.backbone.audio,
            fps=settings.fps,
        )

    def num_steps(self, length: FilmLength, settings: AnimateSettings) -> tuple[int, int]:
        """Clips that are made one after the other, and denoising steps of each."""
        sampling = self.networks.config.sampling
        clips = 1
        if sampling.windows is None:
            clips = -(-length.num_frames // sampling.clip_frames)
        return clips, _or_default(settings.steps, sampling.steps)

    def size(self, settings: AnimateSettings) -> tuple[int, int]:
        """Width and height in pixels.

        Raises:
            InputError: not multiples of 8, or too small.
        """
        sampling = self.networks.config.sampling
        width = _or_default(settings.width, sampling.width)
        height = _or_default(settings.height, sampling.height)
        if min(width, height) < 64 or width % PIXELS_PER_LATENT or height % PIXELS_PER_LATENT:
            raise InputError(
                f"size {width}x{height}: both sides must be multiples of {PIXELS_PER_LATENT} and "
                f"at least 64. This checkpoint was made for {sampling.width}x{sampling.height}."
            )
        return width, height

    @torch.no_grad()
    def film(
        self,
        portrait_HW3: Tensor,
        waveform: Waveform,
        *,
        settings: AnimateSettings,
        face: FacePlacement | None = None,
        identity_E: Tensor | None = None,
        is_stretched: bool = False,
    ) -> Film:
        """Gather all conditions of a film.

        Args:
            portrait_HW3: 0..1, any size; scaled and cropped to the film's.
            face: None takes a usual portrait's.
            identity_E: the face's embedding, for checkpoints that know identities; None is an
                unknown person's.
            is_stretched: squeeze the portrait to the film's size instead of cropping it.

        Raises:
            InputError: a setting that the checkpoint cannot use, or unusable sound.
        """
        check_waveform(waveform, name="the voice")
        config = self.networks.config
        width, height = self.size(settings)
        length = self.length(waveform, settings)
        like = _like(self.networks)
        if face is None:
            face = usual_placement(width=width, height=height)
        elif tuple(face.mask_HW.shape) != (height, width):
            raise InputError(
                f"face region of {face.mask_HW.shape[1]}x{face.mask_HW.shape[0]} pixels for a film "
                f"of {width}x{height}. Fit the mask to the film's size."
            )
        identity = config.reference_net.identity
        if identity_E is not None and identity is None:
            raise InputError(
                f"identity: checkpoints of family {config.family} know none. Leave it out."
            )
        if identity_E is not None and tuple(identity_E.shape) != (identity.embedding_dim,):
            raise InputError(
                f"identity: an embedding of shape {tuple(identity_E.shape)}. Expected "
                f"{identity.embedding_dim} numbers, of ArcFace as it is."
            )
        fit = Fit.of(portrait_HW3, width=width, height=height, is_stretched=is_stretched)
        latents = self.vae.encode(fit.portrait(portrait_HW3)[None].to(like.device)).to(like)
        rows_RLD = encode_rows(
            self.audio_encoder,
            to_mono(waveform, sample_rate_hz=SAMPLE_RATE_HZ).to(like.device),
            config.backbone.audio,
            fps=length.fps,
            num_frames=length.num_frames,
            clip_frames=config.sampling.clip_frames,
        )
        return Film(
            config=config,
            width=width,
            height=height,
            num_frames=length.num_frames,
            num_sampled_frames=length.num_sampled_frames,
            fps=length.fps,
            reference=self.networks.reference_net.read_reference(latents, embedding_E=identity_E),
            rows_RLD=rows_RLD,
            speed_deg_s_F=self._speeds(settings, length),
            face=face,
            weights=settings.weights,
        )

    @torch.no_grad()
    def sample(
        self,
        film: Film,
        *,
        settings: AnimateSettings,
        on_step: OnStep | None = None,
        store: ClipStore | None = None,
    ) -> Iterator[Tensor]:
        """Yield the film's latents [frames, C, h, w], clip by clip or all at once.

        Args:
            on_step: called after every denoising step.
            store: clips that are in it are not made again, others are kept in it.
        """
        config = self.networks.config
        sampling = config.sampling
        solver = _or_default(settings.solver, sampling.solver or USUAL_SOLVER)
        guidance = _or_default(settings.guidance, sampling.guidance)
        conditions = _Conditions(self.networks, film, guidance=guidance)
        steps = _or_default(settings.steps, sampling.steps)
        memory = None
        if store is not None:
            how = {"solver": solver, "steps": steps, "guidance": guidance, "seed": settings.seed}
            memory = FilmMemory(store, film, self.networks, self.vae, **how)
        loop = {
            "scheduler": make_scheduler(config.diffusion, solver=solver),
            "steps": steps,
            "guidance": guidance,
            "device": conditions.like.device,
            "on_step": on_step,
        }
        num_drawn = sampling.clip_frames if sampling.windows is None else film.num_sampled_frames
        noise = FilmNoise(settings.seed, clip_frames=num_drawn, shape=film.latent_shape)
        if sampling.windows is None:
            for clip in generate_clips(
                conditions.of_clip,
                num_frames=film.num_frames,
                clip_frames=sampling.clip_frames,
                num_motion_frames=config.backbone.temporal.num_motion_frames,
                noise=noise,
                motion=film.first_motion,
                recode_motion=self._recoded if sampling.motion.is_decoded else None,
                memory=memory,
                **loop,
            ):
                yield clip.latents
            return
        # All frames are made together: to a store they are one clip.
        span = ClipSpan(index=0, first=0, last=film.num_sampled_frames)
        whole = None if memory is None else memory.recall(span, None)
        if whole is None:
            latents = generate_in_windows(
                conditions.of_window,
                noise_FChw=limited(noise.next_clip(), sampling.noise_limit),
                length=sampling.clip_frames,
                config=sampling.windows,
                **loop,
            )
            whole = FinishedClip(span=span, latents=latents, motion=None)
            if memory is not None:
                memory.keep(whole, led_by=None)
        yield whole.latents[: film.num_frames]

    @torch.no_grad()
    def animate(
        self,
        film: Film,
        *,
        settings: AnimateSettings,
        on_step: OnStep | None = None,
        store: ClipStore | None = None,
    ) -> Iterator[Tensor]:
        """Yield the film's frames [frames, H, W, 3] of 0..1, a part at a time; as `sample`."""
        yield from self.decode(self.sample(film, settings=settings, on_step=on_step, store=store))

    @torch.no_grad()
    def decode(self, clips: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the frames of sampled clips [frames, C, h, w], as `animate`."""
        median = MedianFilter() if self.networks.config.sampling.has_median_filter else None
        for latents in clips:
            for part in latents.split(FRAMES_AT_ONCE):
                frames = self.vae.decode(part).cpu()
                frames = frames if median is None else median.push(frames)
                if len(frames):
                    yield frames
        if median is not None:
            yield median.finish()

    def _recoded(self, latents: Tensor) -> Tensor:
        """Through pixels, which are cut to 0..1, and back."""
        return self.vae.encode(self.vae.decode(latents))

    def _speeds(self, settings: AnimateSettings, length: FilmLength) -> Tensor | None:
        config = self.networks.config
        if settings.speed_deg_s is None:
            return None
        if config.backbone.speed is None:
            raise InputError(
                f"head speed {settings.speed_deg_s}: this checkpoint, of family {config.family}, "
                "has no speed layers. Leave the speed out, or use a checkpoint of family emo."
            )
        track = SpeedTrack.steady(settings.speed_deg_s)
        values = track.at_frames(num_frames=length.num_frames, fps=length.fps)
        check_reach(values, highest=config.backbone.speed.bucket_centers_deg_s[-1])
        return values


class _Conditions:
    """Prepares clips and windows of a film for the sampling loops."""

    def __init__(self, networks: Networks, film: Film, *, guidance: float) -> None:
        self.networks = networks
        self.film = film
        self.like = _like(networks)
        whole = film.clip(range(0), motion=None)
        # Guidance of 1 is none: its other half is not asked for.
        halves = [whole] if guidance == 1.0 else [whole, whole.unconditional()]
        self.shared = {
            half.is_conditional: half.share(networks.backbone, like=self.like) for half in halves
        }

    def of_clip(self, span: ClipSpan, motion_latents: Tensor | None) -> Predict:
        """The loop's `PrepareClip`. A shorter last clip is generated whole."""
        clip_frames = self.film.config.sampling.clip_frames
        motion = None
        if motion_latents is not None:
            motion = self.networks.reference_net.read_motion(
                motion_latents.to(self.like),
                identity_2TD=self.film.reference.identity_2TD,
                is_unknown_read=False in self.shared,
            )
        frames = range(span.first, span.first + clip_frames)
        return self._predictor(self.film.clip(frames, motion=motion))

    def of_window(self, frames: list[int]) -> Predict:
        """The loop's `PrepareWindow`."""
        return self._predictor(Clip(film=self.film, frames=tuple(frames), motion=None))

    def _predictor(self, clip: Clip) -> Predict:
        backbone = self.networks.backbone
        prepared = [
            dataclasses.replace(clip, is_conditional=is_conditional).prepare(
                backbone, shared, like=self.like
            )
            for is_conditional, shared in self.shared.items()
        ]

        def predict(latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor | None]:
            latents = latents.to(self.like)
            answers = [backbone(latents, timestep, conditions) for conditions in prepared]
            return answers[0], answers[1] if len(answers) > 1 else None

        return predict


def _like(networks: Networks) -> Tensor:
    """What conditions are projected to: device and dtype of the networks."""
    return next(networks.backbone.parameters()).new_empty(0)


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value
