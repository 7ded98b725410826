"""Fast rhythm, as in rap: short syllables on a steady beat, at one pitch.

A line is a row of made-up words on a grid of equal slots, five and a half to seven and a half in a
second; now and then a syllable takes two. Between lines there is a breath of a few slots. The voice
is that of `singing`, so every sound has its known time.
"""

import numpy as np

from .singing import Note, Singer, Song, note_of, perform
from .texts import random_word

SLOT_S = (0.133, 0.182)
FIRST_S = (0.1, 0.5)
LAST_S = 0.1
"""Silence after the last slot."""

LINE_SLOTS = (8, 17)
BREATH_SLOTS = (2, 5)
"""Both as of `Generator.integers`: the upper end is left out."""

DOUBLE_SHARE = 0.2
"""Of the syllables take two slots."""

SOUNDING_SHARE = 0.9
"""Of its slots a syllable sounds; a short gap makes the next one strike."""

BAR_SLOTS = 4
STRESSED, UNSTRESSED = 1.0, 0.75
"""Loudness of the first syllable in a bar, and of the others."""

KEYS_ABOVE_LOWEST = (3, 10)


def rap(rng: np.random.Generator, singer: Singer, *, split: str, seconds: float) -> Song:
    """Lines on made-up words of the split, round(seconds * SAMPLE_RATE_HZ) samples long.

    Less than a second may leave no room for a syllable: then there is silence.
    """
    slot_s = float(rng.uniform(*SLOT_S))
    first_s = float(rng.uniform(*FIRST_S))
    key = singer.lowest_key + int(rng.integers(*KEYS_ABOVE_LOWEST))
    num_slots = int((seconds - first_s - LAST_S) / slot_s)
    notes: list[Note] = []
    words: list[str] = []
    slot = 0
    while slot < num_slots:
        last_slot = min(slot + int(rng.integers(*LINE_SLOTS)), num_slots)
        syllables: list[tuple[str, str, str]] = []
        while slot < last_slot:
            if not syllables:
                syllables = list(random_word(rng, split=split))
                words.append("".join("".join(syllable) for syllable in syllables))
            num_taken = 2 if slot + 2 <= last_slot and rng.random() < DOUBLE_SHARE else 1
            start_s = first_s + slot * slot_s
            notes.append(
                note_of(
                    syllables.pop(0),
                    key=key,
                    start_s=start_s,
                    end_s=start_s + num_taken * slot_s * SOUNDING_SHARE,
                    loudness=STRESSED if slot % BAR_SLOTS == 0 else UNSTRESSED,
                )
            )
            slot += num_taken
        slot += int(rng.integers(*BREATH_SLOTS))
    return perform(rng, singer, notes, text=" ".join(words), seconds=seconds)
