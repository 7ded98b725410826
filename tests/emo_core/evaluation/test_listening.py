"""Lip sync by kind and language, and silence, on films whose readings are known."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from emo_core.evaluation.cases import Case, make_cases
from emo_core.evaluation.films import Film
from emo_core.evaluation.listening import listen
from emo_core.evaluation.measures import correlation


@pytest.fixture(scope="module")
def talk() -> tuple[Case, ...]:
    cases = make_cases(
        num_clips=6, seed=2, num_speed_portraits=1, speed_seconds=0.6, long_seconds=1.0
    )
    return cases.talk


def film_of(case: Case, mouth_open_F: np.ndarray) -> Film:
    return Film(
        case=case,
        mouth_open_F=mouth_open_F,
        speed_F=np.zeros(case.num_frames),
        identity_FD=np.zeros((case.num_frames, 2)),
        differences=np.zeros(case.num_frames - 1),
        color_F3=np.zeros((case.num_frames, 3)),
        region_share=1.0,
        motion_in_region=1.0,
        key_frames=torch.zeros(1, 4, 4, 3, dtype=torch.uint8),
        key_indices=(0,),
    )


def films(talk: tuple[Case, ...], read: Callable[[Case], np.ndarray]) -> list[Film]:
    return [film_of(case, read(case)) for case in talk]


def test_the_truth_is_perfect_in_every_group(talk):
    heard = listen(films(talk, lambda case: case.mouth_open))
    assert list(heard.by_kind) == ["speech", "song", "rhythm"]
    assert list(heard.by_language) == ["en-us", "cmn", "ru"]
    for group in (*heard.by_kind.values(), *heard.by_language.values()):
        assert group.correlation == pytest.approx(1.0) and group.lag_frames == 0
    assert heard.by_kind["speech"].num_films == 3
    assert heard.synced.correlation == pytest.approx(1.0)
    assert heard.at_rest == 1.0
    assert heard.num_silent_frames == sum(int(case.is_silent.sum()) for case in talk) > 100


@pytest.mark.parametrize(
    ("kind", "language"), [("speech", "cmn"), ("song", ""), ("rhythm", ""), ("speech", "ru")]
)
def test_one_bad_voice_shows_in_its_own_group_only(talk, kind, language):
    def read(case: Case) -> np.ndarray:
        is_bad = (case.utterance.kind, case.utterance.language) == (kind, language)
        return -case.mouth_open if is_bad else case.mouth_open

    heard = listen(films(talk, read))
    groups = {**heard.by_language, **heard.by_kind}
    bad = {language or kind} | ({"speech"} if kind == "speech" else set())
    for name, group in groups.items():
        assert (group.correlation < 0.9) == (name in bad), name
    assert groups[language or kind].correlation == pytest.approx(-1.0)


def test_a_group_is_measured_at_the_lag_of_all(talk):
    def read(case: Case) -> np.ndarray:
        return np.roll(case.mouth_open, 4 if case.utterance.kind == "rhythm" else 0)

    heard = listen(films(talk, read))
    assert heard.synced.lag_frames == 0
    late = heard.by_kind["rhythm"]
    assert late.lag_frames == 4
    rhythm = talk[2].mouth_open
    assert late.correlation == pytest.approx(correlation(np.roll(rhythm, 4), rhythm))
    assert late.correlation < 0.5


def test_a_mouth_that_moves_in_silence_is_found_in_all_films(talk):
    """Half of the silent frames of every film, those inside speech too."""

    def read(case: Case) -> np.ndarray:
        mouth = case.mouth_open.copy()
        silent = np.flatnonzero(case.is_silent)
        mouth[silent[::2]] = 0.3
        return mouth

    heard = listen(films(talk, read))
    num_moving = sum(-(-int(case.is_silent.sum()) // 2) for case in talk)
    assert heard.at_rest == pytest.approx(1 - num_moving / heard.num_silent_frames)
    in_speech = sum(int(case.is_silent.sum()) for case in talk if case.utterance.kind == "speech")
    assert in_speech > 0


def test_silent_films_take_no_part_in_lip_sync(talk):
    heard = listen(films(talk, lambda case: case.mouth_open))
    noisy = listen(
        [
            dataclasses.replace(film, mouth_open_F=np.linspace(0, 1, 100))
            if film.case.utterance.kind == "silence"
            else film
            for film in films(talk, lambda case: case.mouth_open)
        ]
    )
    assert noisy.synced.correlation == heard.synced.correlation
    assert noisy.shuffled.correlation == heard.shuffled.correlation
    assert noisy.at_rest < 0.5


def test_without_silence_there_is_no_number(talk):
    loud = [
        dataclasses.replace(case, articulation=np.maximum(case.articulation, 0.02))
        for case in talk
        if case.utterance.kind != "silence"
    ]
    heard = listen(films(tuple(loud), lambda case: case.mouth_open))
    assert heard.at_rest is None and heard.num_silent_frames == 0
