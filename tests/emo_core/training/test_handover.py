"""Files between the steps of training: whole, as expected, and who makes them is said."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_data import toy_data
from torch import nn

from emo_core.errors import InputError
from emo_core.files.write import write_tensors
from emo_core.training.clips import load_clip, save_clip
from emo_core.training.generate import make_clip
from emo_core.training.guesses import Guesses
from emo_core.training.handover import load_made, read_made
from emo_core.training.latents import LatentClips


def test_tensors_come_back_as_the_library_reads_them(tmp_path: Path) -> None:
    tensors = {
        "numbers": torch.randn(3, 4).T,
        "pixels": torch.arange(6, dtype=torch.uint8),
        "none": torch.zeros(0, 6),
        "scale": torch.tensor(0.25),
    }
    path = tmp_path / "file.safetensors"
    write_tensors(path, tensors, metadata={"of": "tests"})
    for read in (load_file(path), read_made(path, list(tensors), made_by="data")):
        assert set(read) == set(tensors)
        for name, value in tensors.items():
            assert torch.equal(read[name], value), name
            assert read[name].dtype == value.dtype, name
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.safetensors"]
    with pytest.raises(InputError, match=r"lacks \[\] and has \['scale'\]"):
        read_made(path, ["numbers", "pixels", "none"], made_by="data")
    with pytest.raises(InputError, match=r"lacks \['more'\] and has \[\]"):
        read_made(path, [*tensors, "more"], made_by="data")


@pytest.mark.parametrize(
    ("load", "made_by"),
    [
        (LatentClips.load, "train encode"),
        (Guesses.load, "train guess"),
        (lambda path: load_made(nn.Linear(2, 1), path, made_by="train it"), "train it"),
    ],
)
def test_another_file_is_refused_and_its_maker_named(
    tmp_path: Path, load: Callable[[Path], object], made_by: str
) -> None:
    path = tmp_path / "file.safetensors"
    with pytest.raises(InputError, match=f"no such file. Make it with .*{made_by}'"):
        load(path)
    save_file({"weight": torch.zeros(2, 1), "odd": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=f"odd.*version.*{made_by}'"):
        load(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load(path)


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    path = tmp_path / "layer.safetensors"
    torch.manual_seed(0)
    layer, other = nn.Linear(2, 1), nn.Linear(2, 1)
    write_tensors(path, layer.state_dict())
    load_made(other, path, made_by="train it")
    assert torch.equal(other.weight, layer.weight)
    with pytest.raises(InputError, match="of another shape"):
        load_made(nn.Linear(3, 1), path, made_by="train it")


def test_data_go_only_where_a_folder_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        toy_data().save(tmp_path / "none" / "latents.safetensors")


def test_a_clip_without_its_first_frame_is_none(tmp_path: Path) -> None:
    clip = make_clip("train", 5, num_frames=2, num_references=0, fps=25.0, size=64)
    path = tmp_path / "clip_000005.safetensors"
    save_clip(clip, path)
    save_file(load_file(path), path, metadata={"fps": "25.0"})
    with pytest.raises(InputError, match=r"missing \['first_frame'\]"):
        load_clip(path)
