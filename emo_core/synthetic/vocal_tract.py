"""The sound of a singing voice from formulas: source, filter and the noise of consonants.

Voiced sound is a sum of harmonics of the pitch, each weighted by a glottal spectrum and by the
response of five vocal-tract resonances (formants) at its frequency: the source-filter model of
G. Fant, "Acoustic Theory of Speech Production", 1960, in its cascade form. Pitch and formants
glide from control point to control point, so there are no clicks and the pitch is known exactly.
Hisses, bursts and breath are shaped noise.

Axes: T control points (every HOP samples), N samples, K formants, H harmonics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 22050
HOP = 64
HIGHEST_HARMONIC_HZ = 8000.0
HARMONIC_FADE_HZ = 500.0

VOWEL_FORMANTS_HZ = {
    "a": (760.0, 1250.0, 2550.0),
    "e": (470.0, 1900.0, 2550.0),
    "i": (300.0, 2250.0, 2950.0),
    "o": (480.0, 850.0, 2450.0),
    "u": (330.0, 750.0, 2300.0),
}
"""A man's first three formants; the upper two hardly move."""

HIGH_FORMANTS_HZ = (3400.0, 4400.0)
BANDWIDTHS_HZ = (70.0, 90.0, 130.0, 220.0, 300.0)
NASAL_BANDWIDTHS_HZ = (90.0, 250.0, 300.0, 400.0, 500.0)
VOWEL_LOUDNESS = {"a": 1.0, "e": 0.85, "i": 0.65, "o": 0.85, "u": 0.65}

LOUDNESS_GLIDE_S = 0.018
FORMANT_GLIDE_S = 0.030
BANDWIDTH_GLIDE_S = 0.015
BREATH_LEVEL = 0.3
BURST_ATTACK_SAMPLES = 20


@dataclass(frozen=True)
class Consonant:
    """How a consonant is made in song."""

    duration_s: float

    voicing: float
    """Loudness of the voice during the consonant, 0 (voiceless)..1."""

    formants_hz: tuple[float, float, float] | None = None
    """Where the tract goes meanwhile; None: it takes the vowel's shape."""

    noise_hz: tuple[float, float] | None = None
    """Centre and width of the hiss or burst."""

    noise_level: float = 0.0

    burst_s: float | None = None
    """Length of the noise at the end of the consonant; None: it lasts throughout."""

    is_nasal: bool = False


CONSONANTS = {
    "m": Consonant(0.080, 0.45, (260.0, 1000.0, 2200.0), is_nasal=True),
    "n": Consonant(0.070, 0.45, (270.0, 1500.0, 2400.0), is_nasal=True),
    "l": Consonant(0.070, 0.55, (350.0, 1100.0, 2700.0)),
    "r": Consonant(0.070, 0.50, (400.0, 1200.0, 1700.0)),
    "w": Consonant(0.070, 0.50, (300.0, 650.0, 2200.0)),
    "y": Consonant(0.070, 0.50, (280.0, 2250.0, 3000.0)),
    "b": Consonant(0.070, 0.10, (250.0, 900.0, 2200.0), (900.0, 900.0), 0.25, 0.012),
    "d": Consonant(0.065, 0.10, (260.0, 1700.0, 2600.0), (3800.0, 1500.0), 0.25, 0.015),
    "g": Consonant(0.070, 0.10, (260.0, 1900.0, 2300.0), (2000.0, 700.0), 0.25, 0.020),
    "p": Consonant(0.090, 0.00, (300.0, 900.0, 2200.0), (1000.0, 1000.0), 0.30, 0.012),
    "t": Consonant(0.090, 0.00, (300.0, 1700.0, 2600.0), (4500.0, 1800.0), 0.30, 0.030),
    "k": Consonant(0.090, 0.00, (300.0, 1900.0, 2300.0), (2100.0, 800.0), 0.30, 0.035),
    "f": Consonant(0.090, 0.00, (320.0, 1100.0, 2300.0), (5000.0, 3500.0), 0.10),
    "v": Consonant(0.070, 0.35, (300.0, 1100.0, 2300.0), (5000.0, 3500.0), 0.05),
    "s": Consonant(0.100, 0.00, (320.0, 1700.0, 2600.0), (7000.0, 1500.0), 0.25),
    "z": Consonant(0.080, 0.30, (300.0, 1700.0, 2600.0), (7000.0, 1500.0), 0.12),
    "sh": Consonant(0.100, 0.00, (320.0, 1800.0, 2400.0), (3200.0, 1100.0), 0.25),
    "h": Consonant(0.060, 0.00, None, (1500.0, 1500.0), 0.10),
}


