"""Sound -> one feature per video frame, by a wav2vec2 model or a checkpoint's own front end.

Both encoders turn 16 kHz sound into steps of 20 ms. A long file is encoded in stretches that
overlap by a context, so the memory does not grow with its length.

Letters: B sounds, N samples, T steps of 20 ms, R rows asked for, F video frames, L layers,
D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..files.read import read_tensors
from .front_end import SAMPLE_RATE_HZ, STEP_SAMPLES
from .wav2vec2 import build, interpolated, load_folder
from .waveform import STRETCH_SAMPLES
from .windows import frame_positions, sample_at

STRETCH_STEPS = 1500
"""Longest stretch encoded at once: 30 s."""
CONTEXT_STEPS = 100
"""Heard on each side of a stretch and then dropped: 2 s."""


@runtime_checkable
class AudioEncoder(Protocol):
    """Anything that turns (B, N) samples into (B, T, L, D) features."""

    rate_hz: float
    first_center_s: float

    def __call__(self, waveform_BN: Tensor) -> Tensor: ...


@runtime_checkable
class Wav2Vec2(Protocol):
    """A wav2vec2 model that lets its convolutions' features be resampled on their way."""

    def hidden_states(self, waveform_BN: Tensor, position_R: Tensor | None = None) -> Tensor:
        """Return all layers' outputs, (B, R, L, D), without the embedding before the first.

        Args:
            waveform_BN: N at least 400; step t hears samples 320 t to 320 t + 400, and there is
                no padding at the end.
            position_R: where between the steps the convolutions' features are taken (see
                `wav2vec2.interpolated`) before projection and transformer; None takes each step.
        """
        ...


class Wav2Vec2Encoder(nn.Module):
    """All transformer layers of a wav2vec2 model, as transformers computes them.

    Where norms stand before the layers (large models), the last layer's output is taken after the
    final norm, as in transformers below 5 and in ComfyUI.
    """

    rate_hz = SAMPLE_RATE_HZ / STEP_SAMPLES
    first_center_s = 200.0 / SAMPLE_RATE_HZ
    """The receptive field of a step is 400 samples."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def from_folder(cls, folder: Path) -> Wav2Vec2Encoder:
        """Load a folder in Hugging Face's layout (config.json and safetensors weights).

        Raises:
            InputError: nothing loadable there.
        """
        return cls(load_folder(folder))

    @classmethod
    def from_file(cls, path: Path) -> Wav2Vec2Encoder:
        """Load one file of weights in Hugging Face's naming.

        Raises:
            InputError: not a wav2vec2 model, or keys missing or left over.
        """
        return cls(build(read_tensors(path).tensors, name=str(path)))

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, T, L, D) with T = ceil(N / 320)."""
        # A step needs 400 samples; padding by the rest gives one step per 320 samples.
        return self.hidden_states(
            nn.functional.pad(waveform_BN, (0, 80 - waveform_BN.shape[-1] % 320))
        )

    def hidden_states(self, waveform_BN: Tensor, position_R: Tensor | None = None) -> Tensor:
        """See `Wav2Vec2`."""
        model, encoder = self.model, self.model.encoder
        waveform_BN = waveform_BN.to(next(model.parameters()).dtype)
        features_BTC = model.feature_extractor(waveform_BN).transpose(1, 2)
        if position_R is not None:
            features_BTC = interpolated(features_BTC, position_R)
        hidden = model.feature_projection(features_BTC)[0]
        hidden = hidden + encoder.pos_conv_embed(hidden)
        is_norm_first = model.config.do_stable_layer_norm
        if not is_norm_first:
            hidden = encoder.layer_norm(hidden)
        outputs = []
        for layer in encoder.layers:
            hidden = layer(hidden)
            # transformers below 5 returns a tuple.
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            outputs.append(hidden)
        if is_norm_first:
            outputs[-1] = encoder.layer_norm(hidden)
        return torch.stack(outputs, dim=2)


