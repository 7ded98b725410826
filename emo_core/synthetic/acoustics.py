"""What surrounds a voice in a recording: background sounds, the room, the microphone.

All signals are (N,) float arrays at one sample rate. Nothing here delays the voice: the direct
sound keeps its place in time, so that phoneme times stay true.
"""

from collections.abc import Sequence

import numpy as np
from scipy import signal

MIDDLE_C_HZ = 261.63
BACKGROUNDS = ("noise", "hum", "room", "music")


def random_background(
    rng: np.random.Generator,
    *,
    num_samples: int,
    sample_rate_hz: int,
    kinds: Sequence[str] = BACKGROUNDS,
) -> np.ndarray:
    """Noise, mains hum, a humming room or a quiet bed of music, with a mean power of 1.

    Args:
        kinds: those of BACKGROUNDS that may come up.
    """
    kind = rng.choice(list(kinds))
    if kind == "noise":
        background = _coloured_noise(rng, num_samples=num_samples, slope=rng.uniform(0.0, 2.0))
    elif kind == "hum":
        background = _mains_hum(rng, num_samples=num_samples, sample_rate_hz=sample_rate_hz)
    elif kind == "room":
        background = _room_noise(rng, num_samples=num_samples, sample_rate_hz=sample_rate_hz)
    else:
        background = _music_bed(rng, num_samples=num_samples, sample_rate_hz=sample_rate_hz)
    return background / np.sqrt(np.mean(background**2) + 1e-12)


def random_room(
    rng: np.random.Generator, samples: np.ndarray, *, sample_rate_hz: int
) -> np.ndarray:
    """The sound with the early reflections and the fading tail of a room, same length."""
    decay_s = rng.uniform(0.08, 0.4)
    wetness = rng.uniform(0.02, 0.25)
    length = int(decay_s * sample_rate_hz)
    time_s = np.arange(length) / sample_rate_hz
    response = rng.standard_normal(length) * np.exp(-6.9 * time_s / decay_s)
    response[: int(0.006 * sample_rate_hz)] = 0.0
    response *= wetness / (np.sqrt(np.sum(response**2)) + 1e-12)
    response[0] = 1.0
    return signal.fftconvolve(samples, response)[: len(samples)]


def random_equalizer(
    rng: np.random.Generator, samples: np.ndarray, *, sample_rate_hz: int
) -> np.ndarray:
    """A gentle tilt of the spectrum and one broad boost or cut, as microphones differ."""
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / sample_rate_hz)
    octaves = np.log2(np.maximum(frequency_hz, 50.0) / 1000.0)
    gain_db = rng.uniform(-1.5, 1.5) * octaves
    centre = rng.uniform(-2.5, 2.5)
    gain_db += rng.uniform(-5, 5) * np.exp(-0.5 * ((octaves - centre) / 0.8) ** 2)
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (gain_db / 20), n=len(samples))


def _coloured_noise(rng: np.random.Generator, *, num_samples: int, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency to the power of the slope: 0 white, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    position = np.arange(len(spectrum)) / len(spectrum)
    return np.fft.irfft(spectrum / np.maximum(position, 0.004) ** (slope / 2), n=num_samples)


def _mains_hum(rng: np.random.Generator, *, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    time_s = np.arange(num_samples) / sample_rate_hz
    mains_hz = rng.choice([50.0, 60.0])
    hum = 0.1 * rng.standard_normal(num_samples)
    for harmonic in range(1, 9):
        phase = 2 * np.pi * (harmonic * mains_hz * time_s + rng.random())
        hum += rng.random() / harmonic * np.sin(phase)
    return hum


def _room_noise(rng: np.random.Generator, *, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """A fan in a room: dark noise with a few resonances, slowly rising and falling."""
    noise = _coloured_noise(rng, num_samples=num_samples, slope=1.5)
    for _ in range(3):
        resonance = signal.iirpeak(rng.uniform(90, 1200), rng.uniform(2, 12), fs=sample_rate_hz)
        noise += rng.uniform(0.3, 1.5) * signal.lfilter(*resonance, noise)
    time_s = np.arange(num_samples) / sample_rate_hz
    return noise * (1 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * time_s + rng.random())))


def _music_bed(rng: np.random.Generator, *, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Plucked and held chords with a soft beat: music without a voice."""
    music = np.zeros(num_samples)
    beat_s = rng.uniform(0.3, 0.7)
    is_plucked = rng.random() < 0.6
    root = rng.integers(-12, 1)
    num_beats = int(np.ceil(num_samples / sample_rate_hz / beat_s))
    chord = np.array([0, 4, 7])
    for beat in range(num_beats):
        start = int(beat * beat_s * sample_rate_hz)
        if beat % 4 == 0:
            chord = root + rng.choice([0, 5, 7, 9]) + np.array([0, rng.choice([3, 4]), 7])
        semitones = chord if beat % 4 == 0 or not is_plucked else rng.choice(chord, 1) + 12
        length = min(num_samples - start, int(2.5 * beat_s * sample_rate_hz))
        time_s = np.arange(length) / sample_rate_hz
        attack = np.minimum(1.0, time_s / (0.004 if is_plucked else 0.08))
        envelope = attack * np.exp(-time_s / (0.25 if is_plucked else 0.8))
        envelope *= np.clip((length - np.arange(length)) / (0.05 * sample_rate_hz), 0, 1)
        for semitone in semitones:
            pitch_hz = MIDDLE_C_HZ * 2 ** (semitone / 12)
            for harmonic in range(1, 5):
                tone = np.sin(2 * np.pi * harmonic * pitch_hz * time_s)
                music[start : start + length] += envelope * tone / harmonic**1.6
        beat_length = min(length, int(0.05 * sample_rate_hz))
        beat_noise = rng.standard_normal(beat_length) * np.exp(-np.arange(beat_length) / 200)
        music[start : start + beat_length] += 0.2 * beat_noise
    return music
