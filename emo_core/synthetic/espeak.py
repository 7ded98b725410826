"""Speech from the espeak-ng library, with the time of every phoneme.

espeak-ng (https://github.com/espeak-ng/espeak-ng, src/include/espeak-ng/speak_lib.h) keeps its
state in global variables of the library: noise, flutter and phase run on from one call to the next,
so the same text would sound a little different each time. Here the library is opened afresh for
every call of `speak` and closed after it (about 3 ms), which makes the samples a function of the
arguments alone. If something else in the process holds the same library open, or with a library
older than 1.52, the noise in the samples may differ from call to call.

espeak-ng's own marks tell when it starts to play a recorded or modelled sound, which for stops is
not when the mouth moves. Measured on several voices: the mark of a voiceless stop stands at its
burst, 40 to 90 ms after the closure begins, and a labial's last 30 ms already are the way into the
next sound. `speak` moves those two boundaries; the marks of hisses are exact to 4 ms.

Needed for making data only: the pip package `espeakng-loader` brings library and voices.
"""

import ctypes
import ctypes.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 0x0001
INITIALIZE_PHONEME_IPA = 0x0002
INITIALIZE_DONT_EXIT = 0x8000
PARAMETER_RATE = 1
PARAMETER_VOLUME = 2
PARAMETER_PITCH = 3
PARAMETER_RANGE = 4
EVENT_LIST_TERMINATED = 0
EVENT_PHONEME = 7
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
VOLUME = 50
"""Half of the library's own level, at which some variants are clipped."""

INT16_BYTES = 2
INT16_SCALE = 32768.0

STRESS_MARKS = "\u02c8\u02cc"
VOICELESS_STOPS = "ptkqc\u0288"
LABIAL_CLOSURES = "pbm"
CLOSURE_REACH_S = 0.09
"""A silence before a stop counts as its closure for at most this long."""

SILENT_SHARE = 0.06
"""Below this share of the peak there is silence; some variants have an echo."""

RELEASE_S = 0.03
"""The part of a labial in which the lips are open again."""

SHORTEST_CLOSURE_SHARE = 0.4

