"""The films that a model is asked for."""

import numpy as np
import pytest
import torch

from emo_core.errors import InputError
from emo_core.evaluation.cases import (
    GALLERY_SIZE,
    SPEEDS_DEG_S,
    TALK_VOICES,
    Case,
    CaseSet,
    draw_answer,
    make_cases,
    silent_frames,
)
from emo_core.face.motion import angular_speed, rotation_matrices
from emo_core.synthetic.drawing import face_box
from emo_core.synthetic.motion import face_states
from emo_core.synthetic.portrait import split_of

SMALL = {"num_clips": 4, "num_speed_portraits": 1, "speed_seconds": 1.0, "long_seconds": 2.0}


@pytest.fixture(scope="module")
def cases() -> CaseSet:
    return make_cases(seed=5, **SMALL)


def all_of(cases: CaseSet) -> list[Case]:
    return [*cases.talk, *cases.speed, cases.long]


def test_sizes_and_counts(cases):
    assert [case.num_frames for case in cases.talk] == [100] * 4
    assert [case.speed_deg_s for case in cases.speed] == list(SPEEDS_DEG_S)
    assert cases.long.num_frames == 50
    assert cases.gallery.shape == (GALLERY_SIZE, 128, 128, 3)
    for case in all_of(cases):
        assert case.articulation.shape == (case.num_frames, 5)
        assert case.waveform.duration_s == pytest.approx(case.num_frames / case.fps, abs=1e-4)
        assert 0.0 <= float(case.picture.min()) and float(case.picture.max()) <= 1.0


def test_the_same_seed_gives_the_same_cases_and_another_others(cases):
    again, other = make_cases(seed=5, **SMALL), make_cases(seed=6, **SMALL)
    for case, same in zip(all_of(cases), all_of(again), strict=True):
        assert case.portrait == same.portrait
        assert torch.equal(case.picture, same.picture) and torch.equal(case.region, same.region)
        assert np.array_equal(case.utterance.samples, same.utterance.samples)
    assert torch.equal(cases.gallery, again.gallery)
    assert cases.talk[0].portrait != other.talk[0].portrait
    assert not np.array_equal(cases.talk[0].articulation, other.talk[0].articulation)


def test_nobody_comes_from_training(cases):
    for case in all_of(cases):
        person = case.portrait
        assert split_of(person.style, person.face_shape, person.hair_style) == "test"


def test_talk_films_stand_first_in_the_gallery_and_nobody_twice(cases):
    for index, case in enumerate(cases.talk):
        assert torch.equal(cases.gallery[index], case.picture)
    flat = cases.gallery.flatten(1)
    distance = torch.cdist(flat, flat) + torch.eye(GALLERY_SIZE) * 1e3
    assert float(distance.min()) > 1.0


def test_portraits_rest(cases, loaded_reader):
    reading = loaded_reader.reader.read(cases.gallery)
    assert float(reading.mouth_open_N.mean()) < 0.08
    assert float(reading.pose_N3.abs().amax(dim=0).max()) < 14.0


def test_every_voice_moves_the_mouth_and_silence_does_not(cases):
    for case in all_of(cases):
        if case.name == "talk 03":
            assert case.utterance.kind == "silence" and not case.mouth_open.any()
            assert case.is_silent.all() and case.utterance.samples.any()
        else:
            assert case.utterance.kind != "silence"
            assert case.mouth_open.std() >= 0.12


def test_four_films_have_every_kind(cases):
    kinds = [case.utterance.kind for case in cases.talk]
    assert kinds == ["speech", "song", "rhythm", "silence"]
    assert cases.talk[0].utterance.language == "en-us"


def test_fifty_films_have_every_kind_and_seven_languages_five_times():
    turns = [TALK_VOICES[place % len(TALK_VOICES)] for place in range(GALLERY_SIZE)]
    assert {turns.count(voice) for voice in TALK_VOICES} == {5}
    assert len({language for kind, language in TALK_VOICES if kind == "speech"}) == 7


def test_other_films_do_not_depend_on_the_number_of_talk_films(cases):
    fewer = make_cases(seed=5, **SMALL | {"num_clips": 3})
    for case, same in zip(
        [*fewer.talk, *fewer.speed, fewer.long],
        [*cases.talk[:3], *cases.speed, cases.long],
        strict=True,
    ):
        assert torch.equal(case.picture, same.picture)
        assert np.array_equal(case.utterance.samples, same.utterance.samples)
        assert np.array_equal(case.motion.yaw_deg, same.motion.yaw_deg)


def test_silent_frames_are_closed_and_far_from_any_sound():
    opening = np.zeros(50)
    opening[45:] = 0.5
    is_silent = silent_frames(opening, [(0.9, 1.1)], fps=25.0)
    # Centres are at 0.02 + 0.04 f; within 0.25 s of the sound are those from 0.66 to 1.34 s.
    assert np.flatnonzero(~is_silent).tolist() == [*range(16, 34), *range(45, 50)]
    assert silent_frames(np.zeros(10), [], fps=25.0).all()


def test_pauses_in_speech_are_silent_frames():
    case = next(
        case
        for case in make_cases(seed=0, **SMALL | {"num_clips": 6}).talk
        if case.utterance.kind == "speech" and case.is_silent.any()
    )
    assert not case.is_silent.all()
    assert float(case.mouth_open[case.is_silent].max()) < 0.01
    assert float(case.mouth_open[~case.is_silent].max()) > 0.3


def test_the_true_motion_has_the_speed_and_stays_in_the_region(cases):
    for case in all_of(cases):
        motion = case.motion
        rotations = rotation_matrices(motion.yaw_deg, motion.pitch_deg, motion.roll_deg)
        speed = angular_speed(rotations, fps=case.fps)
        assert speed.mean() == pytest.approx(case.speed_deg_s, rel=0.05)
        assert 0.2 < float(case.region.mean()) < 0.8
        state = face_states(motion, case.articulation)[case.num_frames // 2]
        x0, y0, x1, y1 = (round(edge * 128) for edge in face_box(case.portrait, state))
        assert bool((case.region[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] == 1).all())


def test_the_drawn_answer_shows_the_case(cases):
    case = cases.speed[0]
    frames = draw_answer(case)
    assert frames.shape == (case.num_frames, 128, 128, 3)
    assert frames.dtype == torch.float32 and float(frames.max()) <= 1.0


@pytest.mark.parametrize(("num_clips", "num_people"), [(1, 3), (51, 3), (5, 0)])
def test_impossible_numbers_are_refused(num_clips, num_people):
    with pytest.raises(InputError, match="expected 2 to 50 films"):
        make_cases(num_clips=num_clips, seed=0, num_speed_portraits=num_people)


@pytest.mark.parametrize("seconds", [0.5, 4000.0, float("nan")])
def test_an_impossible_length_is_refused(seconds):
    with pytest.raises(InputError, match="expected 1 to 3600 s"):
        make_cases(num_clips=2, seed=0, long_seconds=seconds)


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed -1"):
        make_cases(num_clips=2, seed=-1)
