"""Song: the notes that were written are the notes that are heard."""

import numpy as np
import pytest
from scipy import signal

from emo_core.synthetic.singing import random_singer, sing
from emo_core.synthetic.vocal_tract import (
    SAMPLE_RATE_HZ,
    Sound,
    VocalTract,
    control_times_s,
    render,
)


def pitch_hz(samples: np.ndarray) -> float:
    """The pitch of a steady tone, from the first high peak of its autocorrelation."""
    window = np.hanning(len(samples))
    correlation, of_window = (
        np.fft.irfft(np.abs(np.fft.rfft(signal_N, n=4 * len(samples))) ** 2)[: len(samples) // 2]
        for signal_N in (samples * window, window)
    )
    correlation /= of_window
    shortest = int(SAMPLE_RATE_HZ / 900)
    peaks, _ = signal.find_peaks(correlation[shortest:], height=0.9 * correlation[shortest:].max())
    lag = peaks[0] + shortest
    left, centre, right = correlation[lag - 1 : lag + 2]
    return SAMPLE_RATE_HZ / (lag + 0.5 * (left - right) / (left - 2 * centre + right))


@pytest.mark.parametrize("seed", range(6))
def test_heard_pitch_is_the_written_note(seed):
    rng = np.random.default_rng(seed)
    song = sing(rng, random_singer(rng), split="train", seconds=6.0)
    deviations = []
    for note in song.notes:
        vowels = [
            phoneme
            for phoneme in song.phonemes
            if phoneme.name[-1] in "aeiou\u02d0"
            and note.start_s <= phoneme.start_s < phoneme.end_s <= note.end_s + 1e-6
        ]
        for vowel in vowels:
            start_s, end_s = vowel.start_s + 0.04, min(vowel.end_s - 0.03, vowel.start_s + 0.25)
            if end_s - start_s > 0.06:
                heard = song.samples[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]
                deviations.append(abs(12 * np.log2(pitch_hz(heard) / note.frequency_hz)))
    assert len(deviations) >= 2
    # Drift is 0.05 semitones (1 sigma) and a glide reaches into the note.
    assert np.median(deviations) < 0.15 and max(deviations) < 0.6


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.33])
def test_song_has_the_wanted_length_and_ends_in_silence(seconds):
    rng = np.random.default_rng(3)
    song = sing(rng, random_singer(rng), split="test", seconds=seconds)
    assert len(song.samples) == round(seconds * SAMPLE_RATE_HZ)
    assert np.isfinite(song.samples).all() and np.abs(song.samples).max() <= 0.9 + 1e-6
    assert all(note.end_s < seconds for note in song.notes)


def test_song_is_loud_where_it_has_sounds_and_silent_elsewhere():
    rng = np.random.default_rng(11)
    song = sing(rng, random_singer(rng), split="train", seconds=8.0)
    time_s = np.arange(len(song.samples)) / SAMPLE_RATE_HZ
    is_singing = np.zeros(len(time_s), bool)
    for phoneme in song.phonemes:
        is_singing |= (time_s > phoneme.start_s - 0.03) & (time_s < phoneme.end_s + 0.03)
    assert np.abs(song.samples[~is_singing]).max() < 1e-6
    assert np.sqrt(np.mean(song.samples[is_singing] ** 2)) > 0.05


def test_words_have_held_and_fast_notes():
    durations = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        song = sing(rng, random_singer(rng), split="train", seconds=8.0)
        durations += [note.end_s - note.start_s for note in song.notes]
        assert list(song.phonemes) == sorted(song.phonemes, key=lambda p: p.start_s)
    assert min(durations) < 0.16 and max(durations) > 1.0


def test_a_changing_voice_makes_no_clicks():
    num_samples = 2 * SAMPLE_RATE_HZ
    letters = "a m i l o n u w e y a".split()
    sounds = [
        Sound(letter, 0.2 + 0.15 * k, 0.35 + 0.15 * k, "a", 1.0) for k, letter in enumerate(letters)
    ]
    pitch_hz_T = 150.0 + 100.0 * np.linspace(0, 1, len(control_times_s(num_samples)))
    voice = render(
        np.random.default_rng(0),
        VocalTract(scale=1.0, brightness_hz=1400.0, breath=0.0),
        sounds=sounds,
        pitch_hz_T=pitch_hz_T,
        num_samples=num_samples,
    )
    # Harmonics end at 8 kHz, so whatever lies above 9 kHz is a click.
    above = signal.sosfiltfilt(
        signal.butter(8, 9000, "high", fs=SAMPLE_RATE_HZ, output="sos"), voice
    )
    assert np.abs(voice).max() > 0.3
    assert np.abs(above).max() < 1e-3 * np.abs(voice).max()


def test_vowels_have_their_formants():
    num_samples = SAMPLE_RATE_HZ
    spectra = {}
    for letter in "aiu":
        voice = render(
            np.random.default_rng(0),
            VocalTract(scale=1.0, brightness_hz=800.0, breath=0.0),
            sounds=[Sound(letter, 0.0, 1.0, letter, 1.0)],
            pitch_hz_T=np.full(len(control_times_s(num_samples)), 100.0),
            num_samples=num_samples,
        )
        spectra[letter] = np.abs(np.fft.rfft(voice * np.hanning(num_samples)))
    band = {k: lambda low, high, s=s: s[low:high].max() for k, s in spectra.items()}
    assert band["a"](700, 1300) > band["a"](200, 500)
    assert band["i"](2100, 2400) > 5 * band["u"](2100, 2400)
    assert band["i"](250, 400) > band["i"](700, 1300)
