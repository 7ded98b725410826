"""Generated voices: exact, repeatable, never shared by two splits, and in time with the mouth."""

import itertools

import numpy as np
import pytest
from scipy import signal

from emo_core.errors import InputError
from emo_core.synthetic.acoustics import random_background, random_equalizer, random_room
from emo_core.synthetic.espeak import speak
from emo_core.synthetic.texts import (
    SPLITS,
    random_text,
    random_word,
    sentence_languages,
    sentences,
    split_of,
)
from emo_core.synthetic.voices import (
    ARTICULATION_CHANNELS,
    SINGERS,
    SPEAKERS,
    articulation,
    random_utterance,
    utterance_of_kind,
)

RATE_HZ = 22050
HISSES = "sz\u0283\u0292\u0255\u0291"


@pytest.fixture(scope="module")
def utterances():
    return {
        split: [random_utterance(split, index, seconds=3.0) for index in range(40)]
        for split in SPLITS
    }


@pytest.mark.parametrize("seconds", [0.04, 0.3, 1.0, 2.717, 7.0])
def test_length_is_exact(seconds):
    for index in range(8):
        utterance = random_utterance("train", index, seconds=seconds)
        assert utterance.samples.shape == (round(seconds * utterance.sample_rate_hz),)
        assert all(phoneme.end_s <= seconds for phoneme in utterance.phonemes)


def test_samples_are_finite_and_never_clipped(utterances):
    for utterance in sum(utterances.values(), []):
        assert utterance.samples.dtype == np.float32
        assert np.isfinite(utterance.samples).all()
        assert np.abs(utterance.samples).max() < 0.98


def test_same_number_is_the_same_voice_whatever_was_made_before(utterances):
    for index in (0, 2, 6, 11):
        again = random_utterance("validation", index, seconds=3.0)
        before = utterances["validation"][index]
        np.testing.assert_array_equal(again.samples, before.samples)
        assert again.phonemes == before.phonemes and again.text == before.text


def test_splits_share_no_voice_and_no_phrase(utterances):
    voices, phrases = {}, {}
    for split, made in utterances.items():
        voices[split] = {one.voice for one in made if one.voice}
        phrases[split] = {part for one in made if one.text for part in one.text.split(" | ")}
        assert len(voices[split]) > 8 and len(phrases[split]) > 20
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not voices[first] & voices[second]
        assert not phrases[first] & phrases[second]


def test_speakers_and_singers_are_partitioned():
    for table in (SPEAKERS, SINGERS):
        everyone = [voice for split in SPLITS for voice in table[split]]
        assert len(everyone) == len(set(everyone))


def test_espeak_knows_every_speaker():
    plain = speak("hello my friend", "en").samples
    for variant in sum(SPEAKERS.values(), []):
        samples = speak("hello my friend", f"en+{variant}").samples
        assert len(samples) != len(plain) or not np.array_equal(samples, plain), variant
        assert np.sqrt(np.mean(samples**2)) > 0.01, variant


def test_every_speaker_says_the_same_the_same_way():
    """Some of espeak-ng's variants do not, in any of its calls; none of them is a speaker."""
    changing = []
    for variant in sorted(itertools.chain(*SPEAKERS.values())):
        voice = f"en-us+{variant}"
        first, again = (speak("Seven thick fish in a vase.", voice, seed=3) for _ in range(2))
        if not np.array_equal(first.samples, again.samples):
            changing.append(variant)
    assert not changing


def test_every_language_has_sentences_in_every_split_and_shares_none():
    for language in sentence_languages():
        by_split = [set(sentences(language, split=split)) for split in SPLITS]
        assert all(by_split)
        assert sum(map(len, by_split)) == len(set.union(*by_split))


@pytest.mark.parametrize("split", SPLITS)
def test_drawn_texts_belong_to_the_split(split):
    rng = np.random.default_rng(5)
    for _ in range(50):
        word = random_word(rng, split=split)
        assert split_of("".join(part for syllable in word for part in syllable)) == split
        for number in random_text(rng, split=split, language="uk").split(", "):
            assert split_of(number) == split


def test_all_kinds_occur_about_as_often_as_promised():
    kinds = [random_utterance("train", index, seconds=1.5).kind for index in range(300)]
    # 3 sigma of 300 draws is 0.07 for the songs and 0.04 for the silence.
    assert kinds.count("song") / 300 == pytest.approx(0.20, abs=0.07)
    assert kinds.count("silence") / 300 == pytest.approx(0.05, abs=0.04)


def test_what_a_number_names_stays():
    """Training data and published measurements rest on these."""
    speech = random_utterance("test", 0, seconds=4.0)
    assert (speech.kind, speech.language, speech.voice) == ("speech", "tr", "klatt6")
    assert speech.text.startswith("\xc7ocuklar duvara")
    song = random_utterance("test", 7, seconds=4.0)
    assert (song.kind, song.voice, len(song.phonemes)) == ("song", "singer 87", 33)
    assert song.text == "stozup raimsus wailvoshim kuplaimdau siyom"
    assert song.phonemes[0].start_s == pytest.approx(0.279292, abs=1e-6)


@pytest.mark.parametrize("language", ["en-us", "ru", "ja"])
def test_speech_of_a_language(language):
    for index in range(3):
        utterance = utterance_of_kind("speech", "test", index, seconds=4.0, language=language)
        assert (utterance.kind, utterance.language) == ("speech", language)
        assert utterance.voice in SPEAKERS["test"] and utterance.phonemes


