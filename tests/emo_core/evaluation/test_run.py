"""The whole chain, with models whose faults are known."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from emo_core.errors import InputError
from emo_core.evaluation.cases import Case, draw_answer
from emo_core.evaluation.run import Animate, evaluate

KEYS = {
    "lip_sync_correlation",
    "lip_sync_lag_frames",
    "lip_sync_shuffled",
    "identity_top1",
    "speed_rank_correlation",
    "region_share",
    "seam_ratio",
    "drift_identity",
    "drift_colour",
}
NUM_TALK = 3


class Answers:
    """Draws every case once, for all models below."""

    def __init__(self) -> None:
        self.films: dict[str, Tensor] = {}

    def __call__(self, case: Case) -> Tensor:
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


def measure(animate: Animate, folder: Path) -> dict:
    return evaluate(
        animate,
        num_clips=NUM_TALK,
        seed=1,
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
    assert report["identity_top1"] > 0.95
    assert report["speed_rank_correlation"] > 0.85
    assert report["region_share"] > 0.98
    assert report["seam_ratio"] == pytest.approx(1.0, abs=0.25)
    assert abs(report["drift_identity"]) < 0.06
    assert report["drift_colour"] < 4.0


def test_what_is_written(true_report, folder):
    written = json.loads((folder / "metrics.json").read_text())
    assert KEYS | {"details"} == set(written)
    for key in KEYS:
        assert written[key] == pytest.approx(true_report[key], abs=1e-4)
    details = written["details"]
    assert details["num_clips"] == len(details["talk"]) == NUM_TALK
    assert len(details["speed"]) == 5 and details["num_identities"] == 50
    assert details["reader_errors"]["mouth_open"] > 0
    assert set(details["standard_errors"]) < KEYS
    with Image.open(folder / "page.png") as page:
        assert page.width == 1400 and page.height > 700
        assert "generated" in page.info["Comment"]


def test_a_late_model_is_found_late(answers, tmp_path):
    report = measure(lambda case: answers(case).roll(3, dims=0), tmp_path)
    assert report["lip_sync_lag_frames"] == 3


def test_a_still_picture_fails(tmp_path):
    report = measure(lambda case: case.picture.expand(case.num_frames, -1, -1, -1), tmp_path)
    assert report["lip_sync_correlation"] == 0.0
    assert report["speed_rank_correlation"] == 0.0
    assert report["identity_top1"] == 1.0
    assert report["seam_ratio"] == 1.0
    assert report["drift_colour"] == 0.0


def test_faults_show_in_their_own_numbers(answers, tmp_path):
    """Another person with another voice, seams, a head out of its region, a fading film."""

    def faulty(case: Case) -> Tensor:
        if case.name == "long":
            fade = torch.linspace(1.0, 0.8, case.num_frames)[:, None, None, None]
            frames = answers(case) * fade
        elif case.name.startswith("talk"):
            number = (int(case.name.split()[1]) + 1) % NUM_TALK
            frames = answers.films[f"talk {number:02d}"].roll(38, dims=2)
        else:
            frames = answers(case)
        clip_index = torch.arange(len(frames)) // 12
        return (frames + 0.06 * (clip_index % 2)[:, None, None, None]).clamp(0, 1)

    report = measure(faulty, tmp_path)
    assert report["lip_sync_correlation"] < 0.5
    assert report["identity_top1"] < 0.5
    assert report["region_share"] < 0.95
    assert report["seam_ratio"] > 1.5
    assert report["drift_colour"] > 8.0


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
