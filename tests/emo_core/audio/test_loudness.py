"""Loudness of a voice on tones whose answer is known."""

import numpy as np
import pytest
import torch

from emo_core.audio.loudness import FRAMES_AT_ONCE, speech_loudness
from emo_core.audio.waveform import Waveform

RATE = 16000


def tone(frequency_hz: float, *, seconds: float = 2.0, rate: int = RATE) -> torch.Tensor:
    return (2 * torch.pi * frequency_hz * torch.arange(round(seconds * rate)) / rate).sin()[None]


def loudness(samples: torch.Tensor, *, num_frames: int = 50, rate: int = RATE) -> np.ndarray:
    return speech_loudness(Waveform(samples, rate), fps=25.0, num_frames=num_frames).numpy()


def test_follows_the_root_of_the_amplitude() -> None:
    swell = torch.linspace(0.0, 1.0, 2 * RATE)
    heard = loudness(tone(1500.0) * swell)
    middle = (np.arange(50) + 0.5) / 50
    inner = slice(5, -5)
    assert heard[inner] / heard[25] == pytest.approx(np.sqrt(middle / middle[25])[inner], rel=0.01)


def test_hears_the_band_only() -> None:
    inside = loudness(tone(1500.0)).mean()
    for frequency_hz in (200.0, 450.0, 4000.0):
        assert loudness(tone(frequency_hz)).mean() < 0.1 * inside


def test_a_sound_at_its_frame() -> None:
    click = torch.zeros(1, 2 * RATE)
    click[:, round(30.5 / 25 * RATE)] = 1.0
    assert loudness(click).argmax() == 30


def test_silence_follows_a_short_sound() -> None:
    assert (loudness(tone(1500.0, seconds=0.4))[14:] == 0.0).all()


def test_rates_channels_and_stretches_do_not_matter() -> None:
    num_frames = FRAMES_AT_ONCE + 40
    mono = loudness(tone(1500.0, seconds=12.0), num_frames=num_frames)
    assert mono[5:-5] == pytest.approx(mono[10], rel=1e-3)
    fine = tone(1500.0, seconds=12.0, rate=48000).expand(2, -1)
    assert loudness(fine, num_frames=num_frames, rate=48000) == pytest.approx(mono, rel=0.01)
