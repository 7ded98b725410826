"""Brows, lids and cheeks that go with the voice."""

import numpy as np
import pytest

from emo_core.synthetic.espeak import Phoneme
from emo_core.synthetic.expression import expressive
from emo_core.synthetic.motion import HeadMotion, random_motion
from emo_core.synthetic.voices import random_utterance

FPS = 25.0
NUM_FRAMES = 100
CHANGED = {"brow_raise", "smile", "blink_left", "blink_right"}


def still() -> HeadMotion:
    zeros = np.zeros(NUM_FRAMES, np.float32)
    return HeadMotion(*[zeros] * 11)


def faces(phonemes: list[Phoneme], *, first_frame: int = 0, count: int = 40) -> list[HeadMotion]:
    return [
        expressive(still(), phonemes, np.random.default_rng(seed), fps=FPS, first_frame=first_frame)
        for seed in range(count)
    ]


def test_brows_rise_on_some_stressed_syllables_and_nowhere_else() -> None:
    brows = [f.brow_raise for f in faces([Phoneme("ˈa", 1.9, 2.1)])]
    raised = [brow for brow in brows if brow.max() > 0.1]
    assert 8 <= len(raised) <= 32
    for brow in raised:
        assert abs((int(brow.argmax()) + 0.5) / FPS - 1.94) <= 1 / FPS
        assert not brow[:40].any() and not brow[60:].any()
    unstressed = faces([Phoneme("a", 1.9, 2.1)])
    assert not any(f.brow_raise.any() or f.smile.any() for f in unstressed)


def test_frames_may_begin_anywhere_in_the_sound() -> None:
    for whole, part in zip(
        faces([Phoneme("ˈa", 1.9, 2.1)]),
        faces([Phoneme("ˈa", 1.9, 2.1)], first_frame=30),
        strict=True,
    ):
        np.testing.assert_allclose(whole.brow_raise[30:], part.brow_raise[:-30], atol=1e-6)


def test_held_notes_lift_brows_and_narrow_eyes() -> None:
    for face in faces([Phoneme("aː", 1.0, 2.5)]):
        middle = slice(round(1.3 * FPS), round(2.2 * FPS))
        assert face.brow_raise[middle].min() > 0.1
        assert 0.05 < face.blink_left[middle].min() <= face.blink_left.max() < 0.5
    assert not any(f.blink_left.any() for f in faces([Phoneme("aː", 1.0, 1.2)]))


def test_eyes_close_after_some_phrases() -> None:
    two = [Phoneme("a", 0.5, 0.7), Phoneme("a", 1.5, 1.7)]
    lids = [f.blink_left for f in faces(two)]
    closing = [lid for lid in lids if lid.max() > 0.9]
    assert 8 <= len(closing) <= 32
    assert all(abs((int(lid.argmax()) + 0.5) / FPS - 0.82) <= 1 / FPS for lid in closing)


@pytest.mark.parametrize("index", [2, 5])
def test_a_real_voice_moves_the_face_within_its_ranges_and_not_the_head(index: int) -> None:
    utterance = random_utterance("train", index, seconds=4.0)
    assert any("ˈ" in phoneme.name for phoneme in utterance.phonemes)
    motion = random_motion(
        np.random.default_rng(1), num_frames=NUM_FRAMES, fps=FPS, speed_deg_s=20.0
    )
    face = expressive(motion, utterance.phonemes, np.random.default_rng(2), fps=FPS, first_frame=0)
    for name, values in vars(face).items():
        assert values.dtype == np.float32 and values.shape == (NUM_FRAMES,), name
        is_kept = np.array_equal(values, getattr(motion, name))
        assert is_kept or name in CHANGED, name
    assert np.abs(face.brow_raise - motion.brow_raise).max() > 0.05
    assert face.smile.max() <= 1.0 and np.abs(face.brow_raise).max() <= 1.0
    assert 0.0 <= face.blink_left.min() and face.blink_left.max() <= 1.0
