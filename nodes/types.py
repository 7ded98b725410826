"""The pack's own wire types. Each is one frozen dataclass; nothing else travels on that wire.

Letters: R rows of sound, L encoder layers, D feature width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.audio.encoder import AudioEncoder, Wav2Vec2
from ..emo_core.audio.timing import FilmLength
from ..emo_core.audio.whisper import Whisper
from ..emo_core.config import ModelConfig
from ..emo_core.face.placement import FacePlacement
from ..emo_core.face.track import SpeedTrack
from ..emo_core.files.on_disk import TensorOnDisk
from ..emo_core.models.backbone import AS_TRAINED
from ..emo_core.models.reference import ReferenceReading
from ..emo_core.video.images import Fit

ReferenceNetType = io.Custom("EMO_REFERENCE_NET")
ReferenceType = io.Custom("EMO_REFERENCE")
AudioEncoderType = io.Custom("EMO_AUDIO_ENCODER")
AudioType = io.Custom("EMO_AUDIO")
FaceRegionType = io.Custom("EMO_FACE_REGION")
SpeedType = io.Custom("EMO_SPEED")
RetakeType = io.Custom("EMO_RETAKE")
ClipsType = io.Custom("EMO_CLIPS")
FaceLandmarksType = io.Custom("FACE_LANDMARKS")
"""Core's: {"frames": [[face, ...] per frame], "image_size": (H, W), ...}."""
FaceAnalysisTypes = [io.Custom("INSIGHTFACE"), io.Custom("FACEANALYSIS"), io.FaceAnalysis]
"""What packs that load insightface call its `FaceAnalysis`; this pack never does."""
ONLY_A_SOCKET = {"forceInput": True}
"""The front end draws a widget with a value of its own for boxes and curves unless told not to."""
BoundingBoxType = io.Custom("BOUNDING_BOX")
"""Core's face detectors: one list of {"x", "y", "width", "height"} in pixels per frame."""


class FoundFace(Protocol):
    """A face as insightface describes it."""

    bbox: Sequence[float]
    """x0, y0, x1, y1 in pixels."""
    embedding: Sequence[float]
    """Not normalised."""


class FaceAnalysis(Protocol):
    """insightface's detector and recogniser, as another pack loads it."""

    def get(self, picture_HW3: np.ndarray) -> Sequence[FoundFace]:
        """Find faces in 8-bit values, blue first."""
        ...


@dataclass(frozen=True)
class ReferenceNetWire:
    """EMO_REFERENCE_NET: the ReferenceNet of a checkpoint, in a patcher of its own."""

    patcher: ModelPatcher
    config: ModelConfig
    path: Path
    """The checkpoint's file."""
    weight_dtype: torch.dtype | None
    """That was asked for; None is ComfyUI's choice."""

    def is_dynamic(self) -> bool:
        """For ComfyUI's cache, which spares models that are streamed from their file."""
        return self.patcher.is_dynamic()


@dataclass(frozen=True)
class AudioEncoderWire:
    """EMO_AUDIO_ENCODER: something that turns sound into features, in a patcher of its own."""

    patcher: ModelPatcher
    encoder: AudioEncoder | Wav2Vec2 | Whisper
    name: str
    """For messages."""

    def is_dynamic(self) -> bool:
        return self.patcher.is_dynamic()


@dataclass(frozen=True)
class Reference:
    """EMO_REFERENCE: a portrait as the backbone reads it.

    Carries the ReferenceNet, since the sampler reads motion frames with the same network, and the
    VAE, through which the motion frames of some families go before.
    """

    net: ReferenceNetWire
    vae: VAE
    reading: ReferenceReading
    """On the CPU."""
    fit: Fit
    """How the portrait was brought to the film's size; masks and boxes go the same way."""

    def get_models(self) -> list[ModelPatcher]:
        """For ComfyUI's tracking of models in cached outputs."""
        return [self.net.patcher, self.vae.patcher]


@dataclass(frozen=True)
class Audio:
    """EMO_AUDIO: a voice as the backbone hears it."""

    rows_RLD: Tensor
    """float32 on the CPU, from `emo_core.audio.rows.encode_rows`."""
    length: FilmLength
    file: TensorOnDisk | None = None
    """Where the rows lie, if not in memory."""


@dataclass(frozen=True)
class FaceRegion:
    """EMO_FACE_REGION: where the face is and may appear, at the film's size."""

    placement: FacePlacement
    area_weights: tuple[float, ...] = AS_TRAINED.areas
    """How much the voice counts in background, face and lips."""


@dataclass(frozen=True)
class Speed:
    """EMO_SPEED: how fast the head turns over the film."""

    track: SpeedTrack


@dataclass(frozen=True, kw_only=True)
class RetakeWire:
    """A part of a film that is to be made again; EMO_RETAKE is a tuple of these, in order."""

    start_s: float
    end_s: float
    seed: int
    blend_frames: int
    guidance: float | None
    """None: the film's."""
    head_speed: Speed | None
    """None: the film's."""
    weights: Mapping[str, float]
    """Of `Weights`, those that differ from the film's."""


@dataclass(frozen=True)
class Clips:
    """EMO_CLIPS: a sampled film that is to be decoded clip by clip."""

    latent: dict[str, object]
    """LATENT of one film, with the notes of EMO's sampling nodes."""
    vae: VAE
    frames_per_clip: int
    """At least 1; the last clip may be shorter."""

    def get_models(self) -> list[ModelPatcher]:
        """For ComfyUI's tracking of models in cached outputs."""
        return [self.vae.patcher]
