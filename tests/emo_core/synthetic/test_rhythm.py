"""Rap: the beat that was written is the beat that is heard."""

import numpy as np
import pytest

from emo_core.synthetic.articulation import articulate
from emo_core.synthetic.rhythm import SLOT_S, SOUNDING_SHARE, rap
from emo_core.synthetic.singing import Song, random_singer
from emo_core.synthetic.vocal_tract import SAMPLE_RATE_HZ

SECONDS = 8.0


@pytest.fixture(scope="module", params=range(4))
def song(request: pytest.FixtureRequest) -> Song:
    rng = np.random.default_rng(request.param)
    return rap(rng, random_singer(rng), split="train", seconds=SECONDS)


def slot_of(song: Song) -> float:
    return min(note.end_s - note.start_s for note in song.notes) / SOUNDING_SHARE


def test_syllables_are_short_and_stand_on_one_beat(song):
    slot_s = slot_of(song)
    assert SLOT_S[0] <= slot_s <= SLOT_S[1]
    starts = np.array([note.start_s for note in song.notes])
    places = (starts - starts[0]) / slot_s
    assert places == pytest.approx(places.round(), abs=1e-6)
    assert set(np.diff(places.round())) <= {1, 2, 3, 4, 5, 6}
    taken = [(note.end_s - note.start_s) / slot_s / SOUNDING_SHARE for note in song.notes]
    assert set(np.round(taken, 6)) == {1.0, 2.0}
    assert len(song.notes) > 3.5 * SECONDS


def test_one_pitch(song):
    assert len({note.frequency_hz for note in song.notes}) == 1


def test_sounds_lie_inside_their_syllables_and_before_the_end(song):
    for note in song.notes:
        inside = [
            sound
            for sound in song.phonemes
            if note.start_s - 1e-9 <= sound.start_s and sound.end_s <= note.end_s + 1e-9
        ]
        assert inside
    assert song.phonemes[-1].end_s <= SECONDS
    assert len(song.samples) == round(SECONDS * SAMPLE_RATE_HZ)


def test_it_is_loud_where_it_has_sounds_and_silent_elsewhere(song):
    time_s = np.arange(len(song.samples)) / SAMPLE_RATE_HZ
    is_sounding = np.zeros(len(time_s), bool)
    for sound in song.phonemes:
        is_sounding |= (time_s > sound.start_s - 0.03) & (time_s < sound.end_s + 0.03)
    assert np.abs(song.samples[~is_sounding]).max() < 1e-6
    assert np.sqrt(np.mean(song.samples[is_sounding] ** 2)) > 0.05


def test_the_mouth_keeps_the_beat(song):
    """What the mouth does most often in a second is a syllable."""
    mouth_F = articulate(song.phonemes, fps=100.0, num_frames=round(100 * SECONDS))[:, 0]
    power = np.abs(np.fft.rfft(mouth_F - mouth_F.mean())) ** 2
    frequency_hz = np.fft.rfftfreq(len(mouth_F), 0.01)
    is_fast = frequency_hz > 4.0
    beat_hz = frequency_hz[is_fast][power[is_fast].argmax()]
    assert beat_hz == pytest.approx(1 / slot_of(song), rel=0.04)


def test_no_room_is_silence():
    rng = np.random.default_rng(0)
    song = rap(rng, random_singer(rng), split="test", seconds=0.2)
    assert song.notes == () and not song.samples.any()
