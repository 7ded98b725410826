"""The pack's own wire types. Each is one frozen dataclass; nothing else travels on that wire.

Letters: F video frames of the film, L encoder layers, D feature width, H and W rows and columns of
pixels, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.audio.encoder import AudioEncoder
from ..emo_core.config import ModelConfig
from ..emo_core.face.track import SpeedTrack
from ..emo_core.models.unet import Features
from ..emo_core.video.images import Fit

ReferenceNetType = io.Custom("EMO_REFERENCE_NET")
ReferenceType = io.Custom("EMO_REFERENCE")
AudioEncoderType = io.Custom("EMO_AUDIO_ENCODER")
AudioType = io.Custom("EMO_AUDIO")
FaceRegionType = io.Custom("EMO_FACE_REGION")
SpeedType = io.Custom("EMO_SPEED")
FaceLandmarksType = io.Custom("FACE_LANDMARKS")
"""Core's: {"frames": [[face, ...] per frame], "image_size": (H, W), ...}."""
BoundingBoxType = io.Custom("BOUNDING_BOX")
"""Core's face detectors: one list of {"x", "y", "width", "height"} in pixels per frame."""


@dataclass(frozen=True)
class ReferenceNetWire:
    """EMO_REFERENCE_NET: the ReferenceNet of a checkpoint, in a patcher of its own."""

    patcher: ModelPatcher
    config: ModelConfig

    def is_dynamic(self) -> bool:
        """For ComfyUI's cache, which spares models that are streamed from their file."""
        return self.patcher.is_dynamic()


@dataclass(frozen=True)
class AudioEncoderWire:
    """EMO_AUDIO_ENCODER: something that turns sound into features, in a patcher of its own."""

    patcher: ModelPatcher
    encoder: AudioEncoder
    name: str
    """For messages."""

    def is_dynamic(self) -> bool:
        return self.patcher.is_dynamic()


@dataclass(frozen=True)
class Reference:
    """EMO_REFERENCE: a portrait as the backbone reads it.

    Carries the ReferenceNet, since the sampler reads motion frames with the same network.
    """

    net: ReferenceNetWire
    features: Features
    """On the CPU, one value (1, h * w, C) per spatial transformer."""
    fit: Fit
    """How the portrait was brought to the film's size; masks and boxes go the same way."""

    def get_models(self) -> list[ModelPatcher]:
        """For ComfyUI's tracking of models in cached outputs."""
        return [self.net.patcher]


@dataclass(frozen=True)
class Audio:
    """EMO_AUDIO: a voice as the backbone hears it."""

    features_FLD: Tensor
    """float32 on the CPU, at the centre of every video frame."""
    fps: float

    @property
    def num_frames(self) -> int:
        return self.features_FLD.shape[0]


@dataclass(frozen=True)
class FaceRegion:
    """EMO_FACE_REGION: where the face may appear, (H, W) of 0..1 at the film's size."""

    mask_HW: Tensor


@dataclass(frozen=True)
class Speed:
    """EMO_SPEED: how fast the head turns over the film."""

    track: SpeedTrack
