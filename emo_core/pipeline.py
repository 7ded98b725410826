"""Portrait + voice -> film, from the parts of a checkpoint. The headless twin of the nodes.

Letters: F frames of the film, H and W rows and columns of pixels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from .audio.encoder import AudioEncoder, Wav2Vec2Encoder, encode_sound
from .audio.front_end import SAMPLE_RATE_HZ
from .audio.waveform import Waveform, check_waveform, num_video_frames, to_mono
from .audio.windows import windows_around_frames
from .checkpoints.emo import Networks
from .checkpoints.load import load_networks, load_vae
from .config import PIXELS_PER_LATENT
from .errors import InputError
from .face.region import DEFAULT_BOX, box_to_mask
from .face.track import SpeedTrack, check_reach
from .models.vae import VAE
from .sampling.clip_plan import ClipSpan
from .sampling.generate import OnStep, Predict, generate_clips
from .sampling.schedule import make_scheduler
from .video.images import Fit

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class AnimateSettings:
    """What a user may change. None stands for the checkpoint's own default."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    steps: int | None = None
    guidance: float | None = None
    solver: str = "dpm++2m"
    seed: int = 0
    speed_deg_s: float | None = None
    """Head speed; None leaves the speed layers out."""
    reference_weight: float = 1.0
    audio_weight: float = 1.0
    speed_weight: float = 1.0


