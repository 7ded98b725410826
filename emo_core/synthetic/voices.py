"""Voices with known articulation: speech, song and silence for training, rhythm for measuring.

An utterance is a function of (split, index, seconds), or of these and a kind. The speakers, the
singers and the texts of the three splits are disjoint by construction: a speaker is a voice variant
of espeak-ng that the table SPEAKERS gives to one split, a singer is a number that SINGERS gives to
one split, and every text belongs to one split (texts.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import signal

from ..errors import InputError
from .acoustics import random_background, random_equalizer, random_room
from .articulation import ARTICULATION_CHANNELS, articulate
from .espeak import Phoneme, speak
from .manner import MANNERS, MOUTH_REACH, Manner, in_manner
from .rhythm import rap
from .singing import Song, random_singer, sing
from .texts import (
    NUMBER_LANGUAGES,
    SPLITS,
    check_split,
    random_text,
    sentence_languages,
)
from .vocal_tract import SAMPLE_RATE_HZ

__all__ = [
    "ARTICULATION_CHANNELS",
    "Utterance",
    "articulation",
    "random_utterance",
    "utterance_of_kind",
]

Kind = Literal["speech", "song", "rhythm", "silence"]
KINDS: tuple[Kind, ...] = ("speech", "song", "rhythm", "silence")

SPEAKERS = {
    "train": (
        "f1 f2 f3 m1 m2 m3 m4 m5 m6 Alex Alicia Andrea Andy AnxiousAndy Annie Denis Diogo Gene "
        "Gene2 Henrique Hugo Jacky Lee Marco Mario Michael michel Mike mike2 Nguyen marcelo "
        "RicishayMax RicishayMax2 RicishayMax3 Storm adam announcer antonio aunty belinda "
        "benjamin boris miguel klatt klatt2 klatt3 edward edward2 grandma iven iven2 iven3 iven4"
    ).split(),
    "validation": "f4 m7 david ed linda max norbert pablo klatt4 robert shelby sandro".split(),
    "test": "f5 m8 anika ian john paul quincy rob steph steph2 steph3 klatt6 zac victor".split(),
}
"""Voice variants of espeak-ng. Those that share a speaker (iven, iven2) share a split. Reed and
caleb are not among them: with espeak-ng 1.52 they sound a little different at every call."""

SINGERS = {"train": range(0, 60), "validation": range(60, 75), "test": range(75, 90)}
"""Numbers of the singers; the number is the seed from which the singer is made."""

SONG_SHARE = 0.20
SILENCE_SHARE = 0.05
NUMBER_LANGUAGE_SHARE = 0.25
EQUALIZER_SHARE = 0.6
ROOM_SHARE = 0.5
BACKGROUND_SHARE = 0.65

LEAD_IN_S = (0.05, 0.7)
PAUSE_S = (0.15, 1.2)
LEAD_OUT_S = 0.06
SHORTEST_PHRASE_S = 0.5
FADE_S = 0.025
SIGNAL_TO_NOISE_DB = (5.0, 40.0)
PEAK_DB = (-20.0, -0.3)
AUDIBLE = 0.01
ROOM_BACKGROUNDS = ("noise", "hum", "room")
"""What is heard in a room where nobody makes a sound: no music."""

STRETCH_PARTS = 100


@dataclass(frozen=True)
class Utterance:
    """A recording and what its speaker did with the mouth."""

    samples: np.ndarray
    """(N,) float32 in -1..1, peak at most 0.97."""

    sample_rate_hz: int

    phonemes: tuple[Phoneme, ...]
    """The sounds in order of time; what lies between them is silence."""

    language: str
    """espeak-ng's code; "" where nobody speaks."""

    voice: str
    """espeak-ng's variant, "singer" and a number, or "" in silence."""

    text: str
    """The phrases, separated by " | ". The last one may be broken off."""

    kind: Kind

    manner: Manner = "plain"
    """A whisper hardly opens the mouth, a shout opens it wide."""


@dataclass(frozen=True)
class _Speaker:
    """How one person talks throughout an utterance."""

    language: str
    variant: str
    words_per_minute: int
    pitch: int
    pitch_range: int

    stretch_parts: int
    """Sound is stretched to so many parts in STRETCH_PARTS: more is a larger, slower person."""


