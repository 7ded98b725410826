"""The noise gate on sounds whose level is known."""

import math

import pytest
import torch

from emo_core.audio.gate import gate
from emo_core.audio.waveform import Waveform
from emo_core.errors import InputError

RATE = 16000


def words(*, channels: int = 1, noise_db: float = -60.0, seconds: float = 4.0) -> Waveform:
    """A tone in every other second, over steady noise."""
    time = torch.arange(round(seconds * RATE)) / RATE
    is_word = (time.floor() % 2 == 0).float()
    tone = 0.4 * torch.sin(2 * math.pi * 300 * time) * is_word
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return Waveform((tone + 10 ** (noise_db / 20) * noise).expand(channels, -1).clone(), RATE)


def level_db(waveform: Waveform, start_s: float, end_s: float) -> float:
    part = waveform.samples[:, round(start_s * RATE) : round(end_s * RATE)]
    return 10 * math.log10(part.square().mean().item() + 1e-20)


def test_words_stay_and_pauses_are_silent() -> None:
    sound = words()
    gated = gate(sound)
    assert gated.samples.shape == sound.samples.shape
    assert gated.sample_rate_hz == RATE
    for start in (0.05, 2.05):
        torch.testing.assert_close(
            gated.samples[:, round(start * RATE) : round((start + 0.9) * RATE)],
            sound.samples[:, round(start * RATE) : round((start + 0.9) * RATE)],
            rtol=0,
            atol=1e-6,
        )
    assert level_db(sound, 1.7, 2.0) == pytest.approx(-60, abs=1)
    assert level_db(gated, 1.7, 2.0) < -150


def test_noise_above_the_threshold_stays() -> None:
    sound = words(noise_db=-40.0)
    assert level_db(gate(sound, threshold_db=-50), 1.5, 2.0) == pytest.approx(-40, abs=1)
    assert level_db(gate(sound, threshold_db=-30), 1.7, 2.0) < -150


def test_release_is_how_long_the_gate_stays_open() -> None:
    quick, slow = (gate(words(), release_ms=release) for release in (50.0, 600.0))
    assert level_db(quick, 1.2, 1.3) < -100
    assert level_db(slow, 1.2, 1.3) > -70


def test_attack_is_how_slowly_it_opens() -> None:
    """The tone's level is -11 dB: the closer the threshold, the longer the level takes to it."""
    quick, slow = (gate(words(), threshold_db=-14, attack_ms=attack) for attack in (5.0, 500.0))
    assert level_db(quick, 2.02, 2.1) == pytest.approx(-11, abs=0.5)
    assert level_db(slow, 2.02, 2.1) < -60
    assert level_db(slow, 2.7, 2.9) == pytest.approx(-11, abs=0.5)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_all_channels_open_together(channels: int) -> None:
    sound = words(channels=channels)
    sound.samples[1:] *= 0.001
    gated = gate(sound)
    word = slice(RATE // 20, RATE * 9 // 10)
    torch.testing.assert_close(gated.samples[:, word], sound.samples[:, word], rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_samples", [1, 7, 65536, 65537])
def test_no_sample_is_lost(num_samples: int) -> None:
    sound = Waveform(torch.full((1, num_samples), 0.5), RATE)
    assert gate(sound).samples.shape == (1, num_samples)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold_db": 3.0}, "threshold of 3.0 dB"),
        ({"threshold_db": math.nan}, "threshold of nan dB"),
        ({"attack_ms": 0.0}, "attack of 0.0 ms"),
        ({"release_ms": 1e5}, "release of 100000.0 ms"),
    ],
)
def test_bad_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gate(words(), **settings)
    with pytest.raises(InputError, match="no samples"):
        gate(Waveform(torch.zeros(1, 0), RATE))