_library_lock = threading.Lock()


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_uint8 * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Phoneme:
    """One sound of a voice: its IPA name ("" is a pause) from `start_s` to `end_s` seconds."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class SpokenText:
    """What `speak` gives back."""

    samples: np.ndarray
    """(N,) float32 in -1..1."""

    sample_rate_hz: int

    phonemes: tuple[Phoneme, ...]
    """In order and without gaps from the first sound to the last sample."""


def speak(
    text: str,
    voice: str,
    *,
    words_per_minute: int = 160,
    pitch: int = 50,
    pitch_range: int = 50,
    seed: int = 0,
) -> SpokenText:
    """Read a text aloud.

    Args:
        text: any text in a script that the language knows.
        voice: language, then optionally a variant: "de", "en-us+f3". espeak-ng speaks with its
            plain voice where it does not know the variant.
        words_per_minute: 80..450.
        pitch: 0..100, 50 is the variant's own pitch.
        pitch_range: 0 (monotone)..100 (lively).
        seed: of the noise in breathy and voiceless sounds.

    Raises:
        InputError: the library is not installed, or it does not know the language.
    """
    chunks: list[bytes] = []
    marks: list[tuple[str, int]] = []

    def collect(samples: ctypes.Array, num_samples: int, events: ctypes.Array) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, num_samples * INT16_BYTES))
        index = 0
        while events[index].type != EVENT_LIST_TERMINATED:
            event = events[index]
            if event.type == EVENT_PHONEME:
                name = bytes(event.id.string).split(b"\0")[0].decode("utf-8", "ignore")
                marks.append((name, event.sample))
            index += 1
        return 0

    callback = _SynthCallback(collect)
    encoded = text.encode("utf-8")
    with _library_lock, _open_library() as (library, sample_rate_hz):
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode("utf-8")) != 0:
            raise InputError(
                f"voice: espeak-ng does not know {voice!r}. Expected a language code, optionally "
                "with + and a variant, such as 'en-us+f3'. Choose one that "
                "`espeak-ng --voices` lists."
            )
        library.espeak_SetParameter(PARAMETER_VOLUME, VOLUME, 0)
        library.espeak_SetParameter(PARAMETER_RATE, words_per_minute, 0)
        library.espeak_SetParameter(PARAMETER_PITCH, pitch, 0)
        library.espeak_SetParameter(PARAMETER_RANGE, pitch_range, 0)
        if hasattr(library, "espeak_ng_SetRandSeed"):  # new in version 1.52
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        library.espeak_Synth(
            encoded, len(encoded) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None
        )
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16)
    samples = (samples / INT16_SCALE).astype(np.float32)
    phonemes = _timed_phonemes(marks, samples, sample_rate_hz=sample_rate_hz)
    return SpokenText(samples, sample_rate_hz, phonemes)


def _timed_phonemes(
    marks: list[tuple[str, int]], samples: np.ndarray, *, sample_rate_hz: int
) -> tuple[Phoneme, ...]:
    """Phonemes between the marks (name, first sample), closures where the lips make them."""
    names = [name for name, _ in marks]
    bases = [name.lstrip(STRESS_MARKS)[:1] for name in names]
    edges = [start for _, start in marks] + [len(samples)]
    step = sample_rate_hz // 500
    silent_level = SILENT_SHARE * np.abs(samples).max(initial=0.0)
    for index, base in enumerate(bases):
        if base and base in VOICELESS_STOPS:
            earliest = max(0, edges[index] - round(CLOSURE_REACH_S * sample_rate_hz))
            while (
                edges[index] - step >= earliest
                and np.abs(samples[edges[index] - step : edges[index]]).max() < silent_level
            ):
                edges[index] -= step
        if base and base in LABIAL_CLOSURES and index + 1 < len(names) and names[index + 1]:
            length = edges[index + 1] - edges[index]
            release = min(
                round(RELEASE_S * sample_rate_hz), round((1 - SHORTEST_CLOSURE_SHARE) * length)
            )
            edges[index + 1] -= release
    # A closure that reaches back over a whole phoneme leaves it no time: it is dropped.
    edges_s = np.minimum.accumulate(edges[::-1])[::-1] / sample_rate_hz
    return tuple(
        Phoneme(name, float(start_s), float(end_s))
        for name, start_s, end_s in zip(names, edges_s[:-1], edges_s[1:], strict=True)
        if end_s > start_s
    )


@contextmanager
def _open_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """A library in its initial state and its sample rate; closed on leaving."""
    library_path, data_path = _find_library()
    library = ctypes.CDLL(library_path)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    try:
        options = INITIALIZE_PHONEME_EVENTS | INITIALIZE_PHONEME_IPA | INITIALIZE_DONT_EXIT
        sample_rate_hz = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, options)
        if sample_rate_hz <= 0:
            raise InputError(
                f"espeak-ng: {library_path} was found, but not the voices that belong to it. "
                "Install them with `pip install espeakng-loader`."
            )
        yield library, sample_rate_hz
        library.espeak_Terminate()
    finally:
        is_windows = sys.platform == "win32"
        close = ctypes.windll.kernel32.FreeLibrary if is_windows else ctypes.CDLL(None).dlclose
        close.argtypes = [ctypes.c_void_p]
        close(library._handle)


def _find_library() -> tuple[str, bytes | None]:
    """Path of the library and of its voices (None: where the system's library looks itself)."""
    try:
        import espeakng_loader  # optional: only data making needs it
    except ImportError:
        system_library = ctypes.util.find_library("espeak-ng")
        if system_library is None:
            raise InputError(
                "espeak-ng: neither the package espeakng-loader nor the system's library was "
                "found. One of them is needed to make voices: `pip install espeakng-loader`."
            ) from None
        return system_library, None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode("utf-8")
