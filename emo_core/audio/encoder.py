"""Sound -> one feature per video frame, by a wav2vec2 model or a checkpoint's own front end.

Both encoders turn 16 kHz sound into steps of 20 ms. A long file is encoded in stretches that
overlap by a context, so the memory does not grow with its length.

Letters: N samples, T steps of 20 ms, F video frames, L layers, D feature width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from .front_end import SAMPLE_RATE_HZ, STEP_SAMPLES
from .windows import sample_at_frames

STRETCH_STEPS = 1500
"""Longest stretch encoded at once: 30 s."""
CONTEXT_STEPS = 100
"""Heard on each side of a stretch and then dropped: 2 s."""


class AudioEncoder(Protocol):
    """Anything that turns (B, N) samples into (B, T, L, D) features."""

    rate_hz: float
    first_center_s: float

    def __call__(self, waveform_BN: Tensor) -> Tensor: ...


class Wav2Vec2Encoder(nn.Module):
    """All transformer layers of a wav2vec2 model, as transformers computes them."""

    rate_hz = SAMPLE_RATE_HZ / STEP_SAMPLES
    first_center_s = 200.0 / SAMPLE_RATE_HZ
    """The receptive field of a step is 400 samples."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def from_folder(cls, folder: Path, *, num_layers: int, feature_dim: int) -> Wav2Vec2Encoder:
        """Load a folder in Hugging Face's layout (config.json and safetensors weights).

        Raises:
            InputError: nothing loadable there, or another number or width of layers.
        """
        # Imported here: transformers takes seconds, and checkpoints with a front end need none.
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}: no config.json, so this is not a wav2vec2 folder. Give the folder of "
                "a model such as wav2vec2-base-960h with config.json and model.safetensors."
            )
        config = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
        if (config.num_hidden_layers, config.hidden_size) != (num_layers, feature_dim):
            raise InputError(
                f"{folder}: {config.num_hidden_layers} layers of width {config.hidden_size}; the "
                f"checkpoint was made with {num_layers} layers of width {feature_dim}. Give the "
                "wav2vec2 model that the checkpoint's page names."
            )
        if not list(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder}: no safetensors weights. Pickled weights are not loaded: download "
                "model.safetensors of the same model, or convert pytorch_model.bin."
            )
        model = Wav2Vec2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        return cls(model.eval())

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, T, L, D); the embedding before the first layer is left out."""
        dtype = next(self.model.parameters()).dtype
        # A step needs 400 samples; padding by the rest gives one step per 320 samples.
        padded = nn.functional.pad(waveform_BN.to(dtype), (0, 80 - waveform_BN.shape[-1] % 320))
        output = self.model(padded, output_hidden_states=True)
        return torch.stack(output.hidden_states[1:], dim=2)


def normalized(waveform_N: Tensor) -> Tensor:
    """Return the sound with zero mean and unit variance over the file.

    As transformers' Wav2Vec2FeatureExtractor; sound without any variance becomes zeros.
    """
    centered = waveform_N.float() - waveform_N.float().mean()
    return centered / (centered.square().mean() + 1e-7).sqrt()


@torch.no_grad()
def encode_sound(
    encoder: AudioEncoder, waveform_N: Tensor, *, fps: float, num_frames: int
) -> Tensor:
    """Encode mono sound at 16 kHz for a film.

    Args:
        waveform_N: any length above 0, any loudness.

    Returns:
        float32 [num_frames, L, D]: features at the centre of each video frame.
    """
    waveform_N = normalized(waveform_N)
    num_steps = -(-waveform_N.shape[0] // STEP_SAMPLES)
    parts = []
    for first in range(0, num_steps, STRETCH_STEPS):
        last = min(first + STRETCH_STEPS, num_steps)
        heard_first = max(0, first - CONTEXT_STEPS)
        heard_last = min(num_steps, last + CONTEXT_STEPS)
        stretch = waveform_N[heard_first * STEP_SAMPLES : heard_last * STEP_SAMPLES]
        features = encoder(stretch[None])[0].float()
        parts.append(features[first - heard_first : last - heard_first])
    return sample_at_frames(
        torch.cat(parts),
        rate_hz=encoder.rate_hz,
        first_center_s=encoder.first_center_s,
        fps=fps,
        num_frames=num_frames,
    )