def random_utterance(
    split: str, index: int, *, seconds: float, manner: Manner = "plain"
) -> Utterance:
    """The utterance of this number: about 75 % speech, 20 % song, 5 % no voice at all.

    Voices are recorded in rooms of all kinds, near and far, with and without noise, hum or music
    behind them. A length under about a second may leave no room for a voice.

    Args:
        split: "train", "validation" or "test".
        index: 0 and up.
        seconds: gives exactly round(seconds * sample rate) samples.
        manner: the same words of the same speaker, whispered or shouted.

    Raises:
        InputError: unknown split or manner, negative index, no length, or espeak-ng is missing.
    """
    check_split(split)
    if index < 0 or seconds <= 0 or manner not in MANNERS:
        raise InputError(
            f"utterance: got index {index}, a length of {seconds} s and manner {manner!r}. "
            "Expected an index of 0 or more, a length above 0 and a manner of "
            f"{', '.join(MANNERS)}."
        )
    rng = np.random.default_rng([SPLITS.index(split), index])
    choice = rng.random()
    if choice < SILENCE_SHARE:
        utterance = _silence(seconds)
    elif choice < SILENCE_SHARE + SONG_SHARE:
        utterance = _random_song(rng, sing, split=split, seconds=seconds)
    else:
        is_numbers = rng.random() < NUMBER_LANGUAGE_SHARE
        language = str(rng.choice(NUMBER_LANGUAGES if is_numbers else sentence_languages()))
        utterance = _random_speech(rng, split=split, language=language, seconds=seconds)
    if not utterance.phonemes:
        utterance = _silence(seconds)
    breath = np.random.default_rng([SPLITS.index(split), index, len(KINDS) + 1])
    voice = in_manner(manner, utterance.samples, breath, sample_rate_hz=SAMPLE_RATE_HZ)
    return replace(utterance, manner=manner, samples=_recorded(rng, voice))


def utterance_of_kind(
    kind: Kind, split: str, index: int, *, seconds: float, language: str = ""
) -> Utterance:
    """The utterance of this number among those of one kind; recorded as in `random_utterance`.

    Args:
        kind: "rhythm" is rap-like (`rhythm.py`) and never comes up in `random_utterance`;
            "silence" is a room with some noise and without music.
        split, index, seconds: as in `random_utterance`. A length under about a second may leave
            no room for a voice.
        language: of speech, one of `texts.sentence_languages`.

    Raises:
        InputError: unknown split, kind or language, negative index, no length, or espeak-ng is
            missing.
    """
    check_split(split)
    if index < 0 or seconds <= 0 or kind not in KINDS:
        raise InputError(
            f"utterance: got kind {kind!r}, index {index} and a length of {seconds} s. Expected "
            f"one of {', '.join(KINDS)}, an index of 0 or more and a length above 0."
        )
    if kind == "speech" and language not in sentence_languages():
        raise InputError(
            f"utterance: there are no sentences in language {language!r}. Expected one of "
            f"{', '.join(sentence_languages())}."
        )
    rng = np.random.default_rng([SPLITS.index(split), index, 1 + KINDS.index(kind)])
    if kind == "silence":
        return replace(_silence(seconds), samples=_empty_room(rng, seconds))
    if kind == "speech":
        utterance = _random_speech(rng, split=split, language=language, seconds=seconds)
    else:
        perform = rap if kind == "rhythm" else sing
        utterance = _random_song(rng, perform, split=split, seconds=seconds)
    return replace(utterance, kind=kind, samples=_recorded(rng, utterance.samples))


def articulation(utterance: Utterance, *, fps: float, num_frames: int) -> np.ndarray:
    """The speaker's mouth at each frame's centre, (f + 0.5) / fps.

    Returns:
        (num_frames, 5) float32, columns as in ARTICULATION_CHANNELS; closed after the end.
    """
    mouth_FC = articulate(utterance.phonemes, fps=fps, num_frames=num_frames)
    opening = ARTICULATION_CHANNELS.index("mouth_open")
    mouth_FC[:, opening] = np.minimum(MOUTH_REACH[utterance.manner] * mouth_FC[:, opening], 1.0)
    return mouth_FC


def _silence(seconds: float) -> Utterance:
    return Utterance(
        samples=np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32),
        sample_rate_hz=SAMPLE_RATE_HZ,
        phonemes=(),
        language="",
        voice="",
        text="",
        kind="silence",
    )


