"""The node that prepares the voice before it is encoded."""

from __future__ import annotations

from comfy_api.latest import io

from ..emo_core.audio.gate import (
    MIN_THRESHOLD_DB,
    USUAL_ATTACK_MS,
    USUAL_RELEASE_MS,
    USUAL_THRESHOLD_DB,
    gate,
)
from .sound import AudioDict, audio_of, waveform_of


class VoiceGate(io.ComfyNode):
    NAME = "EMO Voice Gate"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_VoiceGate",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="Makes nearly silent stretches of the voice silent for what drives the "
            "face. For EMO Audio Encode; the film keeps the sound that the stitcher gets.",
            search_aliases=["noise gate", "silence", "denoise voice"],
            inputs=[
                io.Audio.Input("audio", tooltip="The voice, without music where possible."),
                io.Float.Input(
                    "threshold_db",
                    default=USUAL_THRESHOLD_DB,
                    min=MIN_THRESHOLD_DB,
                    max=0.0,
                    step=1.0,
                    tooltip="What is quieter becomes silent, in dB below full scale. Start with "
                    "-45; raise it until breath and noise are gone.",
                ),
                io.Float.Input(
                    "attack_ms",
                    default=USUAL_ATTACK_MS,
                    min=1.0,
                    max=1000.0,
                    step=1.0,
                    advanced=True,
                    tooltip="How slowly the measured level rises, in milliseconds. Short keeps the "
                    "first consonant.",
                ),
                io.Float.Input(
                    "release_ms",
                    default=USUAL_RELEASE_MS,
                    min=1.0,
                    max=5000.0,
                    step=1.0,
                    advanced=True,
                    tooltip="How slowly the measured level falls, in milliseconds. Longer leaves "
                    "short pauses between words as they are.",
                ),
            ],
            outputs=[io.Audio.Output(tooltip="For EMO Audio Encode; listen with Preview Audio.")],
        )

    @classmethod
    def execute(
        cls, audio: AudioDict, threshold_db: float, attack_ms: float, release_ms: float
    ) -> io.NodeOutput:
        gated = gate(
            waveform_of(audio, node=cls.NAME),
            threshold_db=threshold_db,
            attack_ms=attack_ms,
            release_ms=release_ms,
        )
        return io.NodeOutput(audio_of(gated))
