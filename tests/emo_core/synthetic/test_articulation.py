"""Mouth shapes: what must be seen for which sound, whatever the frame rate does to it.

IPA is written in ASCII here, close to X-SAMPA: see `ipa`.
"""

import json

import numpy as np
import pytest

from emo_core.synthetic.articulation import articulate, mouth_shapes
from emo_core.synthetic.espeak import Phoneme, speak
from emo_core.synthetic.texts import DATA_FOLDER

FPS = 25.0
OPEN, WIDTH, ROUND, TEETH, TONGUE = range(5)
ASCII_TO_IPA = str.maketrans(
    {
        "'": "\u02c8",  # primary stress
        ",": "\u02cc",  # secondary stress
        ":": "\u02d0",  # long
        "~": "\u0303",  # nasal
        "J": "\u02b2",  # palatalized
        "A": "\u0251",
        "E": "\u025b",
        "G": "\u0261",
        "I": "\u026a",
        "N": "\u014b",
        "S": "\u0283",
        "T": "\u03b8",
    }
)


def ipa(name: str) -> str:
    """The phoneme that espeak-ng would give."""
    return name.translate(ASCII_TO_IPA)


def sequence(*sounds: tuple[str, float], start_s: float = 0.0) -> list[Phoneme]:
    """Phonemes that follow each other without gaps; "" is a pause."""
    phonemes = []
    for name, length_s in sounds:
        phonemes.append(Phoneme(ipa(name), start_s, start_s + length_s))
        start_s += length_s
    return phonemes


def middle(*sounds: tuple[str, float], index: int) -> np.ndarray:
    """(5,) the mouth in the middle of one of the sounds."""
    phonemes = sequence(*sounds, start_s=0.4)
    centre_s = (phonemes[index].start_s + phonemes[index].end_s) / 2
    mouth_TC = articulate(phonemes, fps=200.0, num_frames=400)
    return mouth_TC[round(centre_s * 200 - 0.5)]


@pytest.mark.parametrize("consonant", ["m", "b", "p"])
@pytest.mark.parametrize("length_s", [0.012, 0.03, 0.07])
@pytest.mark.parametrize("shift_s", np.arange(0, 0.04, 0.004))
def test_lips_meet_in_one_frame_of_every_labial(consonant, length_s, shift_s):
    phonemes = sequence(("'a:", 0.2), (consonant, length_s), ("'a:", 0.2), start_s=0.3 + shift_s)
    mouth_FC = articulate(phonemes, fps=FPS, num_frames=25)
    closure_frame = int((phonemes[1].start_s + phonemes[1].end_s) / 2 * FPS)
    assert mouth_FC[closure_frame - 1 : closure_frame + 2, OPEN].min() < 0.01
    assert mouth_FC[:closure_frame, OPEN].max() > 0.8
    assert mouth_FC[closure_frame:, OPEN].max() > 0.8


def test_vowels_differ_as_they_do_in_a_face():
    a = middle(("t", 0.06), ("'A:", 0.25), ("t", 0.06), index=1)
    i = middle(("t", 0.06), ("'i:", 0.25), ("t", 0.06), index=1)
    u = middle(("t", 0.06), ("'u:", 0.25), ("t", 0.06), index=1)
    assert a[OPEN] > 0.9 and i[OPEN] < 0.4 and u[OPEN] < 0.3
    assert i[WIDTH] > 0.5 and abs(a[WIDTH]) < 0.3 and u[WIDTH] < -0.5
    assert u[ROUND] > 0.9 and a[ROUND] < 0.05 and i[ROUND] < 0.05


def test_consonants_show_lips_teeth_or_tongue():
    f, s, sh, th = (middle(("a", 0.1), (name, 0.09), ("a", 0.1), index=1) for name in "fsST")
    assert f[OPEN] < 0.25 and f[TEETH] > 0.75
    assert s[OPEN] < 0.3 and s[TEETH] > 0.8 and s[TONGUE] < 0.3
    assert sh[ROUND] > 0.5 and s[ROUND] < 0.1
    assert th[TONGUE] > 0.7


@pytest.mark.parametrize("name", ["k", "G", "h", "N"])
def test_sounds_made_inside_take_their_neighbours_lips(name):
    between_a = middle(("'a", 0.12), (name, 0.06), ("'a", 0.12), index=1)
    between_u = middle(("'u", 0.12), (name, 0.06), ("'u", 0.12), index=1)
    assert between_a[OPEN] > 0.6 and between_a[ROUND] < 0.05
    assert between_u[OPEN] < 0.35 and between_u[ROUND] > 0.85


