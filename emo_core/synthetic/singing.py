"""A singer, a melody and its words: notes with known pitch, syllables with known times.

Melodies walk through a scale in three rhythms, held, walking and fast, with breaths between
phrases. Each note carries one syllable of a made-up word; `vocal_tract` gives it its sound.

Axes: T control points of `vocal_tract`, N samples.
"""

from dataclasses import dataclass

import numpy as np

from .espeak import Phoneme
from .texts import random_word
from .vocal_tract import (
    CONSONANTS,
    SAMPLE_RATE_HZ,
    Sound,
    VocalTract,
    control_times_s,
    glide,
    render,
)

A4_HZ = 440.0
A4_KEY = 69
RANGE_SEMITONES = 18
SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
)

IPA_NAMES = {"sh": "\u0283", "y": "j"}
STRESS, LONG = "\u02c8", "\u02d0"
LONG_VOWEL_S = 0.3
SHORTEST_NOTE_S = 0.1
SHORT_NOTE_S = 0.2
"""Below this a note has room for one consonant and one vowel only."""

PITCH_GLIDE_S = 0.025
VIBRATO_STARTS_S = 0.25
VIBRATO_GROWS_S = 0.3
DRIFT_SEMITONES = 0.05
DRIFT_STEP_S = 0.2
PEAK = 0.9


@dataclass(frozen=True)
class Singer:
    """The voice and how it is used."""

    tract: VocalTract

    lowest_key: int
    """Lowest note as a MIDI key (69 = 440 Hz); the range is RANGE_SEMITONES."""

    vibrato_hz: float

    vibrato_semitones: float
    """Depth to either side in held notes."""


@dataclass(frozen=True)
class Note:
    """One syllable on one pitch, from `start_s` to `end_s` seconds, with a loudness of 0..1."""

    frequency_hz: float
    start_s: float
    end_s: float
    loudness: float
    onset: tuple[str, ...]
    vowels: tuple[str, ...]
    coda: tuple[str, ...]


@dataclass(frozen=True)
class Song:
    """What `sing` gives back."""

    samples: np.ndarray
    """(N,) float32 in -1..1 at SAMPLE_RATE_HZ."""

    notes: tuple[Note, ...]
    phonemes: tuple[Phoneme, ...]

    text: str
    """The words; the last of a phrase may be sung in part."""


def random_singer(rng: np.random.Generator) -> Singer:
    """A man, a woman or a child: small voices are high."""
    scale = float(rng.uniform(0.95, 1.28))
    return Singer(
        tract=VocalTract(
            scale=scale,
            brightness_hz=float(rng.uniform(350, 1400)),
            breath=float(rng.uniform(0.005, 0.05)),
        ),
        lowest_key=41 + round((scale - 0.95) / 0.33 * 18 + rng.uniform(-2, 2)),
        vibrato_hz=float(rng.uniform(4.8, 6.6)),
        vibrato_semitones=float(rng.uniform(0.1, 0.5)),
    )


def sing(rng: np.random.Generator, singer: Singer, *, split: str, seconds: float) -> Song:
    """A new melody on made-up words of the split, round(seconds * SAMPLE_RATE_HZ) samples long.

    Less than a second may leave no room for a note: then the song is silent.
    """
    notes, text = _compose(rng, singer, split=split, seconds=seconds)
    return perform(rng, singer, notes, text=text, seconds=seconds)


def perform(
    rng: np.random.Generator, singer: Singer, notes: list[Note], *, text: str, seconds: float
) -> Song:
    """The singer's sound of written notes, round(seconds * SAMPLE_RATE_HZ) samples long.

    Args:
        notes: in order of time, all within `seconds`; none give silence.
        text: their words, only passed on.
    """
    num_samples = round(seconds * SAMPLE_RATE_HZ)
    sounds = [sound for note in notes for sound in _sounds(note)]
    samples = render(
        rng,
        singer.tract,
        sounds=sounds,
        pitch_hz_T=_pitch_hz(rng, singer, notes, control_times_s(num_samples)),
        num_samples=num_samples,
    )
    samples = PEAK * samples / max(np.abs(samples).max(initial=0.0), 1e-6)
    phonemes = tuple(Phoneme(_ipa_name(sound), sound.start_s, sound.end_s) for sound in sounds)
    return Song(samples.astype(np.float32), tuple(notes), phonemes, text)


