"""What a whole film is conditioned on, and the part of it that one clip reads.

Letters: F frames of the film, L encoder layers, D feature width, H and W rows
and columns of pixels, C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..emo_core.audio.windows import windows_around_frames
from ..emo_core.config import PIXELS_PER_LATENT, BackboneConfig, ModelConfig
from ..emo_core.errors import InputError
from ..emo_core.face.region import DEFAULT_BOX, box_to_mask
from ..emo_core.face.track import check_reach
from ..emo_core.models.unet import Features
from .network import ClipInputs, EMOModel
from .types import Audio, FaceRegion, Reference, Speed


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Factors on what each attention adds; 1 is as trained."""

    reference: float = 1.0
    audio: float = 1.0
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Film:
    """All conditions of a film, checked against the checkpoint that is to sample it."""

    config: ModelConfig
    reference: Reference
    num_frames: int
    fps: float
    audio_FLD: Tensor
    speed_F: Tensor | None
    region_HW: Tensor
    weights: Weights

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one frame's latents."""
        fit = self.reference.fit
        return (
            self.config.backbone.unet.latent_channels,
            fit.height // PIXELS_PER_LATENT,
            fit.width // PIXELS_PER_LATENT,
        )

    def clip(self, first: int, *, num_frames: int, motion: Features | None) -> ClipInputs:
        """Return the conditions of frames `first` to `first + num_frames`.

        Past the film's end its last sound and speed are held.
        """
        frame_F = torch.arange(first, first + num_frames).clamp(max=self.num_frames - 1)
        backbone = self.config.backbone
        speed_windows = None
        if self.speed_F is not None:
            margin = backbone.speed.window_margin
            speed_windows = windows_around_frames(self.speed_F, margin=margin, frames=frame_F)
        return ClipInputs(
            reference=self.reference.features,
            audio_windows_FWLD=windows_around_frames(
                self.audio_FLD, margin=backbone.audio.window_margin, frames=frame_F
            ),
            speed_windows_FW=speed_windows,
            region_HW=self.region_HW,
            motion=motion,
            num_frames=num_frames,
            reference_weight=self.weights.reference,
            audio_weight=self.weights.audio,
            speed_weight=self.weights.speed,
        )


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
    model: ModelPatcher,
    *,
    node: str,
    reference: Reference,
    audio: Audio,
    region: FaceRegion | None,
    speed: Speed | None,
    weights: Weights,
) -> Film:
    """Bring all conditions together and check that they fit each other.

    Raises:
        InputError: names `node`, what does not fit and what to do.
    """
    config = config_of(model, node=node)
    backbone = config.backbone
    if reference.net.config.backbone.unet != backbone.unet:
        raise InputError(
            f"{node}: the reference was encoded by another checkpoint's ReferenceNet. Take MODEL "
            "and reference_net from the same 'Load EMO Model'."
        )
    _check_audio(audio, backbone, node=node)
    return Film(
        config=config,
        reference=reference,
        num_frames=audio.num_frames,
        fps=audio.fps,
        audio_FLD=audio.features_FLD,
        speed_F=_speeds(speed, audio, backbone, node=node),
        region_HW=_region(region, reference, node=node),
        weights=weights,
    )


def _check_audio(audio: Audio, backbone: BackboneConfig, *, node: str) -> None:
    found = tuple(audio.features_FLD.shape[1:])
    wanted = (backbone.audio.num_layers, backbone.audio.feature_dim)
    if found != wanted:
        raise InputError(
            f"{node}: the audio has features of {found[0]} layers of width {found[1]}; this "
            f"checkpoint hears {wanted[0]} layers of width {wanted[1]}. Encode the voice with this "
            "MODEL in 'EMO Audio Encode'."
        )


def _speeds(
    speed: Speed | None, audio: Audio, backbone: BackboneConfig, *, node: str
) -> Tensor | None:
    if speed is None:
        return None
    if backbone.speed is None:
        raise InputError(
            f"{node}: a head speed is connected, but this checkpoint has no speed layers. "
            "Disconnect it, or load a checkpoint that has them, such as the bundled demo."
        )
    values = speed.track.at_frames(num_frames=audio.num_frames, fps=audio.fps)
    check_reach(values, highest=backbone.speed.bucket_centers_deg_s[-1], name=f"{node}: head speed")
    return values


def _region(region: FaceRegion | None, reference: Reference, *, node: str) -> Tensor:
    height, width = reference.fit.height, reference.fit.width
    if region is None:
        return box_to_mask(DEFAULT_BOX, height=height, width=width)
    if tuple(region.mask_HW.shape) != (height, width):
        raise InputError(
            f"{node}: the face region is {region.mask_HW.shape[1]}x{region.mask_HW.shape[0]}, the "
            f"reference {width}x{height}. Give 'EMO Face Region' the same reference."
        )
    return region.mask_HW
