"""Portrait + voice -> film, from the parts of a checkpoint. The headless twin of the nodes.

Letters: F frames of the film, H and W rows and columns of pixels, C channels, h and w of latents,
E width of an identity embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
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
from .audio.waveform import Waveform, check_waveform, resample
from .audio.whisper import Whisper
from .checkpoints.emo import Networks
from .checkpoints.load import load_networks, load_vae
from .config import PIXELS_PER_LATENT
from .errors import InputError
from .face.placement import FacePlacement, usual_placement
from .face.track import SpeedTrack, check_reach
from .files.on_disk import TensorOnDisk
from .film import Film
from .models.backbone import AS_TRAINED, Weights
from .models.vae import VAE
from .sampler import How, Take, sample_film
from .sampling.anchor import USUAL_ANCHOR_SHARE
from .sampling.denoising import OnStep
from .sampling.retake import USUAL_BLEND_FRAMES, Retake, retake_part
from .store.clips import ClipStore
from .video.decoding import FRAMES_AT_ONCE, FRAMES_AT_ONCE_ON_CPU, decode_in_parts
from .video.images import Fit
from .video.median import median_filtered

T = TypeVar("T")
USUAL_SOLVER = "dpm++2m"


@dataclass(frozen=True, kw_only=True)
class AnimateSettings:
    """What a user may change. None stands for the checkpoint's own default.

    `Animator.film` reads what shapes a film's conditions (size, fps, speed, weights), `sample` and
    `animate` how it is sampled (steps, guidance, solver, seed, anchor).
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
    anchor_every: int = 0
    """Clips after which the film is brought back to its reference; 0 never does."""
    anchor_share: float = USUAL_ANCHOR_SHARE
    weights: Weights = AS_TRAINED


