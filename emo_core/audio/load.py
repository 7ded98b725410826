"""A published audio encoder from a file or a folder; which one it is says the file itself."""

from __future__ import annotations

from pathlib import Path

from ..files.read import read_tensors
from .encoder import Wav2Vec2Encoder
from .whisper import WhisperEncoder

WHISPER_KEY = "encoder.conv1.weight"
"""Whisper's first convolution, under every name that files give it."""


def load_audio_encoder(path: Path) -> Wav2Vec2Encoder | WhisperEncoder:
    """Load a wav2vec2 or Whisper model, in float32.

    Args:
        path: a file of weights, or a folder in Hugging Face's layout.

    Raises:
        InputError: neither of the two, damaged, or keys missing or left over.
    """
    weights = path / "model.safetensors" if path.is_dir() else path
    if path.is_dir() and not weights.is_file():
        return Wav2Vec2Encoder.from_folder(path)  # Its error says what a folder must hold.
    if any(key.endswith(WHISPER_KEY) for key in read_tensors(weights).tensors):
        return WhisperEncoder.load(path)
    return Wav2Vec2Encoder.from_folder(path) if path.is_dir() else Wav2Vec2Encoder.from_file(path)
