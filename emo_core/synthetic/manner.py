"""How a voice is used: whispered, or shouted.

Both change a finished voice and nothing in its times. A whisper keeps the moving resonances of
the mouth and has breath in place of the vocal folds; a shout has stronger overtones, an even level
and a wider mouth.

All signals are (N,) float arrays at one sample rate.
"""

from typing import Literal

import numpy as np
from scipy import signal

Manner = Literal["plain", "whispered", "shouted"]
MANNERS: tuple[Manner, ...] = ("plain", "whispered", "shouted")

MOUTH_REACH: dict[Manner, float] = {"plain": 1.0, "whispered": 0.9, "shouted": 1.3}
"""How far the mouth opens, over what is usual."""

WINDOW_S = 0.025
ENVELOPE_S = 0.0014
"""Cepstral times below this are the mouth, those above it the vocal folds."""
LEAST = 1e-4
"""Of the peak's magnitude: the floor under a logarithm."""
BREATH_TILT_DB = 3.0
"""Per octave below 1 kHz, which a whisper lacks."""
SHOUT_TILT_DB = 4.0
"""Per octave above 500 Hz, up to 4 kHz."""
SHOUT_DRIVE = 3.0


def in_manner(
    manner: Manner, samples: np.ndarray, rng: np.random.Generator, *, sample_rate_hz: int
) -> np.ndarray:
    """Return the voice as it is used in a manner, float32, as long and about as loud."""
    if manner == "plain" or not np.any(samples):
        return samples
    if manner == "whispered":
        changed = _whispered(samples, rng, sample_rate_hz=sample_rate_hz)
    else:
        changed = _shouted(samples, sample_rate_hz=sample_rate_hz)
    changed *= np.abs(samples).max() / max(np.abs(changed).max(), 1e-9)
    return changed.astype(np.float32)


def _whispered(samples: np.ndarray, rng: np.random.Generator, *, sample_rate_hz: int) -> np.ndarray:
    size = 2 * round(WINDOW_S * sample_rate_hz / 2)
    frame = {"fs": sample_rate_hz, "nperseg": size}
    frequency_hz, _, voice = signal.stft(samples, **frame)
    _, _, breath = signal.stft(rng.standard_normal(len(samples)), **frame)
    magnitude = np.abs(voice)
    log = np.log(np.maximum(magnitude, LEAST * magnitude.max()))
    cepstrum = np.fft.irfft(log, axis=0)
    keep = round(ENVELOPE_S * sample_rate_hz)
    cepstrum[keep : len(cepstrum) - keep + 1] = 0.0
    envelope = np.exp(np.fft.rfft(cepstrum, axis=0).real)
    # The floor of the logarithm is no breath: what was silent stays so.
    envelope *= magnitude.max(axis=0) > 10 * LEAST * magnitude.max()
    octaves = np.log2(np.maximum(frequency_hz, 60.0) / 1000.0)
    envelope *= 10 ** (BREATH_TILT_DB * np.minimum(octaves, 0.0) / 20)[:, None]
    _, whisper = signal.istft(breath * envelope, **frame)
    return np.pad(whisper, (0, max(0, len(samples) - len(whisper))))[: len(samples)]


def _shouted(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / sample_rate_hz)
    octaves = np.clip(np.log2(np.maximum(frequency_hz, 1.0) / 500.0), 0.0, 3.0)
    strong = np.fft.irfft(
        np.fft.rfft(samples) * 10 ** (SHOUT_TILT_DB * octaves / 20), n=len(samples)
    )
    return np.tanh(SHOUT_DRIVE * strong / max(np.abs(strong).max(), 1e-9))
