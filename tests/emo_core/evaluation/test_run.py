"""The whole chain, with models whose faults are known."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from emo_core.errors import InputError
from emo_core.evaluation.cases import Case, draw_answer
from emo_core.evaluation.run import Made, evaluate

KEYS = {
    "lip_sync_correlation",
    "lip_sync_lag_frames",
    "lip_sync_shuffled",
    "lip_sync_speech",
    "lip_sync_song",
    "lip_sync_rhythm",
    "lip_sync_worst_language",
    "silence_at_rest",
    "identity_top1",
    "speed_rank_correlation",
    "speed_error_middle",
    "region_share",
    "seam_ratio",
    "drift_identity",
    "drift_identity_share",
    "drift_colour",
    "drift_colour_share",
    "sampling_seconds_per_second",
    "making_seconds_per_second",
}
TIMES = {"sampling_seconds_per_second", "making_seconds_per_second"}
NUM_TALK = 4
SECONDS = NUM_TALK * 4.0 + 5 * 0.8 + 2.0
"""Of film for one seed."""


class Answers:
    """Draws every case of seed 1 once, for all models below."""

    def __init__(self) -> None:
        self.films: dict[str, Tensor] = {}

    def __call__(self, case: Case) -> Tensor:
        assert case.seed == 1
        if case.name not in self.films:
            self.films[case.name] = draw_answer(case)
        return self.films[case.name]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation") / "new"


@pytest.fixture(scope="module")
def true_report(answers: Answers, folder: Path) -> dict:
    return measure(answers, folder)


def measure(
    frames_of: Callable[[Case], Tensor], folder: Path, *, seeds: tuple[int, ...] = (1,)
) -> dict:
    return evaluate(
        lambda case: Made(frames_of(case), sampling_s=case.num_frames * 0.01),
        num_clips=NUM_TALK,
        seeds=seeds,
        out_folder=folder,
        title="a known model",
        num_speed_portraits=1,
        speed_seconds=0.8,
        long_seconds=2.0,
    )


def test_the_true_answer_passes_every_target(true_report):
    report = true_report
    assert report["lip_sync_correlation"] > 0.9
    assert report["lip_sync_lag_frames"] == 0
    assert report["lip_sync_shuffled"] < 0.4
    assert report["lip_sync_speech"] > 0.9
    assert report["lip_sync_song"] > 0.9
    assert report["lip_sync_rhythm"] > 0.9
    assert report["lip_sync_by_language"] == {"en-us": report["lip_sync_worst_language"]}
    assert report["lip_sync_worst_language"] == report["lip_sync_speech"]
    assert report["silence_at_rest"] > 0.97
    assert report["speed_error_middle"] < 0.25
    assert report["identity_top1"] > 0.95
    assert report["speed_rank_correlation"] > 0.85
    assert report["region_share"] > 0.98
    assert report["seam_ratio"] == pytest.approx(1.0, abs=0.25)
    assert abs(report["drift_identity"]) < 0.06
    assert report["drift_identity_share"] == pytest.approx(1.0, abs=0.07)
    assert report["drift_colour"] < 4.0
    assert report["drift_colour_share"] == pytest.approx(report["drift_colour"] / 255)


def test_what_is_written(true_report, folder):
    written = json.loads((folder / "metrics.json").read_text())
    assert KEYS | {"lip_sync_by_language", "spread", "details"} == set(written)
    for key in KEYS:
        assert written[key] == pytest.approx(true_report[key], abs=1e-4)
    assert written["spread"] == {**dict.fromkeys(KEYS, 0.0), "lip_sync_by_language": {"en-us": 0.0}}
    details = written["details"]
    assert details["seeds"] == [1] and details["num_clips"] == NUM_TALK
    assert details["num_identities"] == 50 and details["switched_off"] == []
    assert details["reader_errors"]["mouth_open"] > 0
    (of_seed,) = details["by_seed"]
    assert of_seed["seed"] == 1 and set(of_seed["metrics"]) == KEYS
    assert len(of_seed["talk"]) == NUM_TALK and len(of_seed["speed"]) == 5
    assert set(of_seed["standard_errors"]) < KEYS
    assert of_seed["num_silent_frames"] >= 100
    silent = of_seed["talk"][3]
    assert silent["voice"] == "silence" and "lip_sync_correlation" not in silent
    with Image.open(folder / "page.png") as page:
        assert page.width == 1400 and page.height > 700
        assert "generated" in page.info["Comment"]
    with Image.open(folder / "films.webp") as films:
        films.load()  # Only then its duration is known.
        assert films.n_frames == 100 and films.info["duration"] == 40


def test_the_readers_own_error_of_speed_stands_beside(true_report):
    """The true answer is measured as the reader measures it, up to rounding to 8 bits."""
    (of_seed,) = true_report["details"]["by_seed"]
    own_error = of_seed["reader_speed_error_middle"]
    assert 0.0 < own_error == pytest.approx(true_report["speed_error_middle"], abs=0.02)
    for film in of_seed["speed"]:
        assert film["drawn_and_measured_deg_s"] == pytest.approx(film["measured_deg_s"], rel=0.05)


def test_seconds_of_sampling_per_second_of_film(true_report):
    assert true_report["sampling_seconds_per_second"] == pytest.approx(0.25)
    assert true_report["making_seconds_per_second"] > 0.0


def test_seeds_are_measured_apart_and_summed_up_and_a_still_picture_fails(tmp_path):
    def still(case: Case) -> Tensor:
        """Grey with seed 1; the portrait with seed 2."""
        frame = case.picture if case.seed == 2 else torch.full_like(case.picture, 0.5)
        return frame.expand(case.num_frames, -1, -1, -1)

    report = measure(still, tmp_path, seeds=(1, 2))
    first, second = report["details"]["by_seed"]
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["metrics"]["identity_top1"] < 0.5 and second["metrics"]["identity_top1"] == 1.0
    still_portrait = second["metrics"]
    assert still_portrait["lip_sync_correlation"] == 0.0
    assert still_portrait["speed_rank_correlation"] == 0.0
    assert still_portrait["speed_error_middle"] == pytest.approx(1.0)
    assert still_portrait["silence_at_rest"] == 1.0
    assert still_portrait["seam_ratio"] == 1.0
    assert still_portrait["drift_identity_share"] == pytest.approx(1.0)
    assert still_portrait["drift_colour"] == 0.0
    mean = (first["metrics"]["identity_top1"] + 1.0) / 2
    assert report["identity_top1"] == pytest.approx(mean)
    assert report["spread"]["identity_top1"] == pytest.approx(2 * (1.0 - mean))
    assert report["details"]["num_clips"] == 2 * NUM_TALK
    assert first["speed"][0]["drawn_and_measured_deg_s"] != pytest.approx(
        second["speed"][0]["drawn_and_measured_deg_s"], rel=1e-6
    )


def test_no_seed_is_refused(tmp_path):
    with pytest.raises(InputError, match="no seed"):
        measure(draw_answer, tmp_path, seeds=())


def test_a_late_model_is_found_late(answers, tmp_path):
    report = measure(lambda case: answers(case).roll(3, dims=0), tmp_path)
    assert report["lip_sync_lag_frames"] == 3


def test_faults_show_in_their_own_numbers(answers, tmp_path):
    """Another person with another voice, who talks in silence, seams, a head out of its region, a
    fading film, heads that nod at one speed."""

    def faulty(case: Case) -> Tensor:
        if case.name == "long":
            fade = torch.linspace(1.0, 0.8, case.num_frames)[:, None, None, None]
            frames = answers(case) * fade
        elif case.name.startswith("talk"):
            number = (int(case.name.split()[1]) + 1) % NUM_TALK
            frames = answers.films[f"talk {number:02d}"].roll(38, dims=2)
        else:
            frames = answers.films["speed 0 20"]
        clip_index = torch.arange(len(frames)) // 12
        return (frames + 0.06 * (clip_index % 2)[:, None, None, None]).clamp(0, 1)

    report = measure(faulty, tmp_path)
    assert report["lip_sync_correlation"] < 0.5
    assert max(report[f"lip_sync_{kind}"] for kind in ("speech", "song", "rhythm")) < 0.75
    assert report["silence_at_rest"] < 0.9
    assert report["identity_top1"] < 0.5
    assert report["speed_error_middle"] > 0.25
    assert report["region_share"] < 0.95
    assert report["seam_ratio"] > 1.5
    assert report["drift_colour"] > 8.0
    assert report["drift_colour_share"] > 0.03


def test_a_model_that_breaks_its_promise_is_named(answers, tmp_path):
    with pytest.raises(InputError, match="talk 00: the frames have shape"):
        measure(lambda case: answers(case)[1:], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_refuses_is_named_before_the_work(tmp_path):
    (tmp_path / "taken").write_text("a file")

    def never(case: Case) -> Tensor:
        raise AssertionError(case.name)

    with pytest.raises(InputError, match="taken"):
        measure(never, tmp_path / "taken" / "inside")
