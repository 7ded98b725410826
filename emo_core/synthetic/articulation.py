"""Mouth shapes from phonemes with known times.

A phoneme is read letter by letter (IPA, data/ipa.csv): a vowel's shape follows from its height,
backness and rounding, a consonant's from its place. Neighbours blend by strength, as in the
dominance functions of Cohen and Massaro ("Modeling coarticulation in synthetic visual speech",
1993): a sound with a weak claim on a channel takes its neighbours' shape there. What no blending
may lose is imposed after it: lips meet in m, b and p.

Axes: C channels in the order of ARTICULATION_CHANNELS, T ticks of the inner time grid, F frames.
"""

import csv
import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .espeak import Phoneme
from .texts import DATA_FOLDER

ARTICULATION_CHANNELS = ("mouth_open", "mouth_width", "lip_round", "teeth", "tongue")
"""mouth_open 0..1 is the gap between the lips, mouth_width -1 (narrow)..1 (wide), the rest 0..1."""

TICKS_PER_S = 250
BLEND_SIGMA_S = 0.026
ANTICIPATION_S = 0.012
"""The mouth runs ahead of the sound by this much."""

CLOSURE_MIN_S = 0.048
"""Lips stay together for at least this long: longer than one frame at 25 fps, so none is missed."""

CLOSURE_RAMP_S = 0.08
"""From closed lips to a fully open mouth."""

SHORT_PAUSE_S = 0.14
"""In a shorter gap, as between two words, the mouth hardly moves."""

PRIMARY_STRESS, SECONDARY_STRESS, LONG = "\u02c8", "\u02cc", "\u02d0"
UNSTRESSED_SCALE, SECONDARY_SCALE, LONG_SCALE = 0.82, 0.92, 1.06

HEIGHT_OPEN = {
    "close": 0.26,
    "near-close": 0.34,
    "close-mid": 0.46,
    "mid": 0.50,
    "open-mid": 0.68,
    "near-open": 0.88,
    "open": 1.0,
}
HEIGHT_ROUND = {
    "close": 1.0,
    "near-close": 0.85,
    "close-mid": 0.8,
    "mid": 0.7,
    "open-mid": 0.6,
    "near-open": 0.45,
    "open": 0.35,
}
BACKNESS_WIDTH = {"front": 0.75, "central": 0.2, "back": 0.0}
BACKNESS_TONGUE = {"front": 0.3, "central": 0.15, "back": 0.0}


@dataclass(frozen=True)
class MouthShape:
    """Where a sound wants the mouth to be, and how strongly (0..1 and above) it insists."""

    target_C: tuple[float, float, float, float, float]
    open_strength: float = 1.0
    lip_strength: float = 1.0
    is_closure: bool = False


CONSONANT_SHAPES = {
    "bilabial": MouthShape((0.0, 0.0, 0.1, 0.0, 0.0), 2.0, 0.3, is_closure=True),
    "bilabial_approximant": MouthShape((0.12, 0.0, 0.2, 0.1, 0.0), 1.5, 0.4),
    "labiodental": MouthShape((0.10, 0.1, 0.0, 0.9, 0.0), 2.0, 0.6),
    "dental": MouthShape((0.22, 0.1, 0.0, 0.6, 0.9), 1.2, 0.5),
    "sibilant": MouthShape((0.14, 0.4, 0.0, 1.0, 0.05), 1.4, 0.5),
    "alveolar": MouthShape((0.22, 0.1, 0.0, 0.5, 0.5), 0.8, 0.2),
    "lateral": MouthShape((0.32, 0.1, 0.0, 0.35, 0.9), 0.7, 0.2),
    "postalveolar": MouthShape((0.18, -0.4, 0.75, 0.85, 0.1), 1.3, 1.0),
    "rhotic": MouthShape((0.22, -0.3, 0.5, 0.3, 0.2), 0.9, 0.7),
    "palatal": MouthShape((0.22, 0.5, 0.0, 0.5, 0.3), 0.9, 0.5),
    "labiovelar": MouthShape((0.14, -0.8, 1.0, 0.0, 0.0), 1.4, 1.5),
    "hidden": MouthShape((0.32, 0.0, 0.0, 0.2, 0.05), 0.15, 0.05),
}
UNKNOWN_SHAPE = MouthShape((0.3, 0.0, 0.0, 0.2, 0.1), 0.1, 0.05)
SHORT_PAUSE_SHAPE = MouthShape((0.2, 0.0, 0.0, 0.1, 0.0), 0.15, 0.05)
SILENT_SHAPE = MouthShape((0.0, 0.0, 0.0, 0.0, 0.0), 1.0, 0.6)