@pytest.mark.parametrize("kind", ["song", "rhythm"])
def test_singers_of_a_kind(kind):
    voices = [utterance_of_kind(kind, "test", index, seconds=4.0) for index in range(6)]
    assert {voice.kind for voice in voices} == {kind}
    assert {voice.voice for voice in voices} <= {f"singer {number}" for number in SINGERS["test"]}
    assert len({voice.text for voice in voices}) == 6
    again = utterance_of_kind(kind, "test", 3, seconds=4.0)
    np.testing.assert_array_equal(again.samples, voices[3].samples)
    lengths = [
        np.median([sound.end_s - sound.start_s for sound in voice.phonemes]) for voice in voices
    ]
    if kind == "rhythm":
        assert max(lengths) < 0.1


def test_silence_is_a_room_with_noise():
    for index in range(4):
        room = utterance_of_kind("silence", "test", index, seconds=2.0)
        assert room.phonemes == () and room.kind == "silence"
        assert 0.09 < np.abs(room.samples).max() < 0.98
        assert np.sqrt(np.mean(room.samples**2)) > 0.01
        assert (articulation(room, fps=25.0, num_frames=50) == 0).all()


@pytest.mark.parametrize(
    ("kind", "index", "language"),
    [("opera", 0, ""), ("song", -1, ""), ("speech", 0, ""), ("speech", 0, "uk")],
)
def test_kinds_that_do_not_exist_are_refused(kind, index, language):
    with pytest.raises(InputError, match="Expected one of"):
        utterance_of_kind(kind, "test", index, seconds=1.0, language=language)


def test_articulation_follows_the_utterance(utterances):
    for utterance in utterances["test"]:
        mouth_FC = articulation(utterance, fps=25.0, num_frames=100)
        assert mouth_FC.shape == (100, len(ARTICULATION_CHANNELS))
        assert np.isfinite(mouth_FC).all()
        if utterance.kind == "silence":
            assert (mouth_FC == 0).all()
        else:
            assert mouth_FC[:75, 0].max() > 0.2
        assert (mouth_FC[79:, 0] == 0).all(), "closed after the end of the sound"


@pytest.mark.parametrize("arguments", [("dev", 0, 1.0), ("train", -1, 1.0), ("train", 0, 0.0)])
def test_bad_arguments_are_refused(arguments):
    split, index, seconds = arguments
    with pytest.raises(InputError, match="[Ee]xpected"):
        random_utterance(split, index, seconds=seconds)


def test_unknown_language_is_refused():
    with pytest.raises(InputError, match="xx-none"):
        speak("hello", "xx-none+f1")


@pytest.mark.parametrize("voice", ["en-us+f2", "ru+m1", "it+klatt", "es+Andy"])
@pytest.mark.parametrize("words_per_minute", [130, 220])
def test_hisses_are_heard_when_the_phonemes_say(voice, words_per_minute):
    language = voice.split("+")[0]
    text = " ".join(sentences(language, split="train"))
    spoken = speak(text, voice, words_per_minute=words_per_minute)
    high = signal.sosfiltfilt(
        signal.butter(4, 4000, "high", fs=RATE_HZ, output="sos"), spoken.samples
    )
    num_ms = int(len(high) / RATE_HZ * 1000) - 1
    loudness = np.sqrt(np.convolve(high**2, np.full(220, 1 / 220), "same"))
    loudness = loudness[(np.arange(num_ms) * RATE_HZ / 1000).astype(int)]
    expected = np.zeros(num_ms)
    for phoneme in spoken.phonemes:
        if set(phoneme.name) & set(HISSES):
            expected[int(phoneme.start_s * 1000) : int(phoneme.end_s * 1000)] = 1
    lags_ms = np.arange(-80, 81)
    matches = [np.corrcoef(np.roll(expected, lag), loudness)[0, 1] for lag in lags_ms]
    assert abs(lags_ms[int(np.argmax(matches))]) <= 10
    assert max(matches) > 0.3


@pytest.mark.parametrize("voice", ["en-us+m3", "de+Andy", "en-us+klatt2", "es+f1"])
def test_lips_are_closed_while_a_labial_is_quiet(voice):
    spoken = speak("a papa, a baby, appear, happy, about, a puppy.", voice)
    vowels, closures = [], []
    for phoneme in spoken.phonemes:
        place = slice(int(phoneme.start_s * RATE_HZ), int(phoneme.end_s * RATE_HZ))
        name = phoneme.name.strip("\u02c8\u02cc\u02d0")
        if name in ("p", "b") and phoneme.end_s - phoneme.start_s < 0.12:
            closures.append(np.sqrt(np.mean(spoken.samples[place] ** 2)))
        elif name in ("a", "\u0250", "i", "a\u028a", "\xe6", "\u028c", "o", "e"):
            vowels.append(np.sqrt(np.mean(spoken.samples[place] ** 2)))
    assert len(closures) >= 6 and len(vowels) >= 6
    assert np.median(closures) < 0.35 * np.median(vowels)


@pytest.mark.parametrize("seed", range(12))
def test_background_has_unit_power(seed):
    rng = np.random.default_rng(seed)
    background = random_background(rng, num_samples=20001, sample_rate_hz=RATE_HZ)
    assert background.shape == (20001,)
    assert np.mean(background**2) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("effect", [random_room, random_equalizer])
@pytest.mark.parametrize("seed", range(5))
def test_effects_do_not_delay_the_voice(effect, seed):
    click = np.zeros(RATE_HZ)
    click[5000] = 1.0
    heard = effect(np.random.default_rng(seed), click, sample_rate_hz=RATE_HZ)
    assert heard.shape == click.shape
    assert int(np.argmax(np.abs(heard))) == 5000
