"""A result reaches the disk whole or not at all, and the reason for a failure is told."""

from pathlib import Path

import pytest
import torch

from emo_core.errors import InputError
from emo_core.files.replace import explaining_os_errors, replacing, shown_meanwhile
from emo_core.video.writer import Mp4Writer

SIDE = 128


def noise(num_frames):
    return torch.rand(num_frames, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))


def write(path, *, num_frames):
    """A film of noise without loss takes about 40 kB per frame."""
    with Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=num_frames, crf=0) as writer:
        writer.write(noise(num_frames))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_film_leaves_the_older_one(tmp_path, error):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older film")
    with (
        pytest.raises(error),
        Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=100, sound=None) as writer,
    ):
        writer.write(noise(60))
        assert len(list(tmp_path.iterdir())) == 3  # With the hidden and the partial film.
        raise error
    assert path.read_bytes() == b"older film"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_film_replaces_the_older_one(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older film")
    write(path, num_frames=3)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes()[4:8] == b"ftyp"


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match="a.mp4: .*Expected room"):
            write(tmp_path / "a.mp4", num_frames=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_the_system_s_own_full_device_is_explained():
    with (
        pytest.raises(InputError, match=r"^film.mp4: the disk is full\. Expected room"),
        explaining_os_errors(Path("film.mp4")),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs Linux's /sys")
def test_a_folder_that_cannot_be_written_is_explained():
    with pytest.raises(InputError, match=r"^/sys/a.mp4: the system refuses"):
        write(Path("/sys/a.mp4"), num_frames=1)


def test_a_folder_that_someone_fills_meanwhile_costs_neither_work(tmp_path, caplog):
    folder, taken = tmp_path / "frames", tmp_path / "frames-2"
    taken.write_bytes(b"a file")
    with replacing(folder, is_folder=True) as own:
        (own / "own.png").write_bytes(b"own")
        folder.mkdir()
        (folder / "other.png").write_bytes(b"other")
    found = {item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*")}
    assert found == {"frames", "frames/other.png", "frames-2", "frames-3", "frames-3/own.png"}
    assert "frames-3" in caplog.text


def test_what_is_shown_meanwhile_overwrites_nothing_and_goes(tmp_path):
    others = tmp_path / "film.partial.mp4"
    others.write_bytes(b"another program's")
    with shown_meanwhile(tmp_path / "film.mp4") as second:
        assert second == tmp_path / "film.partial-2.mp4"
        with shown_meanwhile(tmp_path / "film.mp4") as third:
            assert third == tmp_path / "film.partial-3.mp4"
            second.unlink()  # By its user, say.
    with pytest.raises(KeyboardInterrupt), shown_meanwhile(tmp_path / "film.mp4"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [others]
    assert others.read_bytes() == b"another program's"


@pytest.mark.parametrize("letter", ["a", "\u8a71"])
def test_a_name_that_just_fits_has_a_visible_sibling(tmp_path, letter):
    num_letters = 250 // len(letter.encode())
    with shown_meanwhile(tmp_path / f"{letter * num_letters}.mp4") as shown:
        assert shown.exists()
        assert shown.name.startswith(letter * 60 + ".partial")
