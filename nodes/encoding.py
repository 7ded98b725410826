"""Nodes that turn the portrait and the voice into what the model reads."""

from __future__ import annotations

import logging

import comfy.model_management
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.audio.front_end import SAMPLE_RATE_HZ
from ..emo_core.audio.rows import WHOLE_SAMPLES, encode_rows
from ..emo_core.audio.timing import film_length
from ..emo_core.audio.waveform import check_waveform, to_mono
from ..emo_core.config import PIXELS_PER_LATENT
from ..emo_core.errors import InputError
from ..emo_core.files.on_disk import TensorOnDisk
from ..emo_core.video.images import MIN_SIDE, Fit
from .film import config_of
from .loading import FRONT_END, read_reference
from .paths import temp_folder
from .sound import AudioDict, waveform_of
from .types import (
    Audio,
    AudioEncoderType,
    AudioEncoderWire,
    AudioType,
    FaceAnalysis,
    FaceAnalysisTypes,
    Reference,
    ReferenceNetType,
    ReferenceNetWire,
    ReferenceType,
)
from .vae import check_vae

logger = logging.getLogger(__name__)
ANCHORS = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
}
STRETCH = "stretch"
LARGEST_SIDE = 2048
BYTES_PER_SAMPLE = 3 * 4 * 512 // 5
"""Of sound at 16 kHz that is encoded at once: wav2vec2's first convolution has 512 channels, one
step for 5 samples, and its values stand there three times for a moment."""
RECOGNISER = "glintr100"
"""Of insightface's antelopev2; other recognisers speak another language."""


def _side_input(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=LARGEST_SIDE,
        step=PIXELS_PER_LATENT,
        tooltip="Pixels, a multiple of 8. 0 takes the size that the checkpoint was made for.",
    )