class NormalizedSound:
    """A mono sound with zero mean and unit variance, normalised where it is read.

    As transformers' Wav2Vec2FeatureExtractor; sound without any variance becomes zeros.
    """

    def __init__(
        self,
        waveform_N: Tensor,
        *,
        is_causal: bool = False,
        on_stretch: Callable[[], None] | None = None,
    ) -> None:
        """Measure a sound.

        Args:
            waveform_N: any length above 0, any loudness.
            is_causal: a part is normalised by all that lies before its end, and not by what comes
                later; parts are then read in their order.
            on_stretch: called between the pieces of a long sound; may raise to stop.
        """
        self.waveform_N = waveform_N
        self.on_stretch = on_stretch
        self._num_measured = 0
        self._mean = self._squares = 0.0
        """Of what is measured: the mean, and the sum of squared distances from it."""
        if not is_causal:
            self._measure(len(self))

    def __len__(self) -> int:
        return self.waveform_N.shape[0]

    def part(self, first: int, last: int) -> Tensor:
        """Samples first to last; behind the end of the sound, zeros."""
        self._measure(last)
        deviation = (self._squares / self._num_measured + 1e-7) ** 0.5
        part_N = (self.waveform_N[first:last].float() - self._mean) / deviation
        return nn.functional.pad(part_N, (0, last - first - part_N.shape[0]))

    def _measure(self, last: int) -> None:
        """Go on to a sample, with no more than a stretch of them in memory.

        Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
        sample variances" (1979).
        """
        for piece_N in self.waveform_N[self._num_measured : last].split(STRETCH_SAMPLES):
            if not len(piece_N):
                return
            if self._num_measured and self.on_stretch is not None:
                self.on_stretch()
            piece_N = piece_N.double()
            mean = float(piece_N.mean())
            total = self._num_measured + len(piece_N)
            apart = mean - self._mean
            self._squares += float((piece_N - mean).square().sum())
            self._squares += apart * apart * self._num_measured * len(piece_N) / total
            self._mean += apart * len(piece_N) / total
            self._num_measured = total


def normalized(waveform_N: Tensor) -> Tensor:
    """Return the whole of a `NormalizedSound`."""
    return NormalizedSound(waveform_N).part(0, waveform_N.shape[0])


@torch.no_grad()
def encode_sound(
    encoder: AudioEncoder,
    waveform_N: Tensor,
    *,
    fps: float,
    num_frames: int,
    on_stretch: Callable[[], None] | None = None,
) -> Iterator[Tensor]:
    """Encode mono sound at 16 kHz for a film, a stretch at a time.

    A stretch is normalised by all sound up to its end, so that a change of a later one leaves it,
    and the film's clips there, as they were.

    Args:
        waveform_N: any length above 0, any loudness.
        on_stretch: called before each stretch of a long sound; may raise to stop.

    Yields:
        float32 [frames, L, D], num_frames in all: features at the centre of each video frame.
    """
    sound = NormalizedSound(waveform_N, is_causal=True, on_stretch=on_stretch)
    num_steps = -(-len(sound) // STEP_SAMPLES)
    position_F = frame_positions(
        num_frames,
        num_steps=num_steps,
        rate_hz=encoder.rate_hz,
        first_center_s=encoder.first_center_s,
        fps=fps,
    )
    last_step = None
    num_done = 0
    for first in range(0, num_steps, STRETCH_STEPS):
        if on_stretch is not None:
            on_stretch()
        last = min(first + STRETCH_STEPS, num_steps)
        heard_first = max(0, first - CONTEXT_STEPS)
        heard_last = min(num_steps, last + CONTEXT_STEPS)
        stretch = sound.part(heard_first * STEP_SAMPLES, min(heard_last * STEP_SAMPLES, len(sound)))
        features = encoder(stretch[None])[0].float()
        features = features[first - heard_first : last - heard_first]
        if last_step is not None:  # Some frames lie between it and this stretch's first.
            first, features = first - 1, torch.cat([last_step, features])
        num_ready = int((position_F <= last - 1).sum())
        yield sample_at(features, position_F[num_done:num_ready] - first)
        num_done, last_step = num_ready, features[-1:].clone()