@dataclass(frozen=True)
class VocalTract:
    """What makes one voice differ from another."""

    scale: float
    """Formants relative to a man's: 1 for a man, 1.17 for a woman, more for a child."""

    brightness_hz: float
    """Corner above which the glottal spectrum falls: high is loud and clear, low is soft."""

    breath: float
    """Share of breath noise, 0..0.1."""


@dataclass(frozen=True)
class Sound:
    """A vowel or consonant from `start_s` to `end_s`; `letter` is a key of the tables above."""

    letter: str
    start_s: float
    end_s: float

    neighbour_vowel: str
    """The vowel whose shape an `h` takes."""

    loudness: float
    """0..1."""


def control_times_s(num_samples: int) -> np.ndarray:
    """(T,) times of the control points that cover so many samples."""
    return np.arange(num_samples // HOP + 2) * HOP / SAMPLE_RATE_HZ


def render(
    rng: np.random.Generator,
    tract: VocalTract,
    *,
    sounds: Sequence[Sound],
    pitch_hz_T: np.ndarray,
    num_samples: int,
) -> np.ndarray:
    """(N,) the voice making these sounds at this pitch; vowels peak near 1, silence is 0.

    Args:
        pitch_hz_T: at `control_times_s(num_samples)`.
    """
    time_T = control_times_s(num_samples)
    loudness_T, formants_KT, bandwidths_KT = _movements(tract, sounds, time_T)
    num_harmonics = int(HIGHEST_HARMONIC_HZ / pitch_hz_T.min())
    frequency_HT = np.arange(1, num_harmonics + 1)[:, None] * pitch_hz_T
    weight_HT = np.clip((HIGHEST_HARMONIC_HZ - frequency_HT) / HARMONIC_FADE_HZ, 0, 1) / (
        1 + 1j * frequency_HT / tract.brightness_hz
    )
    for formant_T, bandwidth_T in zip(formants_KT, bandwidths_KT, strict=True):
        weight_HT = weight_HT * (
            formant_T**2 / (formant_T**2 - frequency_HT**2 + 1j * frequency_HT * bandwidth_T)
        )
    # Singers balance their vowels: loudness, not the resonances' chance gain, sets the power.
    power_T = np.sum(np.abs(weight_HT) ** 2, axis=0)
    weight_HT = weight_HT * loudness_T / np.sqrt(power_T)

    place_N = np.arange(num_samples) / HOP
    pitch_hz_N = np.interp(place_N, np.arange(len(time_T)), pitch_hz_T)
    rotation_N = np.exp(2j * np.pi * np.cumsum(pitch_hz_N) / SAMPLE_RATE_HZ)
    voice_N = np.zeros(num_samples)
    harmonic_N = np.ones(num_samples, dtype=complex)
    ramp = np.arange(HOP)[None] / HOP
    for weight_T in weight_HT:
        harmonic_N = harmonic_N * rotation_N
        weight_N = (weight_T[:-1, None] + np.diff(weight_T)[:, None] * ramp).reshape(-1)
        voice_N += (weight_N[:num_samples] * harmonic_N).real

    loudness_N = np.interp(place_N, np.arange(len(time_T)), loudness_T)
    hiss_N = np.diff(rng.standard_normal(num_samples + 1)) * (0.5 + 0.5 * rotation_N.real)
    voice_N += BREATH_LEVEL * tract.breath * loudness_N * hiss_N
    return 0.5 * voice_N + _consonant_noise(rng, sounds, num_samples=num_samples)


def _movements(
    tract: VocalTract, sounds: Sequence[Sound], time_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loudness (T,), formants (K, T) and bandwidths (K, T) in Hz, all moving smoothly."""
    loudness_T = np.zeros_like(time_T)
    formants_KT = np.empty((len(BANDWIDTHS_HZ), len(time_T)))
    formants_KT[:] = np.array((*VOWEL_FORMANTS_HZ["e"], *HIGH_FORMANTS_HZ))[:, None]
    bandwidths_KT = np.empty_like(formants_KT)
    bandwidths_KT[:] = np.array(BANDWIDTHS_HZ)[:, None]
    for sound in sounds:
        inside = slice(*np.searchsorted(time_T, (sound.start_s, sound.end_s)))
        if sound.letter in CONSONANTS:
            consonant = CONSONANTS[sound.letter]
            loudness_T[inside] = sound.loudness * consonant.voicing
            lower_hz = consonant.formants_hz or VOWEL_FORMANTS_HZ[sound.neighbour_vowel]
            if consonant.is_nasal:
                bandwidths_KT[:, inside] = np.array(NASAL_BANDWIDTHS_HZ)[:, None]
        else:
            place_T = (time_T[inside] - sound.start_s) / (sound.end_s - sound.start_s)
            swell_T = 0.75 + 0.25 * np.sin(np.pi * place_T)
            loudness_T[inside] = sound.loudness * VOWEL_LOUDNESS[sound.letter] * swell_T
            lower_hz = VOWEL_FORMANTS_HZ[sound.letter]
        formants_KT[:, inside] = np.array((*lower_hz, *HIGH_FORMANTS_HZ))[:, None]
    formants_KT = np.stack([glide(row_T, FORMANT_GLIDE_S) for row_T in formants_KT]) * tract.scale
    bandwidths_KT = np.stack([glide(row_T, BANDWIDTH_GLIDE_S) for row_T in bandwidths_KT])
    return glide(loudness_T, LOUDNESS_GLIDE_S), formants_KT, bandwidths_KT


def glide(values_T: np.ndarray, reach_s: float) -> np.ndarray:
    """(T,) steps turned into glides: a moving average reaching so far to either side."""
    window = np.hanning(2 * int(reach_s * SAMPLE_RATE_HZ / HOP) + 3)
    padded_T = np.pad(values_T, len(window) // 2, mode="edge")
    return np.convolve(padded_T, window / window.sum(), "valid")


def _consonant_noise(
    rng: np.random.Generator, sounds: Sequence[Sound], *, num_samples: int
) -> np.ndarray:
    """(N,) hisses and bursts."""
    noise_N = np.zeros(num_samples)
    for sound in sounds:
        consonant = CONSONANTS.get(sound.letter)
        if consonant is None or consonant.noise_hz is None:
            continue
        start_s = sound.start_s
        if consonant.burst_s is not None:
            start_s = max(start_s, sound.end_s - consonant.burst_s)
        start = round(start_s * SAMPLE_RATE_HZ)
        length = min(round(sound.end_s * SAMPLE_RATE_HZ), num_samples) - start
        if length < 2 * BURST_ATTACK_SAMPLES:
            continue
        frequency_hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
        centre_hz, width_hz = consonant.noise_hz
        spectrum = np.fft.rfft(rng.standard_normal(length))
        spectrum *= np.exp(-0.5 * ((frequency_hz - centre_hz) / width_hz) ** 2)
        hiss = np.fft.irfft(spectrum, n=length)
        hiss /= np.sqrt(np.mean(hiss**2))
        place = np.arange(length)
        if consonant.burst_s is None:
            envelope = np.sqrt(np.sin(np.pi * (place + 0.5) / length))
        else:
            envelope = np.exp(-3 * place / length) * np.minimum(1, place / BURST_ATTACK_SAMPLES)
        noise_N[start : start + length] += sound.loudness * consonant.noise_level * hiss * envelope
    return noise_N
