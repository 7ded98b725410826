"""Writing safetensors tensor by tensor: the library's bytes, and never half a file."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo_core.errors import InputError
from emo_core.files.read import read_tensors
from emo_core.files.write import TensorSpec, write_safetensors


def tensors() -> dict[str, Tensor]:
    """Of all sizes of numbers, in an order that would leave some of them unaligned."""
    torch.manual_seed(0)
    return {
        "mask": torch.tensor([True, False, True]),
        "byte": torch.randn(5).to(torch.float8_e4m3fn),
        "half": torch.randn(3, 5).bfloat16(),
        "none": torch.zeros(0, 4),
        "nothing": torch.empty_strided((0,), (0,), dtype=torch.int64),
        "count": torch.tensor(7),
        "whole": torch.randn(4, 3),
    }


def write(content: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    specs = {name: TensorSpec(tuple(value.shape), value.dtype) for name, value in content.items()}
    write_safetensors(path, content.items(), specs=specs, metadata=metadata or {})


def test_written_as_the_library_writes(tmp_path: Path) -> None:
    halves = {name: torch.randn(size, 3).half() for name, size in (("b", 3), ("a", 1), ("ä", 7))}
    save_file(halves, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    write(halves, tmp_path / "ours.safetensors", {"format": "pt"})
    ours = (tmp_path / "ours.safetensors").read_bytes()
    assert ours == (tmp_path / "theirs.safetensors").read_bytes()
    write(tensors(), tmp_path / "mixed.safetensors", {"title": "ä", "licence": "MIT"})
    loaded = load_file(tmp_path / "mixed.safetensors")
    for key, value in tensors().items():
        assert torch.equal(loaded[key].double(), value.double())
    with safe_open(tmp_path / "mixed.safetensors", framework="pt") as file:
        assert file.metadata() == {"title": "ä", "licence": "MIT"}
    addresses = read_tensors(tmp_path / "mixed.safetensors").tensors.values()
    assert all(value.data_ptr() % value.element_size() == 0 for value in addresses)


def test_views_and_any_order_are_written(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    content = {"turned": base.t(), "part": base[1:, ::2], "whole": base}
    specs = {name: TensorSpec(tuple(value.shape), value.dtype) for name, value in content.items()}
    for index, order in enumerate((list(content), list(content)[::-1])):
        write_safetensors(
            tmp_path / f"{index}.safetensors",
            ((name, content[name]) for name in order),
            specs=specs,
            metadata={},
        )
        loaded = load_file(tmp_path / f"{index}.safetensors")
        assert all(torch.equal(loaded[name], value) for name, value in content.items())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, InputError])
def test_nothing_is_left_of_a_file_that_was_not_finished(
    failure: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    write({"old": torch.ones(1)}, path)

    def broken() -> Iterator[tuple[str, Tensor]]:
        yield "a", torch.zeros(4)
        raise failure

    specs = {"a": TensorSpec((4,), torch.float32), "b": TensorSpec((4,), torch.float32)}
    with pytest.raises(failure):
        write_safetensors(path, broken(), specs=specs, metadata={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]
    assert list(load_file(path)) == ["old"]


def test_tensors_must_be_as_announced(tmp_path: Path) -> None:
    spec = {"a": TensorSpec((4,), torch.float32)}
    for given in ({}, {"a": torch.zeros(5)}, {"a": torch.zeros(4).half()}):
        with pytest.raises(AssertionError):
            path = tmp_path / "net.safetensors"
            write_safetensors(path, given.items(), specs=spec, metadata={})
    assert not list(tmp_path.iterdir())


def test_no_room_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        write(tensors(), tmp_path / "none" / "net.safetensors")
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(InputError, match="needs 0.0 MB, and the disk has 0.0 MB left"):
        write(tensors(), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("num_numbers", [3, 30_000])
def test_a_disk_that_the_system_finds_full_is_explained(
    num_numbers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few numbers are refused when the file is closed; more while they are written, and again."""
    open_path = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: open_path(Path("/dev/full"), mode))
    with pytest.raises(InputError, match="net.safetensors: the disk is full"):
        write({"a": torch.zeros(num_numbers)}, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_can_be_written_over_itself_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.arange(5.0), "b": torch.ones(2)}, path)
    file = read_tensors(path)
    specs = {key: TensorSpec(tuple(v.shape), torch.float16) for key, v in file.tensors.items()}
    stream = file.stream(file.tensors, dtype=torch.float16)
    write_safetensors(path, stream, specs=specs, metadata={})
    assert torch.equal(load_file(path)["a"], torch.arange(5.0).half())
