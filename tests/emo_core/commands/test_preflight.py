"""The pre-flight command, and what `animate` refuses before it begins."""

import json
import shutil
from pathlib import Path

import psutil
import pytest
import torch
from tiny import tiny_networks

from emo_core.__main__ import main
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.vae import VAE
from emo_core.pipeline import Animator
from emo_core.preflight import memory
from emo_core.preflight.memory import Memory
from emo_core.training.vae import initialise

ROOT = Path(__file__).resolve().parents[3]
GB = 10**9


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a film of 15 frames: four clips, of 3 steps each."""
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    save_emo(tiny_networks(), folder / "model.safetensors", dtype=torch.float32)
    vae = VAE(scale=1.0)
    initialise(vae)
    save_vae(vae, folder / "vae.safetensors", dtype=torch.float32)
    options = {
        "portrait": ROOT / "emo_core/assets/portrait.png",
        "audio": ROOT / "emo_core/assets/voice.flac",
        "end": 0.6,
        "checkpoint": folder / "model.safetensors",
        "vae": folder / "vae.safetensors",
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def preflight(
    words: list[str], capsys: pytest.CaptureFixture[str], out: Path, *more: str
) -> tuple[int, dict]:
    """Exit status, and what was found."""
    status = main(["preflight", *words, "--out", str(out), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def full_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(GB, GB - free, free)
    )


def named(data: dict, level: str) -> list[str]:
    return [finding["what"] for finding in data["findings"] if finding["level"] == level]


def test_json_is_complete_and_leaves_nothing_behind(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, data = preflight(words, capsys, tmp_path / "film.mp4", "--store", str(tmp_path / "s"))
    assert (status, data["verdict"]) == (0, "fits")
    expected = {"num_frames": 15, "num_clips": 4, "steps": 3, "num_steps": 12, "num_passes": 12}
    assert {name: data["film"][name] for name in expected} == expected
    assert data["film"]["seconds"] == 0.6
    seconds = data["seconds"]
    assert set(seconds) == {"prepare", "sample", "decode", "write", "total"}
    assert all(value > 0 for value in seconds.values())
    assert seconds["total"] == pytest.approx(sum(seconds.values()) / 2)
    measured = data["measured"]
    assert measured["sampling"]["num_timed"] == 4
    assert measured["frame_bytes"] > 100
    ram, disk = data["findings"]
    assert (ram["what"], disk["what"]) == ("RAM", f"disk of {tmp_path}")
    assert psutil.Process().memory_info().rss * 0.5 < ram["needed_bytes"]
    assert ram["needed_bytes"] < psutil.virtual_memory().total
    film = round(2 * 15 * measured["frame_bytes"])  # With the copy that can be watched.
    assert disk["needed_bytes"] == film + (15 + 4 * 2) * 4 * 8 * 8 * 4
    assert not list(tmp_path.iterdir())


def test_the_table_says_the_same(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preflight", *words, "--out", str(tmp_path / "film.mp4")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("film     15 frames of 64x64 at 25 fps: 0.6 s")
    assert "4 clips of 4 frames, 3 steps each: 12 in total" in lines[1]
    assert lines[-1] == "verdict  It fits."


@pytest.mark.parametrize("out", ["film.mp4", "pictures"])
def test_the_films_size_is_foretold(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    """A film of four seconds: one of few frames is mostly headers."""
    words = [*words, "--end", "4"]
    _, data = preflight(words, capsys, tmp_path / out)
    assert main(["animate", *words, "--out", str(tmp_path / out)]) == 0
    files = [path for path in (tmp_path / out, *(tmp_path / out).glob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    copies = 2 if out.endswith(".mp4") else 1  # One can be watched while the film is made.
    assert data["findings"][1]["needed_bytes"] == pytest.approx(copies * size, rel=0.5)


def test_a_full_disk_is_refused(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full_disk(monkeypatch, free=1000)
    status, data = preflight(words, capsys, tmp_path / "film.mp4")
    assert (status, data["verdict"]) == (1, "refused")
    assert named(data, "refused") == [f"disk of {tmp_path}"]
    (finding,) = [f for f in data["findings"] if f["level"] == "refused"]
    assert finding["available_bytes"] == 1000
    assert "another folder" in finding["advice"]


def test_too_little_memory_is_refused(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = psutil.virtual_memory()._replace(total=50_000_000, available=10_000_000)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: small)
    status, data = preflight(words, capsys, tmp_path / "film.mp4")
    assert (status, named(data, "refused")) == (1, ["RAM"])
    assert "--dtype bfloat16" in data["findings"][0]["advice"]


def test_a_small_card_is_refused(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No card is here; its numbers are told."""
    from emo_core.commands import preflight as command

    card = Memory(peak=5 * GB, available=6 * GB, total=8 * GB)
    monkeypatch.setattr(command, "vram", lambda device: card)
    status, data = preflight(words, capsys, tmp_path / "film.mp4")
    assert (status, data["findings"][0]["what"], data["verdict"]) == (0, "VRAM", "fits")

    def out_of_memory(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Animator, "sample", out_of_memory)
    status, data = preflight(words, capsys, tmp_path / "film.mp4")
    assert (status, named(data, "refused")) == (1, ["VRAM"])
    assert data["seconds"] is None and data["measured"] is None
    assert "ran out" in data["findings"][0]["parts"]


def test_animate_does_not_begin_what_its_disk_cannot_hold(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []
    sample = Animator.sample

    def watched(*arguments: object, **options: object) -> object:
        begun.append(True)
        return sample(*arguments, **options)

    monkeypatch.setattr(Animator, "sample", watched)
    # At the least 15 x 64 x 64 pixels x 0.005 bytes, twice: with the copy that can be watched.
    for free, status in ((613, 2), (615, 0)):
        with monkeypatch.context() as context:
            full_disk(context, free=free)
            assert main(["animate", *words, "--out", str(tmp_path / "film.mp4")]) == status
        assert bool(begun) == (status == 0)
    error = capsys.readouterr().err
    assert f"{tmp_path / 'film.mp4'}: no room for the film" in error
    assert "614 B" in error and "613 B available" in error
    full_disk(monkeypatch, free=2000)
    store = ["--store", str(tmp_path / "store")]
    assert main(["animate", *words, "--out", str(tmp_path / "again.mp4"), *store]) == 2
    assert "clip store 23.6 kB" in capsys.readouterr().err


def test_clips_that_are_kept_already_need_no_room(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing of a film is made, though the disk has no room for all of its clips."""
    more = ["--store", str(tmp_path / "store")]
    assert main(["animate", *words, "--out", str(tmp_path / "film.mp4"), *more]) == 0
    full_disk(monkeypatch, free=2000)
    assert main(["animate", *words, "--out", str(tmp_path / "again.mp4"), *more]) == 0


def test_a_bad_name_is_refused_like_in_animate(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preflight", *words, "--out", str(tmp_path / "film.avi")]) == 2
    assert ".mp4" in capsys.readouterr().err