class Animator:
    """A checkpoint and its VAE, ready to animate."""

    def __init__(self, networks: Networks, vae: VAE, audio_encoder: AudioEncoder) -> None:
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
            audio_encoder: folder of a wav2vec2 model, for checkpoints without a front end.
        """
        networks = load_networks(checkpoint, dtype=dtype)
        for network in networks.parts().values():
            network.to(device)
        encoder = networks.front_end
        if encoder is None:
            if audio_encoder is None:
                raise InputError(
                    f"{checkpoint}: brings no audio encoder. Give the folder of the wav2vec2 model "
                    "that it was made with as --audio-encoder."
                )
            audio = networks.config.backbone.audio
            encoder = Wav2Vec2Encoder.from_folder(
                audio_encoder, num_layers=audio.num_layers, feature_dim=audio.feature_dim
            ).to(device)
        loaded_vae = load_vae(vae, scale=networks.config.latent_scale, dtype=dtype).to(device)
        return cls(networks, loaded_vae, encoder)

    def num_frames(self, waveform: Waveform, settings: AnimateSettings) -> int:
        """Frames of the film for a sound."""
        return num_video_frames(waveform.duration_s, fps=self.fps(settings))

    def fps(self, settings: AnimateSettings) -> float:
        return _or_default(settings.fps, self.networks.config.sampling.fps)

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
    def animate(
        self,
        portrait_HW3: Tensor,
        waveform: Waveform,
        *,
        settings: AnimateSettings,
        region_HW: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[Tensor]:
        """Yield the film clip by clip as frames [clip frames, H, W, 3] of 0..1.

        Args:
            portrait_HW3: 0..1, any size; scaled and cropped to the film's.
            region_HW: face region at the film's size, 0..1; None takes a usual portrait's.
            on_step: called after every denoising step.

        Raises:
            InputError: a setting that the checkpoint cannot use, or unusable sound.
        """
        check_waveform(waveform, name="the voice")
        config = self.networks.config
        width, height = self.size(settings)
        fps, num_frames = self.fps(settings), self.num_frames(waveform, settings)
        device = next(self.networks.backbone.parameters()).device
        dtype = next(self.networks.backbone.parameters()).dtype

        portrait = Fit.of(portrait_HW3, width=width, height=height).portrait(portrait_HW3)
        reference_latents = self.vae.encode(portrait[None].to(device)).to(dtype)
        if region_HW is None:
            region_HW = box_to_mask(DEFAULT_BOX, height=height, width=width)
        elif tuple(region_HW.shape) != (height, width):
            raise InputError(
                f"face region of {region_HW.shape[1]}x{region_HW.shape[0]} pixels for a film of "
                f"{width}x{height}. Fit the mask to the film's size."
            )
        sound = to_mono(waveform, sample_rate_hz=SAMPLE_RATE_HZ).to(device)
        features = encode_sound(self.audio_encoder, sound, fps=fps, num_frames=num_frames)
        prepare_clip = _ClipConditions(
            networks=self.networks,
            reference=self.networks.reference_net(reference_latents),
            audio_windows=windows_around_frames(
                features, margin=config.backbone.audio.window_margin
            ).to(dtype),
            speed_windows=self._speed_windows(settings, num_frames, device),
            region=region_HW[None, None].to(device, dtype),
            settings=settings,
        )
        clips = generate_clips(
            prepare_clip,
            scheduler=make_scheduler(config.diffusion, solver=settings.solver),
            steps=_or_default(settings.steps, config.sampling.steps),
            guidance=prepare_clip.guidance,
            num_frames=num_frames,
            clip_frames=config.sampling.clip_frames,
            num_motion_frames=config.backbone.temporal.num_motion_frames,
            latent_shape=tuple(reference_latents.shape[1:]),
            seed=settings.seed,
            device=device,
            on_step=on_step,
        )
        for clip in clips:
            yield self.vae.decode(clip.latents).cpu()

    def _speed_windows(
        self, settings: AnimateSettings, num_frames: int, device: torch.device
    ) -> Tensor | None:
        speed = self.networks.config.backbone.speed
        if settings.speed_deg_s is None:
            return None
        if speed is None:
            raise InputError(
                f"head speed {settings.speed_deg_s}: this checkpoint has no speed layers. Leave "
                "the speed out, or use a checkpoint of family emo."
            )
        track = SpeedTrack.steady(settings.speed_deg_s)
        values = track.at_frames(num_frames=num_frames, fps=self.fps(settings)).to(device)
        check_reach(values, highest=speed.bucket_centers_deg_s[-1])
        return windows_around_frames(values, margin=speed.window_margin)


@dataclass(frozen=True)
class _ClipConditions:
    """Prepares one clip after another; an instance is the loop's `PrepareClip`."""

    networks: Networks
    reference: dict[str, Tensor]
    audio_windows: Tensor
    speed_windows: Tensor | None
    region: Tensor
    settings: AnimateSettings

    @property
    def guidance(self) -> float:
        return _or_default(self.settings.guidance, self.networks.config.sampling.guidance)

    def __call__(self, span: ClipSpan, motion_latents: Tensor | None) -> Predict:
        clip_frames = self.networks.config.sampling.clip_frames
        dtype = self.region.dtype
        # A shorter last clip is generated whole; past the film's end its last sound is held.
        frame_F = torch.arange(span.first, span.first + clip_frames, device=self.region.device)
        frame_F = frame_F.clamp(max=len(self.audio_windows) - 1)
        motion = None
        if motion_latents is not None:
            motion = self.networks.reference_net(motion_latents.to(dtype))
        backbone = self.networks.backbone
        conditional = backbone.prepare(
            num_frames=clip_frames,
            like=self.region,
            reference=self.reference,
            motion=motion,
            audio_windows_BFWLD=self.audio_windows[frame_F][None],
            speed_windows_BFW=(
                None if self.speed_windows is None else self.speed_windows[frame_F][None]
            ),
            region_B1HW=self.region,
            reference_weight=self.settings.reference_weight,
            audio_weight=self.settings.audio_weight,
            speed_weight=self.settings.speed_weight,
        )
        unconditional = None if self.guidance == 1.0 else conditional.unconditional()

        def predict(latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor | None]:
            latents = latents.to(dtype)
            first = backbone(latents, timestep, conditional)
            if unconditional is None:
                return first, None
            return first, backbone(latents, timestep, unconditional)

        return predict


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value