def articulate(phonemes: Sequence[Phoneme], *, fps: float, num_frames: int) -> np.ndarray:
    """The mouth at the centre of every video frame, (f + 0.5) / fps.

    Args:
        phonemes: in order of time; gaps between them, names without letters, and all time before
            the first and after the last are silence.

    Returns:
        (F, C) float32, see ARTICULATION_CHANNELS. mouth_open is 0 in the middle of m, b and p, and
        in silence, from 0.07 s after a sound to 0.09 s before the next.
    """
    num_ticks = int(np.ceil(num_frames / fps * TICKS_PER_S)) + 1
    tick_s = np.arange(num_ticks) / TICKS_PER_S
    sounds = [phoneme for phoneme in phonemes if _is_sound(phoneme.name)]
    target_TC = np.zeros((num_ticks, len(ARTICULATION_CHANNELS)))
    strength_TC = np.tile(_strength_C(SILENT_SHAPE), (num_ticks, 1))
    closures: list[tuple[float, float]] = []
    for before, after in itertools.pairwise(sounds):
        if after.start_s - before.end_s < SHORT_PAUSE_S:
            gap = slice(*np.searchsorted(tick_s, (before.end_s, after.start_s)))
            target_TC[gap] = SHORT_PAUSE_SHAPE.target_C
            strength_TC[gap] = _strength_C(SHORT_PAUSE_SHAPE)
    for phoneme in sounds:
        shapes = mouth_shapes(phoneme.name)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(shapes) + 1)
        for shape, start_s, end_s in zip(shapes, edges[:-1], edges[1:], strict=True):
            inside = slice(*np.searchsorted(tick_s, (start_s, end_s)))
            target_TC[inside] = shape.target_C
            strength_TC[inside] = _strength_C(shape)
            if shape.is_closure:
                closures.append((start_s, end_s))
    mouth_TC = _blend(target_TC, strength_TC)
    mouth_TC[:, 0] = np.minimum(mouth_TC[:, 0], _closure_ceiling_T(closures, tick_s))
    frame_s = (np.arange(num_frames) + 0.5) / fps
    channels = [np.interp(frame_s, tick_s, mouth_TC[:, c]) for c in range(mouth_TC.shape[1])]
    return np.stack(channels, axis=1).astype(np.float32)


@cache
def mouth_shapes(name: str) -> tuple[MouthShape, ...]:
    """The shapes that a phoneme runs through, one per letter: "a" gives one, a diphthong two.

    Stress and length open a vowel further; a letter that is not in the table stands for its
    base letter, or for hardly anything.
    """
    scale = UNSTRESSED_SCALE
    if PRIMARY_STRESS in name:
        scale = 1.0
    elif SECONDARY_STRESS in name:
        scale = SECONDARY_SCALE
    if LONG in name:
        scale *= LONG_SCALE
    table = _shapes_by_letter()
    letters = [letter for letter in unicodedata.normalize("NFD", name) if letter.isalpha()]
    letters = [letter for letter in letters if unicodedata.category(letter) != "Lm"]
    shapes = []
    for letter in letters:
        shape, is_vowel = table.get(letter) or table.get(letter.lower()) or (UNKNOWN_SHAPE, False)
        if is_vowel:
            opening = min(1.0, shape.target_C[0] * scale)
            shape = MouthShape((opening, *shape.target_C[1:]))
        shapes.append(shape)
    return tuple(shapes) or (UNKNOWN_SHAPE,)


def _is_sound(name: str) -> bool:
    """False for pauses and for marks such as a change of language, "(en)"."""
    return not name.startswith("(") and any(letter.isalpha() for letter in name)


def _strength_C(shape: MouthShape) -> np.ndarray:
    return np.array([shape.open_strength, shape.lip_strength, shape.lip_strength, 1.0, 1.0])


def _blend(target_TC: np.ndarray, strength_TC: np.ndarray) -> np.ndarray:
    """Mean of the targets around each tick, weighted by strength and by nearness in time."""
    reach = int(3 * BLEND_SIGMA_S * TICKS_PER_S)
    offset_s = np.arange(-reach, reach + 1) / TICKS_PER_S
    # Convolution flips the kernel: its early half weighs what is still to come.
    kernel = np.exp(-0.5 * ((offset_s + ANTICIPATION_S) / BLEND_SIGMA_S) ** 2)
    mouth_TC = np.empty_like(target_TC)
    for c in range(target_TC.shape[1]):
        strength_T = np.pad(strength_TC[:, c], reach, mode="edge")
        weighted_T = np.pad(target_TC[:, c] * strength_TC[:, c], reach, mode="edge")
        mouth_TC[:, c] = np.convolve(weighted_T, kernel, "valid") / np.convolve(
            strength_T, kernel, "valid"
        )
    return mouth_TC


def _closure_ceiling_T(closures: list[tuple[float, float]], tick_s: np.ndarray) -> np.ndarray:
    """The widest opening that closed lips nearby allow."""
    ceiling_T = np.ones_like(tick_s)
    for start_s, end_s in closures:
        start_s = min(start_s, end_s - CLOSURE_MIN_S)
        outside_T = np.maximum(start_s - tick_s, tick_s - end_s).clip(min=0)
        ceiling_T = np.minimum(ceiling_T, outside_T / CLOSURE_RAMP_S)
    return ceiling_T


@cache
def _shapes_by_letter() -> dict[str, tuple[MouthShape, bool]]:
    """IPA letter -> its shape, and whether it is a vowel."""
    with (DATA_FOLDER / "ipa.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shapes = {}
    for row in rows:
        if row["kind"] == "consonant":
            shapes[row["symbol"]] = (CONSONANT_SHAPES[row["height_or_place"]], False)
            continue
        height, backness = row["height_or_place"], row["backness"]
        is_rounded = row["rounding"] == "rounded"
        opening = HEIGHT_OPEN[height] * (0.8 if is_rounded else 1.0)
        rounding = HEIGHT_ROUND[height] if is_rounded else 0.0
        width = -0.8 * rounding if is_rounded else BACKNESS_WIDTH[backness]
        teeth = 0.05 if is_rounded else 0.45
        shapes[row["symbol"]] = (
            MouthShape((opening, width, rounding, teeth, BACKNESS_TONGUE[backness])),
            True,
        )
    return shapes
