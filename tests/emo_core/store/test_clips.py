"""The clip store: what is written is read, what is damaged is dropped, nothing else is lost."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from emo_core.errors import InputError
from emo_core.files.replace import STALE_S
from emo_core.store import clips
from emo_core.store.clips import ClipStore, StoredClip

ROOT = Path(__file__).resolve().parents[3]


def clip(seed: int = 0) -> StoredClip:
    generator = torch.Generator().manual_seed(seed)
    return StoredClip(
        latents=torch.randn(5, 4, 3, 2, generator=generator),
        motion=torch.randn(2, 4, 3, 2, generator=generator),
    )


def same(one: StoredClip, other: StoredClip) -> bool:
    motions = (one.motion, other.motion)
    is_motion_same = motions == (None, None) or torch.equal(*motions)
    return torch.equal(one.latents, other.latents) and is_motion_same


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = ClipStore(tmp_path / "a" / "b")
    assert store.read("x") is None
    still = StoredClip(latents=clip().latents.half(), motion=None)
    for name, written in (("x", clip()), ("y", still)):
        store.write(name, written)
        assert same(store.read(name), written)
        assert same(ClipStore(tmp_path / "a" / "b").read(name), written)
    assert not list(store.folder.glob(".*"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_entries_are_made_again(tmp_path: Path, share: float) -> None:
    store = ClipStore(tmp_path)
    store.write("x", clip())
    path = next(tmp_path.glob("*"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert store.read("x") is None
    store.write("x", clip())
    assert same(store.read("x"), clip()) and path.read_bytes() == whole


def test_an_entry_that_cannot_be_read_for_a_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when too many files are open: the clip may have to be made again, but stays there."""
    store = ClipStore(tmp_path)
    store.write("x", clip())

    def refused(path: Path, mode: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        assert store.read("x") is None
    assert same(store.read("x"), clip())


def test_an_entry_of_another_user_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its owner may note that it was read."""
    store = ClipStore(tmp_path)
    store.write("x", clip())

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert same(store.read("x"), clip())


def test_a_single_changed_bit_is_found(tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    store.write("x", clip())
    path = next(tmp_path.glob("*"))
    whole = bytearray(path.read_bytes())
    for place in (len(whole) - 1, len(whole) // 2, 12):
        changed = whole.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        assert store.read("x") is None, place
        path.write_bytes(whole)


def test_the_oldest_make_room(tmp_path: Path) -> None:
    ClipStore(tmp_path).write("size", clip())
    size = next(tmp_path.glob("size*")).stat().st_size
    store = ClipStore(tmp_path, largest_bytes=3 * size)
    names = ["size", "b", "c"]
    for age, name in enumerate(names[1:], start=1):
        store.write(name, clip(age))
    for age, name in enumerate(names):
        os.utime(tmp_path / f"{name}.safetensors", (1000 + age, 1000 + age))
    assert store.read("size") is not None  # Read now: the youngest.
    store.write("d", clip(9))
    kept = {path.stem for path in tmp_path.glob("*.safetensors")}
    assert kept == {"size", "c", "d"}


def test_an_entry_that_cannot_be_dropped_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's, or on Windows one that another program reads; the next goes instead."""
    ClipStore(tmp_path).write("a", clip())
    size = next(tmp_path.glob("a*")).stat().st_size
    store = ClipStore(tmp_path, largest_bytes=2 * size)
    store.write("b", clip(1))
    for age, name in enumerate("ab"):
        os.utime(tmp_path / f"{name}.safetensors", (1000 + age, 1000 + age))
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.stem == "a":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    store.write("c", clip(2))
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c"}


def test_an_entry_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, largest_bytes=10)
    store.write("a", clip(1))
    store.write("b", clip(2))
    assert store.read("a") is None and store.read("b") is not None


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot hold the finished clips"):
        ClipStore(tmp_path / "file")


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch) -> None:
    store = ClipStore(tmp_path)
    store.write("a", clip(1))

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("emo_core.files.write._write", refuse)
    with pytest.raises(InputError, match="the disk is full"):
        store.write("b", clip(2))
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors"}
    assert same(store.read("a"), clip(1))


def test_what_killed_programs_left_is_removed_in_time(tmp_path: Path) -> None:
    old, new = tmp_path / ".emo-0.part", tmp_path / ".emo-1.part"
    for path in (old, new):
        path.write_text("half")
    past = time.time() - STALE_S - 1
    os.utime(old, (past, past))
    ClipStore(tmp_path)
    assert not old.exists() and new.exists()


def test_two_programs_on_one_store(tmp_path: Path) -> None:
    """Both write, read and make room at once; nothing but whole clips is ever read."""
    program = """
import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]
import random
from pathlib import Path
from test_clips import clip, same
from emo_core.store import clips
from emo_core.store.clips import ClipStore
store = ClipStore(Path(sys.argv[3]), largest_bytes=6000)
rng = random.Random(int(sys.argv[4]))
for _ in range(150):
    seed = rng.randrange(12)
    found = store.read(str(seed))
    assert found is None or same(found, clip(seed))
    store.write(str(seed), clip(seed))
"""
    here = str(Path(__file__).parent)
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(ROOT), here, str(tmp_path), str(i)])
        for i in range(2)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert clips.LARGEST_BYTES > 6000


def test_an_entry_dropped_by_another_program_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = ClipStore(tmp_path)
    open_file, checksum = clips.read_tensors, clips._checksum

    def gone_before_opening(path: Path) -> object:
        path.unlink()
        return open_file(path)

    def gone_after_reading(tensors: dict) -> str:
        (tmp_path / "1.safetensors").unlink()
        return checksum(tensors)

    for name, replacement, is_found in (
        ("read_tensors", gone_before_opening, False),
        ("_checksum", gone_after_reading, True),
    ):
        store.write("1", clip(1))
        with monkeypatch.context() as patch:
            patch.setattr(clips, name, replacement)
            found = store.read("1")
        assert same(found, clip(1)) if is_found else found is None
    assert not caplog.records
