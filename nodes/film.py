"""The conditions of a film, brought together from the wires and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..emo_core.config import BackboneConfig, ModelConfig
from ..emo_core.errors import InputError
from ..emo_core.face.placement import FacePlacement, usual_placement
from ..emo_core.face.track import check_reach
from ..emo_core.film import Film
from ..emo_core.models.backbone import AS_TRAINED, Weights
from ..emo_core.models.reference import MotionReading
from .loading import read_motion
from .network import EMOModel
from .types import Audio, FaceRegion, Reference, Speed


@dataclass(frozen=True)
class FilmToSample:
    """A film and the networks that its motion frames go through."""

    film: Film
    reference: Reference

    def motion(self, led_by: Tensor | None) -> MotionReading | None:
        """Read what leads a clip.

        Args:
            led_by: latents of the frames before it in the VAE's scale, at least as many as the
                checkpoint has motion frames; None before the film's first.
        """
        if not self.film.num_motion_frames:
            return None
        scale = self.film.config.latent_scale
        latents = self.film.first_motion
        if led_by is not None:
            latents = led_by[-self.film.num_motion_frames :]
            if self.film.config.sampling.motion.is_decoded:
                # Through pixels, which are cut to 0..1, and back.
                latents = self.reference.vae.encode(self.reference.vae.decode(latents))
            latents = latents * scale
        if latents is None:
            return None
        return read_motion(self.reference, latents)


def config_of(model: ModelPatcher, *, node: str) -> ModelConfig:
    """The config of a MODEL, which must be one of ours.

    Raises:
        InputError: names `node`.
    """
    if not isinstance(model.model, EMOModel):
        raise InputError(
            f"{node}: the MODEL is {type(model.model).__name__}. Expected one that comes from "
            "'Load EMO Model'; connect that."
        )
    return model.model.emo_config


def assemble(
    *,
    node: str,
    model: ModelPatcher,
    reference: Reference,
    emo_audio: Audio,
    reference_weight: float,
    audio_weight: float,
    speed_weight: float,
    face_region: FaceRegion | None = None,
    head_speed: Speed | None = None,
) -> FilmToSample:
    """Bring all conditions together, by the names of the nodes' inputs, and check that they fit.

    Raises:
        InputError: names `node`, what does not fit and what to do.
    """
    config = config_of(model, node=node)
    backbone = config.backbone
    if reference.net.config.backbone != backbone:
        raise InputError(
            f"{node}: the reference was encoded by another checkpoint's ReferenceNet. Take MODEL "
            "and reference_net from the same 'Load EMO Model'."
        )
    _check_audio(emo_audio, backbone, node=node)
    fit, length = reference.fit, emo_audio.length
    film = Film(
        config=config,
        width=fit.width,
        height=fit.height,
        num_frames=length.num_frames,
        num_sampled_frames=length.num_sampled_frames,
        fps=length.fps,
        reference=reference.reading,
        rows_RLD=emo_audio.rows_RLD,
        rows_file=emo_audio.file,
        speed_deg_s_F=speeds_of(
            head_speed, config, num_frames=length.num_frames, fps=length.fps, node=node
        ),
        face=_placement(face_region, reference, node=node),
        weights=Weights(
            reference=reference_weight,
            audio=audio_weight,
            areas=AS_TRAINED.areas if face_region is None else face_region.area_weights,
            speed=speed_weight,
        ),
    )
    return FilmToSample(film, reference)


def _check_audio(audio: Audio, backbone: BackboneConfig, *, node: str) -> None:
    found = tuple(audio.rows_RLD.shape[1:])
    wanted = (backbone.audio.num_layers, backbone.audio.feature_dim)
    if found != wanted:
        raise InputError(
            f"{node}: the audio has features of {found[0]} layers of width {found[1]}; this "
            f"checkpoint hears {wanted[0]} layers of width {wanted[1]}. Encode the voice with this "
            "MODEL in 'EMO Audio Encode'."
        )


def speeds_of(
    speed: Speed | None, config: ModelConfig, *, num_frames: int, fps: float, node: str
) -> Tensor | None:
    """Head speeds of a film's frames; None leaves the speed layers out.

    Raises:
        InputError: names `node`; the checkpoint has no speed layers, or none that fast.
    """
    if speed is None:
        return None
    buckets = config.backbone.speed
    if buckets is None:
        raise InputError(
            f"{node}: a head speed is connected, but this checkpoint, of family {config.family}, "
            "has no speed layers. Disconnect it, or load a checkpoint that has them, such as the "
            "bundled demo."
        )
    values = speed.track.at_frames(num_frames=num_frames, fps=fps)
    check_reach(values, highest=buckets.bucket_centers_deg_s[-1], name=f"{node}: head speed")
    return values


def _placement(region: FaceRegion | None, reference: Reference, *, node: str) -> FacePlacement:
    height, width = reference.fit.height, reference.fit.width
    if region is None:
        return usual_placement(width=width, height=height)
    found = region.placement.mask_HW.shape
    if tuple(found) != (height, width):
        raise InputError(
            f"{node}: the face region is {found[1]}x{found[0]}, the reference {width}x{height}. "
            "Give 'EMO Face Region' the same reference."
        )
    reads_points = reference.net.config.backbone.face_locator_input == "key_points"
    if region.placement.driving_points_F32 is not None and not reads_points:
        raise InputError(
            f"{node}: the key points of a driving video are connected, but checkpoints of family "
            f"{reference.net.config.family} read none. Leave 'EMO Key Points' out, or load "
            "V-Express."
        )
    return region.placement