def test_mouth_is_closed_in_silence_but_for_its_edges():
    phonemes = sequence(("'a:", 0.3), ("", 0.5), ("'a:", 0.3), start_s=0.5)
    mouth_FC = articulate(phonemes, fps=200.0, num_frames=400)
    centre_s = (np.arange(400) + 0.5) / 200
    before, after = centre_s < 0.5 - 0.1, centre_s > 1.6 + 0.08
    pause = (centre_s > 0.8 + 0.08) & (centre_s < 1.3 - 0.1)
    assert (mouth_FC[before | pause | after, OPEN] == 0).all()
    assert mouth_FC[(centre_s > 0.6) & (centre_s < 0.75), OPEN].min() > 0.9


def test_mouth_stays_open_between_two_words():
    assert middle(("'a", 0.15), ("", 0.06), ("'a", 0.15), index=1)[OPEN] > 0.6


def test_mouth_opens_a_little_before_the_sound():
    mouth_FC = articulate([Phoneme(ipa("'a"), 0.5, 0.8)], fps=100.0, num_frames=100)
    centre_s = (np.arange(100) + 0.5) / 100
    first_open_s = centre_s[mouth_FC[:, OPEN] > 0.05][0]
    assert 0.40 < first_open_s < 0.5


def test_no_phonemes_is_a_closed_mouth():
    assert (articulate([], fps=FPS, num_frames=7) == 0).all()


def test_diphthongs_and_affricates_move():
    glide = mouth_shapes(ipa("'aI"))
    assert [shape.target_C[OPEN] for shape in glide] == sorted(
        (shape.target_C[OPEN] for shape in glide), reverse=True
    )
    assert len(glide) == 2
    first, second = mouth_shapes(ipa("tS"))
    assert first.target_C[ROUND] == 0 and second.target_C[ROUND] > 0.5


def test_stress_and_length_open_a_vowel_but_no_closure():
    names = [ipa(name) for name in ("E", ",E", "'E", "'E:")]
    openings = [mouth_shapes(name)[0].target_C[OPEN] for name in names]
    assert openings == sorted(openings) and len(set(openings)) == 4
    assert mouth_shapes(ipa("'m"))[0].target_C[OPEN] == 0


def test_diacritics_do_not_hide_the_letter():
    assert mouth_shapes(ipa("'A~")) == mouth_shapes(ipa("'A"))
    assert mouth_shapes(ipa("u~")) == mouth_shapes("u")
    assert mouth_shapes(ipa("pJ")) == mouth_shapes("p")


def test_a_change_of_language_is_not_a_sound():
    with_mark = [Phoneme("(en)", 0.0, 0.2), Phoneme("a", 0.5, 0.7)]
    expected = articulate(with_mark[1:], fps=FPS, num_frames=25)
    np.testing.assert_array_equal(articulate(with_mark, fps=FPS, num_frames=25), expected)


def test_every_letter_of_every_sentence_has_a_shape_of_its_own():
    unknown = mouth_shapes("\u4e00")
    texts = json.loads((DATA_FOLDER / "sentences.json").read_text(encoding="utf-8"))
    for language, sentences in texts.items():
        for phoneme in speak(" ".join(sentences), language, words_per_minute=400).phonemes:
            if any(letter.isalpha() for letter in phoneme.name.strip(ipa("',:"))):
                shapes = mouth_shapes(phoneme.name)
                is_modifier_only = phoneme.name == ipa("J")
                assert is_modifier_only or unknown[0] not in shapes, (language, phoneme.name)


def test_shapes_use_the_whole_range_and_no_more():
    phonemes = [
        phoneme
        for phoneme in speak("Many brave papas sing about blue shoes, wow!", "en-us").phonemes
        if phoneme.name
    ]
    mouth_FC = articulate(phonemes, fps=FPS, num_frames=100)
    assert mouth_FC.dtype == np.float32 and mouth_FC.shape == (100, 5)
    assert np.isfinite(mouth_FC).all()
    assert mouth_FC[:, [OPEN, ROUND, TEETH, TONGUE]].min() >= 0 and mouth_FC.max() <= 1
    assert mouth_FC[:, WIDTH].min() >= -1
    speaking = mouth_FC[: int(phonemes[-1].end_s * FPS), OPEN]
    assert 0.2 < speaking.mean() < 0.45 and speaking.max() > 0.75
