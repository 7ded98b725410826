"""Frames become png files that appear all at once, or a sheet to look at."""

import json
import os
import time

import numpy as np
import pytest
import torch
from PIL import Image

from emo_core.errors import InputError
from emo_core.files.replace import STALE_S
from emo_core.video.stills import PngSequenceWriter, contact_sheet, save_image


def stored_noise(num_frames, *, width=24, height=20):
    generator = torch.Generator().manual_seed(0)
    shape = (num_frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_a_sequence_holds_every_frame_bit_for_bit(tmp_path):
    frames = stored_noise(5)
    with PngSequenceWriter(tmp_path / "frames", comment="seed 7") as writer:
        writer.write(frames[:2])
        writer.write(frames[2:] / 255.0)
        assert not (tmp_path / "frames").exists()
    names = sorted(item.name for item in (tmp_path / "frames").iterdir())
    assert names == [f"frame_{index:06d}.png" for index in range(5)]
    for name, frame in zip(names, frames, strict=True):
        with Image.open(tmp_path / "frames" / name) as picture:
            assert np.array_equal(picture, frame)
            note = json.loads(picture.text["Comment"])
            assert note["generated"] is True
            assert note["comment"] == "seed 7"
            assert "trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
    assert [item.name for item in tmp_path.iterdir()] == ["frames"]


def test_an_interrupted_sequence_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), PngSequenceWriter(tmp_path / "frames") as writer:
        writer.write(stored_noise(2))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_goes_a_day_later(tmp_path):
    old, new = tmp_path / ".emo-0.part", tmp_path / ".emo-1.part"
    for folder in (old, new):
        folder.mkdir()
        (folder / "frame_000000.png").write_bytes(b"half")
    past = time.time() - STALE_S - 1
    os.utime(old, (past, past))
    with PngSequenceWriter(tmp_path / "film") as writer:
        writer.write(torch.zeros(1, 8, 8, 3))
    assert {path.name for path in tmp_path.iterdir()} == {"film", ".emo-1.part"}
    assert list(new.iterdir())


def test_an_empty_folder_is_used_and_a_full_one_is_refused(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    with PngSequenceWriter(folder) as writer:
        writer.write(stored_noise(1))
    with pytest.raises(InputError, match="frames: the folder is not empty"):
        with PngSequenceWriter(folder):
            pytest.fail("the writer opened")
    assert [item.name for item in folder.iterdir()] == ["frame_000000.png"]
    assert [item.name for item in tmp_path.iterdir()] == ["frames"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "frames").write_text("a list")
    with pytest.raises(InputError, match="this is a file"), PngSequenceWriter(tmp_path / "frames"):
        pytest.fail("the writer opened")


def test_a_sheet_shows_each_frame_in_its_place():
    frames = stored_noise(5)
    sheet = np.asarray(contact_sheet(frames, columns=3))
    places = []
    for index in range(5):
        x, y = 8 + index % 3 * (24 + 8), 8 + index // 3 * (20 + 8)
        places.append(np.array_equal(sheet[y : y + 20, x : x + 24], frames[index]))
    assert places == [True] * 5
    assert sheet.shape == (2 * 28 + 8, 3 * 32 + 8, 3)


def test_labels_stand_below_their_frame_and_stay_inside_it():
    frames = torch.zeros(2, 20, 60, 3)
    plain = np.asarray(contact_sheet(frames, columns=2, labels=["", ""])).astype(int)
    sheet = np.asarray(contact_sheet(frames, columns=2, labels=["", "yaw 30 " * 9])).astype(int)
    row, column = np.nonzero(np.abs(sheet - plain).sum(axis=2))
    assert row.min() >= 8 + 20
    assert 8 + 60 + 8 <= column.min() and column.max() < 8 + 60 + 8 + 60
    with pytest.raises(ValueError, match="1 labels came for 2 frames"):
        contact_sheet(frames, columns=2, labels=["a"])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_saved_image_replaces_the_older_one_and_says_its_origin(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"older")
    image = Image.fromarray(stored_noise(1)[0].numpy())
    save_image(image, path, comment="sheet")
    with Image.open(path) as picture:
        assert picture.size == (24, 20)
        note = json.loads(picture.info.get("Comment") or picture.info["comment"])
    assert note["generated"] is True
    assert b"trainedAlgorithmicMedia" in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_older_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"older")
    with pytest.raises(OSError, match="cannot write mode RGBA"):
        save_image(Image.new("RGBA", (20, 20)), path)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match="ends in .txt"):
        save_image(Image.new("RGB", (20, 20)), tmp_path / "a.txt")
