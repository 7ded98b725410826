"""The numbers of several seeds in one."""

import dataclasses

import pytest

from emo_core.evaluation.listening import Group, Listening
from emo_core.evaluation.results import Results
from emo_core.evaluation.seeds import summarise


def results(metrics: dict[str, float | None], languages: dict[str, float]) -> Results:
    """Only what is summed up."""
    groups = {
        name: Group(correlation=value, lag_frames=0, standard_error=0.0, num_films=1)
        for name, value in languages.items()
    }
    known = {"by_language": groups, "by_kind": {"speech": groups["ru"]}}
    listening = Listening(**empty(Listening) | known)
    return Results(**empty(Results) | {"metrics": metrics, "listening": listening})


def empty(of: type) -> dict[str, None]:
    return {field.name: None for field in dataclasses.fields(of)}


def test_means_and_spread():
    first = results({"seam_ratio": 1.2, "lip_sync_worst_language": 0.6}, {"ru": 0.6, "fr": 0.9})
    second = results({"seam_ratio": 1.0, "lip_sync_worst_language": 0.7}, {"ru": 0.8, "fr": 0.7})
    summary = summarise([first, second])
    assert summary.metrics["seam_ratio"] == pytest.approx(1.1)
    assert summary.spread["seam_ratio"] == pytest.approx(0.2)
    assert summary.lip_sync_by_language == pytest.approx({"ru": 0.7, "fr": 0.8})
    assert summary.language_spread == pytest.approx({"ru": 0.2, "fr": 0.2})
    assert summary.lip_sync_by_kind == pytest.approx({"speech": 0.7})
    assert summary.metrics["lip_sync_worst_language"] == pytest.approx(0.7)


def test_one_seed_is_itself():
    alone = results({"seam_ratio": 1.2, "lip_sync_worst_language": 0.6}, {"ru": 0.6})
    summary = summarise([alone])
    assert summary.metrics == alone.metrics
    assert set(summary.spread.values()) == {0.0}


def test_what_a_seed_does_not_show_does_not_count():
    names = ("lip_sync_song", "lip_sync_rhythm", "lip_sync_worst_language")
    first = results(dict.fromkeys(names), {"ru": 0.5})
    second = results({**dict.fromkeys(names), "lip_sync_song": 0.8}, {"ru": 0.7})
    summary = summarise([first, second])
    assert summary.metrics["lip_sync_song"] == 0.8 and summary.spread["lip_sync_song"] == 0.0
    assert summary.metrics["lip_sync_rhythm"] is None and summary.spread["lip_sync_rhythm"] is None