def _empty_room(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """(N,) float32: a room's own noise at some level."""
    noise = random_background(
        rng,
        num_samples=round(seconds * SAMPLE_RATE_HZ),
        sample_rate_hz=SAMPLE_RATE_HZ,
        kinds=ROOM_BACKGROUNDS,
    )
    noise *= 10 ** (rng.uniform(*PEAK_DB) / 20) / np.abs(noise).max()
    return noise.astype(np.float32)


def _random_song(
    rng: np.random.Generator, perform: Callable[..., Song], *, split: str, seconds: float
) -> Utterance:
    """One of the singers performing with `sing` or `rap`."""
    number = int(rng.choice(SINGERS[split]))
    singer = random_singer(np.random.default_rng([len(SPLITS), number]))
    song = perform(rng, singer, split=split, seconds=seconds)
    return Utterance(
        samples=song.samples,
        sample_rate_hz=SAMPLE_RATE_HZ,
        phonemes=song.phonemes,
        language="",
        voice=f"singer {number}",
        text=song.text,
        kind="song",
    )


def _random_speech(
    rng: np.random.Generator, *, split: str, language: str, seconds: float
) -> Utterance:
    """One speaker saying phrases with pauses between them."""
    speaker = _Speaker(
        language=language,
        variant=str(rng.choice(SPEAKERS[split])),
        words_per_minute=int(rng.triangular(110, 160, 260)),
        pitch=int(rng.triangular(20, 50, 85)),
        pitch_range=int(rng.integers(20, 90)),
        stretch_parts=int(rng.integers(92, 109)),
    )
    samples = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)
    phonemes: list[Phoneme] = []
    texts: list[str] = []
    start = round(rng.uniform(*LEAD_IN_S) * SAMPLE_RATE_HZ)
    while (room_s := seconds - start / SAMPLE_RATE_HZ - LEAD_OUT_S) > SHORTEST_PHRASE_S:
        text = random_text(rng, split=split, language=speaker.language)
        phrase, sounds = _say(rng, speaker, text, room_s=room_s)
        if not sounds:
            break
        samples[start : start + len(phrase)] = phrase[: len(samples) - start]
        start_s = start / SAMPLE_RATE_HZ
        for sound in sounds:
            phonemes.append(Phoneme(sound.name, start_s + sound.start_s, start_s + sound.end_s))
        texts.append(text)
        start = round((phonemes[-1].end_s + rng.uniform(*PAUSE_S)) * SAMPLE_RATE_HZ)
    return Utterance(
        samples=samples,
        sample_rate_hz=SAMPLE_RATE_HZ,
        phonemes=tuple(phonemes),
        language=speaker.language,
        voice=speaker.variant,
        text=" | ".join(texts),
        kind="speech",
    )


def _say(
    rng: np.random.Generator, speaker: _Speaker, text: str, *, room_s: float
) -> tuple[np.ndarray, list[Phoneme]]:
    """Samples and sounds of a phrase, broken off after the last sound that fits in `room_s`."""
    spoken = speak(
        text,
        f"{speaker.language}+{speaker.variant}",
        words_per_minute=speaker.words_per_minute,
        pitch=speaker.pitch,
        pitch_range=speaker.pitch_range,
        seed=int(rng.integers(1, 2**31)),
    )
    stretch = speaker.stretch_parts / STRETCH_PARTS
    sounds = [
        Phoneme(phoneme.name, phoneme.start_s * stretch, phoneme.end_s * stretch)
        for phoneme in spoken.phonemes
        if phoneme.name and phoneme.end_s * stretch <= room_s
    ]
    if not sounds:
        return np.zeros(0, np.float32), sounds
    samples = signal.resample_poly(spoken.samples, speaker.stretch_parts, STRETCH_PARTS)
    samples = samples[: round((sounds[-1].end_s + FADE_S) * SAMPLE_RATE_HZ)]
    num_faded = min(len(samples), round(FADE_S * SAMPLE_RATE_HZ))
    samples[-num_faded:] *= np.linspace(1, 0, num_faded, dtype=np.float32)
    return samples, sounds


def _recorded(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """(N,) float32, the voice as a microphone in some room hears it, at some level."""
    recorded = samples.astype(np.float64)
    is_audible = np.abs(recorded) > AUDIBLE
    if is_audible.any():
        recorded /= np.sqrt(np.mean(recorded[is_audible] ** 2))
        if rng.random() < EQUALIZER_SHARE:
            recorded = random_equalizer(rng, recorded, sample_rate_hz=SAMPLE_RATE_HZ)
        if rng.random() < ROOM_SHARE:
            recorded = random_room(rng, recorded, sample_rate_hz=SAMPLE_RATE_HZ)
    if rng.random() < BACKGROUND_SHARE:
        background = random_background(
            rng, num_samples=len(recorded), sample_rate_hz=SAMPLE_RATE_HZ
        )
        recorded = recorded + background * 10 ** (-rng.uniform(*SIGNAL_TO_NOISE_DB) / 20)
    peak = np.abs(recorded).max(initial=0.0)
    if peak > 0:
        recorded *= 10 ** (rng.uniform(*PEAK_DB) / 20) / peak
    return recorded.astype(np.float32)
