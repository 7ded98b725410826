"""Nodes that bring files into the graph."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..emo_core.assets import PORTRAIT, SONG, VOICE
from ..emo_core.audio.waveform import read_audio
from ..emo_core.video.images import read_image
from .loading import load_emo, load_encoder
from .paths import (
    AUDIO_ENCODERS,
    MODELS,
    checkpoint_files,
    checkpoint_state,
    file_state,
    model_files,
    model_path,
)
from .sound import audio_of
from .types import AudioEncoderType, ReferenceNetType

DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_LoadModel",
            display_name="Load EMO Model",
            category="EMO/loaders",
            description="Loads a checkpoint: the denoising model and its ReferenceNet.",
            search_aliases=["talking head", "portrait animation", "emote portrait alive"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=checkpoint_files(),
                    tooltip="File in models/emo: Hallo's net.pth, the denoising_unet of EchoMimic "
                    "or V-Express with its other files beside it, or a converted one. "
                    "emo_demo.safetensors comes with the pack: small, for drawn portraits.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(DTYPES),
                    default="default",
                    advanced=True,
                    tooltip="How weights are kept. Default lets ComfyUI choose for your card; fp8 "
                    "halves memory again and costs some quality.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="For EMO Guider, EMO Sampler, LoRA loaders and patches."),
                ReferenceNetType.Output(
                    "reference_net",
                    display_name="reference_net",
                    tooltip="For EMO Reference Encode.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **others: object) -> tuple:
        """Load again when a file of the checkpoint was replaced."""
        return checkpoint_state(model_path(MODELS, model_name))

    @classmethod
    def execute(cls, model_name: str, weight_dtype: str) -> io.NodeOutput:
        loaded = load_emo(model_path(MODELS, model_name), dtype=DTYPES[weight_dtype])
        return io.NodeOutput(loaded.model, loaded.reference_net)


class LoadAudioEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_LoadAudioEncoder",
            display_name="Load EMO Audio Encoder",
            category="EMO/loaders",
            description="Loads a wav2vec2 or Whisper model for checkpoints that bring no audio "
            "encoder of their own. The bundled demo needs none.",
            search_aliases=["wav2vec2", "whisper"],
            inputs=[
                io.Combo.Input(
                    "audio_encoder_name",
                    options=model_files(AUDIO_ENCODERS),
                    tooltip="File in models/audio_encoders: wav2vec2-base-960h for Hallo and "
                    "V-Express, whisper_tiny.pt for EchoMimic.",
                ),
            ],
            outputs=[
                AudioEncoderType.Output(
                    "audio_encoder",
                    display_name="audio_encoder",
                    tooltip="For EMO Audio Encode.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, audio_encoder_name: str) -> tuple:
        """Load again when the file was replaced."""
        return file_state(model_path(AUDIO_ENCODERS, audio_encoder_name))

    @classmethod
    def execute(cls, audio_encoder_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_encoder(model_path(AUDIO_ENCODERS, audio_encoder_name)))


class DemoInputs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_DemoInputs",
            display_name="EMO Demo Portrait, Voice, Song",
            category="EMO/loaders",
            description="A portrait, a voice and a song that come with the pack, to try a "
            "graph without any file. Put Load Image and Load Audio in its place for your own.",
            search_aliases=["example", "sample"],
            inputs=[],
            outputs=[
                io.Image.Output(
                    "portrait", display_name="portrait", tooltip="A drawn person, 512x512."
                ),
                io.Audio.Output(
                    "voice", display_name="voice", tooltip="5 seconds of synthetic speech."
                ),
                io.Audio.Output(
                    "song", display_name="song", tooltip="6 seconds of synthetic singing."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        voice, song = (audio_of(read_audio(path)) for path in (VOICE, SONG))
        return io.NodeOutput(read_image(PORTRAIT)[None], voice, song)