@dataclass(frozen=True, kw_only=True)
class RetakeSettings:
    """A part of a film to be made again. None stands for the film's own."""

    start_s: float
    """Seconds of the film."""
    end_s: float
    seed: int
    guidance: float | None = None
    speed_deg_s: float | None = None
    weights: Weights | None = None
    blend_frames: int = USUAL_BLEND_FRAMES
    """Behind the end, in which the new take becomes the old one."""

    def part(self, film: Film) -> Retake:
        """Which frames they are of a film.

        Raises:
            InputError: not inside it.
        """
        return retake_part(
            self.start_s,
            self.end_s,
            fps=film.fps,
            num_frames=film.num_frames,
            blend_frames=self.blend_frames,
        )


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
        if encoder is not None and audio_encoder is not None:
            raise InputError(
                f"--audio-encoder {audio_encoder}: {checkpoint} brings its own and would not use "
                "it. Leave it out."
            )
        if encoder is None:
            if audio_encoder is None:
                raise InputError(
                    f"{checkpoint}: brings no audio encoder. Give the "
                    f"{networks.config.backbone.audio.encoder} model that it was made with as "
                    "--audio-encoder."
                )
            encoder = load_audio_encoder(audio_encoder).to(device)
        loaded_vae = load_vae(vae, scale=networks.config.latent_scale, dtype=dtype).to(device)
        wanted = networks.config.backbone.unet.latent_channels
        if loaded_vae.latent_channels != wanted:
            raise InputError(
                f"{vae}: this VAE has {loaded_vae.latent_channels} latent channels, {checkpoint} "
                f"needs {wanted}. Give the one that belongs to the checkpoint as --vae: the demo's "
                "own, or Stable Diffusion's for the published families."
            )
        if device.type == "cpu":
            loaded_vae.to(memory_format=torch.channels_last)
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

    def num_steps(self, settings: AnimateSettings) -> int:
        """Denoising steps of each clip."""
        return _or_default(settings.steps, self.networks.config.sampling.steps)

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
        like = self.networks.like
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
        # Where the sound lies on the disk, so do its rows.
        audio, rows_file = config.backbone.audio, None
        if waveform.file is not None:
            shape = (audio.num_layers, audio.feature_dim)
            rows_file = TensorOnDisk(waveform.file.folder, row_shape=shape)
        mono = resample(waveform, sample_rate_hz=SAMPLE_RATE_HZ, is_mixed=True)
        rows_RLD = encode_rows(
            self.audio_encoder,
            mono.samples[0].to(like.device),
            audio,
            fps=length.fps,
            num_frames=length.num_frames,
            clip_frames=config.sampling.clip_frames,
            on_stretch=mono.release,
            into=rows_file,
        )
        mono.release()
        return Film(
            config=config,
            width=width,
            height=height,
            num_frames=length.num_frames,
            num_sampled_frames=length.num_sampled_frames,
            fps=length.fps,
            reference=self.networks.reference_net.read_reference(latents, embedding_E=identity_E),
            rows_RLD=rows_RLD,
            rows_file=rows_file,
            speed_deg_s_F=self._speeds(settings.speed_deg_s, length.num_frames, length.fps),
            face=face,
            weights=settings.weights,
        )

    def sample(
        self,
        film: Film,
        *,
        settings: AnimateSettings,
        retakes: Sequence[RetakeSettings] = (),
        on_step: OnStep | None = None,
        store: ClipStore | None = None,
    ) -> Iterator[Tensor]:
        """Yield the film's latents [frames, C, h, w], clip by clip or all at once.

        Args:
            retakes: parts that are made again, one after the other.
            on_step: called after every denoising step.
            store: clips that are in it are not made again, others are kept in it.
        """
        how = self._how(settings)
        return sample_film(
            self.networks,
            self.vae,
            film,
            how,
            takes=[self._take(film, how, retake) for retake in retakes],
            anchor=film.anchor(every=settings.anchor_every, share=settings.anchor_share),
            store=store,
            on_step=on_step,
        )

    @torch.no_grad()
    def animate(
        self,
        film: Film,
        *,
        settings: AnimateSettings,
        retakes: Sequence[RetakeSettings] = (),
        on_step: OnStep | None = None,
        store: ClipStore | None = None,
    ) -> Iterator[Tensor]:
        """Yield the film's frames [frames, H, W, 3] of 0..1, a part at a time; as `sample`."""
        clips = self.sample(film, settings=settings, retakes=retakes, on_step=on_step, store=store)
        yield from self.decode(clips)

    @torch.no_grad()
    def decode(self, clips: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the frames of sampled clips [frames, C, h, w], as `animate`."""
        is_on_cpu = self.networks.like.device.type == "cpu"
        parts = decode_in_parts(
            clips,
            lambda part: self.vae.decode(part).cpu(),
            frames_at_once=FRAMES_AT_ONCE_ON_CPU if is_on_cpu else FRAMES_AT_ONCE,
        )
        if self.networks.config.sampling.has_median_filter:
            parts = median_filtered(parts)
        yield from parts

    def _how(self, settings: AnimateSettings) -> How:
        sampling = self.networks.config.sampling
        return How(
            solver=_or_default(settings.solver, sampling.solver or USUAL_SOLVER),
            steps=_or_default(settings.steps, sampling.steps),
            guidance=_or_default(settings.guidance, sampling.guidance),
            seed=settings.seed,
        )

    def _take(self, film: Film, how: How, retake: RetakeSettings) -> Take:
        """What a retake does not name stays the film's."""
        changes = {} if retake.weights is None else {"weights": retake.weights}
        if retake.speed_deg_s is not None:
            changes["speed_deg_s_F"] = self._speeds(retake.speed_deg_s, film.num_frames, film.fps)
        how = dataclasses.replace(
            how, seed=retake.seed, guidance=_or_default(retake.guidance, how.guidance)
        )
        return Take(film=dataclasses.replace(film, **changes), how=how, part=retake.part(film))

    def _speeds(self, speed_deg_s: float | None, num_frames: int, fps: float) -> Tensor | None:
        config = self.networks.config
        if speed_deg_s is None:
            return None
        if config.backbone.speed is None:
            raise InputError(
                f"head speed {speed_deg_s}: this checkpoint, of family {config.family}, "
                "has no speed layers. Leave the speed out, or use a checkpoint of family emo."
            )
        values = SpeedTrack.steady(speed_deg_s).at_frames(num_frames=num_frames, fps=fps)
        check_reach(values, highest=config.backbone.speed.bucket_centers_deg_s[-1])
        return values


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value