class ReferenceEncode(io.ComfyNode):
    NAME = "EMO Reference Encode"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_ReferenceEncode",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="Reads the portrait: identity, clothes, background. Width and height are "
            "the film's size.",
            search_aliases=["portrait", "reference net", "face"],
            inputs=[
                ReferenceNetType.Input("reference_net", tooltip="From Load EMO Model."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the checkpoint."),
                io.Image.Input("image", tooltip="One portrait: head and shoulders, face visible."),
                _side_input("width"),
                _side_input("height"),
                io.Combo.Input(
                    "crop",
                    options=[*ANCHORS, STRETCH],
                    default="center",
                    advanced=True,
                    tooltip="Which part is kept where the portrait has another shape than the "
                    "film. Start with center; top keeps the hair; stretch squeezes it whole, as "
                    "Hallo and V-Express do.",
                ),
                io.MultiType.Input(
                    "face_analysis",
                    FaceAnalysisTypes,
                    optional=True,
                    tooltip="Hallo only: an insightface model (antelopev2) from a pack that loads "
                    "one, for the person's identity. Without it the face counts as unknown.",
                ),
            ],
            outputs=[ReferenceType.Output("reference", display_name="reference")],
        )

    @classmethod
    def execute(
        cls,
        reference_net: ReferenceNetWire,
        vae: VAE,
        image: Tensor,
        width: int,
        height: int,
        crop: str,
        face_analysis: FaceAnalysis | None = None,
    ) -> io.NodeOutput:
        config = reference_net.config
        width, height = width or config.sampling.width, height or config.sampling.height
        cls._check(reference_net, vae, image, width, height)
        picture = image[0, ..., :3].float()
        embedding = None
        if face_analysis is not None:
            embedding = cls._identity(face_analysis, picture, reference_net)
        fit = Fit.of(
            picture,
            width=width,
            height=height,
            anchor=ANCHORS.get(crop, ANCHORS["center"]),
            is_stretched=crop == STRETCH,
        )
        latents = vae.encode(fit.portrait(picture)[None])
        reading = read_reference(reference_net, latents, embedding_E=embedding)
        return io.NodeOutput(Reference(net=reference_net, vae=vae, reading=reading, fit=fit))

    @classmethod
    def _identity(
        cls, face_analysis: FaceAnalysis, picture_HW3: Tensor, net: ReferenceNetWire
    ) -> Tensor | None:
        """The embedding of the largest face, as it is; None where no face is found."""
        identity = net.config.reference_net.identity
        if identity is None:
            raise InputError(
                f"{cls.NAME}: face_analysis is connected, but checkpoints of family "
                f"{net.config.family} know no identity. Disconnect it."
            )
        pixels = (picture_HW3 * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        # Upstream hands over blue first, as OpenCV reads pictures.
        if isinstance(face_analysis, dict) or not callable(getattr(face_analysis, "get", None)):
            raise InputError(
                f"{cls.NAME}: face_analysis is {type(face_analysis).__name__}. Expected "
                "insightface's FaceAnalysis, as the loaders of InstantID and IPAdapter packs give "
                "it; connect such a loader."
            )
        cls._warn_of_other_recognisers(face_analysis)
        faces = face_analysis.get(np.ascontiguousarray(pixels[..., ::-1]))
        if not faces:
            logger.warning("%s: no face found by face_analysis; it counts as unknown.", cls.NAME)
            return None
        face = max(faces, key=lambda f: (f.bbox[2] - f.bbox[0]) * (f.bbox[3] - f.bbox[1]))
        if face.embedding is None:
            raise InputError(
                f"{cls.NAME}: face_analysis found a face but has no recogniser. Load insightface's "
                "antelopev2 whole."
            )
        embedding = torch.from_numpy(np.asarray(face.embedding, dtype=np.float32)).reshape(-1)
        if len(embedding) != identity.embedding_dim:
            raise InputError(
                f"{cls.NAME}: face_analysis gives {len(embedding)} numbers per face; this "
                f"checkpoint reads {identity.embedding_dim}. Load insightface's antelopev2."
            )
        return embedding

    @classmethod
    def _warn_of_other_recognisers(cls, face_analysis: FaceAnalysis) -> None:
        models = getattr(face_analysis, "models", {})
        file = str(getattr(models.get("recognition"), "model_file", ""))
        if file and RECOGNISER not in file:
            logger.warning(
                "%s: face_analysis recognises faces by %s. Hallo was trained on antelopev2's "
                "%s; the person may not be met.",
                cls.NAME,
                file,
                RECOGNISER,
            )

    @classmethod
    def _check(
        cls, reference_net: ReferenceNetWire, vae: VAE, image: Tensor, width: int, height: int
    ) -> None:
        if image.shape[0] != 1:
            raise InputError(
                f"{cls.NAME}: a batch of {image.shape[0]} images. Expected one portrait; pick one "
                "with 'Get Image from Batch'."
            )
        if min(image.shape[1:3]) < MIN_SIDE:
            raise InputError(
                f"{cls.NAME}: the portrait is {image.shape[2]}x{image.shape[1]} pixels. Expected "
                f"at least {MIN_SIDE}x{MIN_SIDE}; use a larger one."
            )
        if width % PIXELS_PER_LATENT or height % PIXELS_PER_LATENT or min(width, height) < 64:
            raise InputError(
                f"{cls.NAME}: {width}x{height} pixels. Both sides must be multiples of "
                f"{PIXELS_PER_LATENT} and at least 64; 0 takes the checkpoint's own size."
            )
        channels = reference_net.config.backbone.unet.latent_channels
        check_vae(vae, latent_channels=channels, node=cls.NAME)


class AudioEncode(io.ComfyNode):
    NAME = "EMO Audio Encode"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_AudioEncode",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="Listens to the voice. The film has exactly as many frames as the sound "
            "lasts.",
            search_aliases=["voice", "speech", "wav2vec", "lip sync"],
            inputs=[
                io.Model.Input("model", tooltip="From Load EMO Model."),
                io.Audio.Input("audio", tooltip="Speech or song, any language, any length."),
                AudioEncoderType.Input(
                    "audio_encoder",
                    optional=True,
                    tooltip="For checkpoints without an audio encoder of their own. The demo needs "
                    "none.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Frames per second of the film. 0 takes what the checkpoint was made "
                    "for: 25, EchoMimic 24, V-Express up to 30 so that whole windows fit.",
                ),
            ],
            outputs=[
                AudioType.Output("emo_audio", display_name="emo_audio"),
                io.Int.Output("num_frames", display_name="frames", tooltip="Of the whole film."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        audio: AudioDict,
        fps: float,
        audio_encoder: AudioEncoderWire | None = None,
    ) -> io.NodeOutput:
        config = config_of(model, node=cls.NAME)
        if 0.0 < fps < 1.0:
            raise InputError(
                f"{cls.NAME}: fps is {fps:g}. Expected 1 to 120, or 0 for the checkpoint's own."
            )
        waveform = waveform_of(audio, node=cls.NAME)
        check_waveform(waveform, name=f"{cls.NAME}: audio")
        wire = model.attachments.get(FRONT_END)
        if wire is None:
            wire = audio_encoder
        elif audio_encoder is not None:
            raise InputError(
                f"{cls.NAME}: this checkpoint brings its own audio encoder and understands no "
                f"other. Disconnect audio_encoder ({audio_encoder.name})."
            )
        if wire is None:
            raise InputError(
                f"{cls.NAME}: this checkpoint brings no audio encoder. Connect "
                f"'Load EMO Audio Encoder' with the {config.backbone.audio.encoder} model that its "
                "page names."
            )
        num_heard = waveform.samples.shape[-1] * SAMPLE_RATE_HZ // waveform.sample_rate_hz
        comfy.model_management.load_models_gpu(
            [wire.patcher],
            memory_required=min(num_heard, WHOLE_SAMPLES) * BYTES_PER_SAMPLE,
            force_full_load=True,
        )
        length = film_length(
            waveform.samples.shape[-1],
            sample_rate_hz=waveform.sample_rate_hz,
            sampling=config.sampling,
            audio=config.backbone.audio,
            fps=fps or None,
        )
        # What a long voice becomes would fill the memory as its sound does: it lies in a file.
        heard = config.backbone.audio
        file = TensorOnDisk(temp_folder(), row_shape=(heard.num_layers, heard.feature_dim))
        rows = encode_rows(
            wire.encoder,
            to_mono(waveform, sample_rate_hz=SAMPLE_RATE_HZ).to(wire.patcher.load_device),
            heard,
            fps=length.fps,
            num_frames=length.num_frames,
            clip_frames=config.sampling.clip_frames,
            on_stretch=comfy.model_management.throw_exception_if_processing_interrupted,
            into=file,
        )
        return io.NodeOutput(Audio(rows_RLD=rows, length=length, file=file), length.num_frames)
