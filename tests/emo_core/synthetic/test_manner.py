"""Whispered and shouted voices."""

import numpy as np
import pytest
from scipy import signal

from emo_core.errors import InputError
from emo_core.synthetic.manner import MANNERS, in_manner
from emo_core.synthetic.voices import articulation, random_utterance

RATE_HZ = 16000


def vowel() -> np.ndarray:
    """A buzz of 150 Hz through resonances at 700 and 1200 Hz, between two silences."""
    buzz = np.zeros(RATE_HZ)
    buzz[:: round(RATE_HZ / 150)] = 1.0
    for resonance_hz in (700.0, 1200.0):
        buzz = signal.lfilter(*signal.iirpeak(resonance_hz, 6, fs=RATE_HZ), buzz)
    buzz *= 0.5 / np.abs(buzz).max()
    silence = np.zeros(RATE_HZ // 2)
    return np.concatenate([silence, buzz, silence]).astype(np.float32)


def used(manner: str) -> np.ndarray:
    return in_manner(manner, vowel(), np.random.default_rng(0), sample_rate_hz=RATE_HZ)


def periodicity(samples: np.ndarray) -> float:
    """Correlation of the sound with itself one period later."""
    middle, lag = samples[10000:22000].astype(float), round(RATE_HZ / 150)
    return float(np.corrcoef(middle[:-lag], middle[lag:])[0, 1])


def test_a_plain_voice_is_left_alone() -> None:
    np.testing.assert_array_equal(used("plain"), vowel())


@pytest.mark.parametrize("manner", MANNERS)
def test_length_level_and_silences_are_kept(manner: str) -> None:
    samples = used(manner)
    assert samples.shape == vowel().shape and samples.dtype == np.float32
    assert np.abs(samples).max() == pytest.approx(0.5, rel=1e-3)
    edge = round(0.03 * RATE_HZ)
    assert np.abs(samples[: RATE_HZ // 2 - edge]).max() < 1e-5
    assert np.abs(samples[-RATE_HZ // 2 + edge :]).max() < 0.02


def test_a_whisper_has_no_pitch_and_keeps_the_resonances() -> None:
    assert periodicity(vowel()) > 0.9
    assert abs(periodicity(used("whispered"))) < 0.35
    frequency_hz, power = signal.welch(used("whispered")[9000:23000], RATE_HZ, nperseg=512)

    def level(low_hz: float, high_hz: float) -> float:
        return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].mean())

    assert min(level(600, 850), level(1050, 1350)) > 5 * level(2500, 4000)


def test_a_shout_is_brighter_and_more_even() -> None:
    def overtones(samples: np.ndarray) -> float:
        frequency_hz, power = signal.welch(samples, RATE_HZ, nperseg=512)
        return float(power[frequency_hz > 1000].sum() / power.sum())

    def crest(samples: np.ndarray) -> float:
        loud = samples[np.abs(samples) > 0.01]
        return float(np.abs(loud).max() / np.sqrt(np.mean(loud**2)))

    assert overtones(used("shouted")) > 1.2 * overtones(vowel())
    assert crest(used("shouted")) < crest(vowel())


def test_manners_change_the_voice_and_the_mouths_reach_and_not_the_times() -> None:
    voices = {m: random_utterance("train", 2, seconds=3.0, manner=m) for m in MANNERS}
    mouths = {m: articulation(voice, fps=25.0, num_frames=75)[:, 0] for m, voice in voices.items()}
    assert len({voice.phonemes for voice in voices.values()}) == 1
    assert len({voice.text for voice in voices.values()}) == 1
    assert not np.allclose(voices["plain"].samples, voices["whispered"].samples)
    assert mouths["whispered"].mean() < mouths["plain"].mean() < mouths["shouted"].mean()
    assert mouths["shouted"].max() <= 1.0
    is_open = mouths["plain"] > 0.02
    np.testing.assert_array_equal(mouths["shouted"] > 0.02 * 1.3, is_open)


def test_an_unknown_manner_is_refused() -> None:
    with pytest.raises(InputError, match="sung"):
        random_utterance("train", 2, seconds=1.0, manner="sung")
