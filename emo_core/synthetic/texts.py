"""What the generated voices say, each text in exactly one split.

Sentences are written for this project, one list per language in data/sentences.json; the split of
a sentence follows from its place in the list. Numbers, times and made-up words are drawn
until one belongs to the wanted split: theirs follows from a checksum of the text itself. So no
text of one split can come up in another.
"""

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InputError

SPLITS = ("train", "validation", "test")
DATA_FOLDER = Path(__file__).parent / "data"

SPLIT_OF_TENTH = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2
"""The split of a text by the last digit of its place or checksum."""

NUMBER_LANGUAGES = tuple(
    "af bg ca da et fa he hr hu is lt lv ms nb sk sl sq sr ta te bn ur ka hy uk ro eu cy ga mk ar "
    "az kk th gu kn ml mr pa si my yue eo la lb mt ku uz tt ia ht mi".split()
)
"""Languages of espeak-ng that read numbers, and for which there are no sentences here."""

NON_LATIN_LANGUAGES = frozenset({"ru", "ja", "cmn", "hi", "el", "ko"})
"""Languages with sentences, but without made-up words: those are spelled in Latin letters."""

ONSETS = "b d f g h k l m n p r s t v w z sh y bl pr st kr fl".split()
NUCLEI = "a a e i o u ai au".split()
CODAS = ("", "", "", "m", "n", "l", "s", "p")


def check_split(split: str) -> None:
    """Raises InputError unless the split is one of SPLITS."""
    if split not in SPLITS:
        raise InputError(f"split: got {split!r}. Expected one of {', '.join(SPLITS)}.")


def split_of(text: str) -> str:
    """The only split in which a number text or a made-up word may be said."""
    return SPLIT_OF_TENTH[zlib.crc32(text.encode("utf-8")) % len(SPLIT_OF_TENTH)]


def sentences(language: str, *, split: str) -> tuple[str, ...]:
    """The sentences of a language that belong to the split; empty for number languages."""
    return tuple(
        sentence
        for place, sentence in enumerate(_all_sentences().get(language, ()))
        if SPLIT_OF_TENTH[place % len(SPLIT_OF_TENTH)] == split
    )


def sentence_languages() -> tuple[str, ...]:
    """The languages for which there are sentences."""
    return tuple(_all_sentences())


def random_text(rng: np.random.Generator, *, split: str, language: str) -> str:
    """A sentence, a number text or a few made-up words for a voice of the language."""
    choices = sentences(language, split=split)
    kind = rng.random()
    if choices and kind < 0.6:
        return choices[rng.integers(len(choices))]
    if choices and language not in NON_LATIN_LANGUAGES and kind < 0.8:
        words = [random_word(rng, split=split) for _ in range(rng.integers(2, 6))]
        return " ".join("".join("".join(syllable) for syllable in word) for word in words)
    return _random_numbers(rng, split=split)


def random_word(rng: np.random.Generator, *, split: str) -> tuple[tuple[str, str, str], ...]:
    """A made-up word of one to three syllables, each (onset, nucleus, coda) in Latin letters."""
    while True:
        word = tuple(
            (
                ONSETS[rng.integers(len(ONSETS))],
                NUCLEI[rng.integers(len(NUCLEI))],
                CODAS[rng.integers(len(CODAS))],
            )
            for _ in range(rng.integers(1, 4))
        )
        if split_of("".join(part for syllable in word for part in syllable)) == split:
            return word


def _random_numbers(rng: np.random.Generator, *, split: str) -> str:
    """One to four numbers or times of day as digits, every one of them of the split."""
    numbers: list[str] = []
    num_numbers = rng.integers(1, 5)
    while len(numbers) < num_numbers:
        form = rng.integers(4)
        if form == 0:
            number = str(rng.integers(100))
        elif form == 1:
            number = str(rng.integers(100, 10000))
        elif form == 2:
            number = f"{rng.integers(24)}:{rng.integers(60):02d}"
        else:
            number = f"{rng.integers(1, 29)} {rng.integers(1900, 2100)}"
        if split_of(number) == split:
            numbers.append(number)
    return ", ".join(numbers)


@cache
def _all_sentences() -> dict[str, list[str]]:
    return json.loads((DATA_FOLDER / "sentences.json").read_text(encoding="utf-8"))
