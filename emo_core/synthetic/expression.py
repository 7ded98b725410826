"""What a face does with the voice besides forming its sounds: brows, lids and cheeks.

People raise their brows on some of the stressed syllables and blink at the ends of phrases;
singers lift the brows and narrow the eyes in held notes. The head's own way is left alone: its
speed is what EMO steers by hand.

Source of the habits: Cassell et al., "Animated conversation" (SIGGRAPH 1994), and Graf et al.,
"Visual prosody: facial movements accompanying speech" (FG 2002).

Letters: F video frames.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from .articulation import LONG, PRIMARY_STRESS
from .espeak import Phoneme
from .motion import HeadMotion

ACCENT_SHARE = 0.6
"""Of the stressed syllables that get an accent, in the face of the liveliest speaker."""
ACCENT_S = 0.42
"""From the brows' first move to their last."""
ACCENT_LEAD_S = 0.06
"""The brows are up so long before the syllable's middle."""
BROW_REACH = 0.8
CHEEK_REACH = 0.25
HELD_S = 0.35
"""A vowel that is longer is held."""
HELD_LIDS = 0.4
RISE_S = 0.15
PHRASE_GAP_S = 0.18
PHRASE_BLINK_SHARE = 0.5
BLINK_S = 0.24


def expressive(
    motion: HeadMotion,
    phonemes: Sequence[Phoneme],
    rng: np.random.Generator,
    *,
    fps: float,
    first_frame: int,
) -> HeadMotion:
    """Return the motion with brows, lids and cheeks that go with the voice.

    Args:
        motion: F frames, of which the first is frame `first_frame` of the sound.
        phonemes: of the whole sound, in order of time.
        rng: the only source of chance.
    """
    num_frames = len(motion.brow_raise)
    time_F = (first_frame + np.arange(num_frames) + 0.5) / fps
    liveliness = rng.uniform(0.2, 1.0)
    accent_F, lids_F = np.zeros(num_frames), np.zeros(num_frames)
    for phoneme in phonemes:
        if PRIMARY_STRESS in phoneme.name and rng.random() < ACCENT_SHARE * liveliness:
            middle_s = (phoneme.start_s + phoneme.end_s) / 2 - ACCENT_LEAD_S
            accent_F = np.maximum(accent_F, rng.uniform(0.4, 1.0) * _bump(time_F, middle_s))
        if LONG in phoneme.name and phoneme.end_s - phoneme.start_s > HELD_S:
            held_F = _plateau(time_F, phoneme.start_s, phoneme.end_s)
            accent_F = np.maximum(accent_F, 0.7 * held_F)
            lids_F = np.maximum(lids_F, HELD_LIDS * liveliness * held_F)
    for before, after in itertools.pairwise(phonemes):
        if after.start_s - before.end_s > PHRASE_GAP_S and rng.random() < PHRASE_BLINK_SHARE:
            lids_F = np.maximum(lids_F, _bump(time_F, before.end_s + BLINK_S / 2, width_s=BLINK_S))
    brow_F = np.clip(motion.brow_raise + BROW_REACH * liveliness * accent_F, -1, 1)
    smile_F = np.clip(motion.smile + CHEEK_REACH * liveliness * accent_F, 0, 1)
    return dataclasses.replace(
        motion,
        brow_raise=brow_F.astype(np.float32),
        smile=smile_F.astype(np.float32),
        blink_left=np.maximum(motion.blink_left, lids_F).astype(np.float32),
        blink_right=np.maximum(motion.blink_right, lids_F).astype(np.float32),
    )


def _bump(time_F: np.ndarray, middle_s: float, *, width_s: float = ACCENT_S) -> np.ndarray:
    """0..1: one arch of a raised cosine."""
    phase = np.clip((time_F - middle_s) / width_s, -0.5, 0.5)
    return 0.5 + 0.5 * np.cos(2 * np.pi * phase)


def _plateau(time_F: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """0..1: up and down within RISE_S at the ends."""
    inside_s = np.minimum(time_F - start_s, end_s - time_F)
    share = np.clip(inside_s / RISE_S, 0, 1)
    return share * share * (3 - 2 * share)