def _compose(
    rng: np.random.Generator, singer: Singer, *, split: str, seconds: float
) -> tuple[list[Note], str]:
    """Phrases of notes with breaths between them, and the words; all ends before `seconds`."""
    scale = SCALES[rng.integers(len(SCALES))]
    steps = [12 * octave + step for octave in range(2) for step in scale]
    keys = [singer.lowest_key + step for step in steps if step <= RANGE_SEMITONES]
    place = int(rng.integers(len(keys)))
    notes: list[Note] = []
    words: list[str] = []
    now_s = float(rng.uniform(0.1, 0.6))
    last_s = seconds - float(rng.uniform(0.08, 0.3))
    while last_s - now_s > SHORTEST_NOTE_S:
        syllables: list[tuple[str, str, str]] = []
        for duration_s in _phrase_rhythm(rng):
            duration_s = min(duration_s, last_s - now_s)
            if duration_s < SHORTEST_NOTE_S:
                break
            if not syllables:
                syllables = list(random_word(rng, split=split))
                words.append("".join("".join(syllable) for syllable in syllables))
            syllable = syllables.pop(0)
            place = int(np.clip(place + rng.integers(-2, 3), 0, len(keys) - 1))
            notes.append(
                note_of(
                    syllable,
                    key=keys[place],
                    start_s=now_s,
                    end_s=now_s + duration_s,
                    loudness=float(rng.uniform(0.6, 1.0)),
                )
            )
            now_s += duration_s
        now_s += float(rng.uniform(0.2, 0.8))
    return notes, " ".join(words)


def note_of(
    syllable: tuple[str, str, str], *, key: int, start_s: float, end_s: float, loudness: float
) -> Note:
    """A syllable (onset, nucleus, coda) of `random_word` on a MIDI key.

    Below SHORT_NOTE_S only the first consonant and the first vowel are sung.
    """
    onset, nucleus, coda = syllable
    is_short = end_s - start_s < SHORT_NOTE_S
    return Note(
        frequency_hz=A4_HZ * 2 ** ((key - A4_KEY) / 12),
        start_s=start_s,
        end_s=end_s,
        loudness=loudness,
        onset=_letters(onset)[: 1 if is_short else 2],
        vowels=tuple(nucleus[:1] if is_short else nucleus),
        coda=() if is_short else _letters(coda),
    )


def _phrase_rhythm(rng: np.random.Generator) -> list[float]:
    """Durations in seconds of the notes between two breaths: held, walking or fast."""
    style = rng.choice(["held", "walking", "fast"], p=[0.3, 0.45, 0.25])
    if style == "held":
        return [float(rng.uniform(0.5, 2.0)) for _ in range(rng.integers(1, 4))]
    beat_s = rng.uniform(0.25, 0.5) if style == "walking" else rng.uniform(0.11, 0.16)
    num_notes = rng.integers(3, 8) if style == "walking" else rng.integers(6, 14)
    return [float(beat_s * rng.choice([1, 1, 1, 2])) for _ in range(num_notes)]


def _letters(cluster: str) -> tuple[str, ...]:
    """The consonants of an onset or coda: "st" gives two, "sh" one."""
    return (cluster,) if cluster in CONSONANTS else tuple(cluster)


def _sounds(note: Note) -> list[Sound]:
    """Consonants get their own length (but at most half of the note), vowels the rest."""
    wanted_s = sum(CONSONANTS[letter].duration_s for letter in note.onset + note.coda)
    note_s = note.end_s - note.start_s
    shrink = min(1.0, 0.5 * note_s / wanted_s) if wanted_s else 1.0
    vowel_s = (note_s - wanted_s * shrink) / len(note.vowels)
    syllable = [(letter, CONSONANTS[letter].duration_s * shrink) for letter in note.onset]
    syllable += [(letter, vowel_s) for letter in note.vowels]
    syllable += [(letter, CONSONANTS[letter].duration_s * shrink) for letter in note.coda]
    sounds: list[Sound] = []
    now_s = note.start_s
    for letter, length_s in syllable:
        sounds.append(Sound(letter, now_s, now_s + length_s, note.vowels[0], note.loudness))
        now_s += length_s
    return sounds


def _ipa_name(sound: Sound) -> str:
    """Sung vowels are all stressed, and long where they are held."""
    if sound.letter in CONSONANTS:
        return IPA_NAMES.get(sound.letter, sound.letter)
    is_long = sound.end_s - sound.start_s > LONG_VOWEL_S
    return STRESS + sound.letter + (LONG if is_long else "")


def _pitch_hz(
    rng: np.random.Generator, singer: Singer, notes: list[Note], time_T: np.ndarray
) -> np.ndarray:
    """(T,) the notes with short glides between them, vibrato in held ones, a slight drift."""
    if not notes:
        return np.full_like(time_T, A4_HZ)
    starts_s = np.array([note.start_s for note in notes])
    index_T = np.clip(np.searchsorted(starts_s, time_T, side="right") - 1, 0, None)
    octaves_T = np.log2([note.frequency_hz for note in notes])[index_T]
    age_T = time_T - starts_s[index_T]
    vibrato_T = np.sin(2 * np.pi * singer.vibrato_hz * age_T) * singer.vibrato_semitones
    vibrato_T *= np.clip((age_T - VIBRATO_STARTS_S) / VIBRATO_GROWS_S, 0, 1)
    drift_s = np.arange(0, time_T[-1] + DRIFT_STEP_S, DRIFT_STEP_S)
    drift_T = np.interp(time_T, drift_s, rng.normal(0, DRIFT_SEMITONES, len(drift_s)))
    return 2 ** (glide(octaves_T, PITCH_GLIDE_S) + (vibrato_T + drift_T) / 12)
