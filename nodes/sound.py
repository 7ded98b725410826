"""ComfyUI's AUDIO <-> the core's Waveform."""

from __future__ import annotations

import torch
from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.errors import InputError

AudioDict = dict[str, Tensor | int]
"""{"waveform": (1, C, N) float32, "sample_rate": int}"""


def waveform_of(audio: AudioDict | None, *, node: str) -> Waveform:
    """Take the one sound of an AUDIO.

    Raises:
        InputError: names `node`; there is none, as ComfyUI hands on of a video without sound, or a
            batch of several.
    """
    if audio is None:
        raise InputError(
            f"{node}: the AUDIO is empty. Expected a sound; the video it comes from has no audio "
            "track, so connect Load Audio or another video."
        )
    samples = audio["waveform"]
    if samples.shape[0] != 1:
        raise InputError(
            f"{node}: the AUDIO is a batch of {samples.shape[0]} sounds. Expected one; connect "
            "them one at a time."
        )
    return Waveform(samples[0].float().cpu(), int(audio["sample_rate"]))


def audio_of(waveform: Waveform) -> AudioDict:
    """Hand a waveform to ComfyUI."""
    return {"waveform": waveform.samples[None], "sample_rate": waveform.sample_rate_hz}


def cut_or_padded(waveform: Waveform, *, duration_s: float) -> Waveform:
    """The sound cut, or followed by silence, to the nearest sample."""
    wanted = round(duration_s * waveform.sample_rate_hz)
    samples = waveform.samples[:, :wanted]
    if samples.shape[1] < wanted:
        missing = wanted - samples.shape[1]
        silence = samples.new_zeros(samples.shape[0], missing)
        samples = torch.cat([samples, silence], dim=1)
    return Waveform(samples, waveform.sample_rate_hz)
