"""Reading files lazily and one tensor at a time, writing them whole, and files in folders."""

import random
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo_core.checkpoints import read
from emo_core.checkpoints.folder import checkpoint_files, sibling
from emo_core.checkpoints.read import read_converted, read_tensors
from emo_core.checkpoints.write import TensorSpec, write_safetensors
from emo_core.errors import InputError

NAMES = ["net.pth", "net.safetensors"]


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    eights = (torch.float8_e4m3fn, torch.float8_e5m2)
    return {
        **{f"weight.{dtype}": torch.randn(3, 5).to(dtype) for dtype in (*floats, *eights)},
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "scalar": torch.tensor(1.5),
    }


def save(content: dict[str, Tensor], path: Path) -> Path:
    (torch.save if path.suffix != ".safetensors" else save_file)(content, path)
    return path


def write(content: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    specs = {name: TensorSpec(tuple(value.shape), value.dtype) for name, value in content.items()}
    write_safetensors(path, content.items(), specs=specs, metadata=metadata or {})


@pytest.mark.parametrize("name", NAMES)
def test_reads_every_type(name: str, tmp_path: Path) -> None:
    file = read_tensors(save(tensors(), tmp_path / name))
    assert file.is_mapped
    assert file.tensors.keys() == tensors().keys()
    for key, value in tensors().items():
        assert file.tensors[key].dtype == value.dtype
        assert torch.equal(file.tensors[key].double(), value.double())


@pytest.mark.parametrize("name", NAMES)
def test_stream_converts_floats_and_keeps_the_rest(name: str, tmp_path: Path) -> None:
    file = read_tensors(save(tensors(), tmp_path / name))
    asked = sorted(tensors(), reverse=True)
    read_back = list(file.stream(asked, dtype=torch.float16))
    assert [key for key, _ in read_back] == asked
    for key, value in read_back:
        original = tensors()[key]
        dtype = torch.float16 if original.is_floating_point() else original.dtype
        assert value.dtype == dtype
        assert torch.equal(value, original.to(dtype))
    assert {value.dtype for _, value in file.stream(["scalar"])} == {torch.float32}
    converted = read_converted(file, {"scalar": "a", "mask": "b"}, dtype=torch.bfloat16)
    assert list(converted) == ["a", "b"] and converted["a"].dtype == torch.bfloat16


def test_streamed_tensors_are_contiguous_and_own_their_memory(tmp_path: Path) -> None:
    base = torch.arange(60.0).reshape(6, 10)
    views = {
        "rows": base[1:3],
        "columns": base[:, ::3],
        "turned": base.t(),
        "repeated": base[:1].expand(4, 10),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    file = read_tensors(save(views, tmp_path / "net.pth"))
    for key, value in file.stream(views):
        assert torch.equal(value, views[key])
        assert value.is_contiguous() and not value.requires_grad
        assert value.untyped_storage().nbytes() == value.nbytes
        value.zero_()
    assert all(torch.equal(value, views[key]) for key, value in file.stream(views))


def resident_bytes(path: Path) -> int:
    """How much of a file the process has mapped and in memory."""
    size, is_of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_of_file = line.endswith(str(path))
        elif is_of_file and words[0] == "Rss:":
            size += 1024 * int(words[1])
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
@pytest.mark.parametrize("name", NAMES)
def test_memory_of_the_file_is_given_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {f"weight.{index}": torch.rand(2**18) for index in range(40)}
    path = save(content, tmp_path / name)
    monkeypatch.setattr(read, "MAPPED_BYTES", 4 * 2**20)
    file = read_tensors(path)
    assert resident_bytes(path) < 2**18, "opening touched the tensors"
    most = 0
    for key, value in file.stream(content, dtype=torch.float16):
        assert torch.equal(value, content[key].half())
        most = max(most, resident_bytes(path))
    # The system maps a few neighbours of every page that is touched.
    assert 2**20 < most < 5 * 2**20


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "module"])
def test_wrapped_pickles(wrapper: str, tmp_path: Path) -> None:
    extras = {"epoch": 3, "dims": {"n_mels": 80}, "optimizer": {"lr": 0.1, "state": {}}}
    torch.save({**extras, wrapper: tensors()}, tmp_path / "net.pt")
    assert read_tensors(tmp_path / "net.pt").tensors.keys() == tensors().keys()
    flat = {f"{wrapper}.weight": torch.ones(1)}
    assert read_tensors(save(flat, tmp_path / "flat.pt")).tensors.keys() == flat.keys()


def test_pickles_that_cannot_be_mapped(tmp_path: Path) -> None:
    # The old format knows nothing of float8.
    content = {key: value for key, value in tensors().items() if "float8" not in key}
    torch.save(content, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    save(content, tmp_path / "net.pth")
    with (
        zipfile.ZipFile(tmp_path / "net.pth") as stored,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    for name in ("legacy.ckpt", "packed.pth"):
        file = read_tensors(tmp_path / name)
        assert not file.is_mapped
        assert all(torch.equal(value, content[key]) for key, value in file.stream(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds list instead of named tensors"),
        ({"weight": torch.zeros(1), "epoch": 3}, "its entry 'epoch' is int"),
        ({"state_dict": {"unet": {"weight": torch.zeros(1)}}}, "its entry 'unet' is dict"),
        ({3: torch.zeros(1)}, "its entry 3 is Tensor; expected dense tensors with names"),
        ({"weight": torch.eye(3).to_sparse()}, "its entry 'weight' is Tensor; expected dense"),
        ({"weight": torch.zeros(1, device="meta")}, "its entry 'weight' is Tensor"),
    ],
)
def test_pickles_of_something_else(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path / "net.pth")


def test_safetensors_of_a_type_that_torch_code_rarely_has(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="weight is of type C64; expected F64, F32"):
        read_tensors(tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", [*NAMES, "legacy.ckpt"])
def test_damaged_files_open_or_say_so(name: str, tmp_path: Path) -> None:
    if name == "legacy.ckpt":
        content = {"weight": torch.ones(3), "scalar": torch.tensor(1.5)}
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=False)
    else:
        save(tensors(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    rng = random.Random(0)
    path = tmp_path / f"damaged_{name}"
    refused = 0
    for round_index in range(300):
        content = bytearray(whole)
        if round_index % 3 == 0:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.choice((1, 4, 40))):
                content[rng.randrange(min(len(content), 1500))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            for _ in read_tensors(path).stream(()):
                pass
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 150


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
    with pytest.raises(InputError, match="needs 0.00 GB, and the disk has 0.00 GB left"):
        write(tensors(), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_can_be_written_over_itself_while_it_is_read(tmp_path: Path) -> None:
    path = save({"a": torch.arange(5.0), "b": torch.ones(2)}, tmp_path / "net.safetensors")
    file = read_tensors(path)
    specs = {key: TensorSpec(tuple(v.shape), torch.float16) for key, v in file.tensors.items()}
    stream = file.stream(file.tensors, dtype=torch.float16)
    write_safetensors(path, stream, specs=specs, metadata={})
    assert torch.equal(load_file(path)["a"], torch.arange(5.0).half())


def test_files_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save({"a": torch.ones(1)}, tmp_path / "b.pth")
    save({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"lr": 0.1}, tmp_path / "optimizer.bin")
    (tmp_path / "broken.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".b.pth.partial").write_bytes(b"")
    (tmp_path / "folder.pth").mkdir()
    found = [file.path.name for file in checkpoint_files(tmp_path)]
    assert found == ["a.safetensors", "b.pth"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "broken.pt: refused" in caplog.text and "'lr' is float" in caplog.text
    with pytest.raises(InputError, match="none: no such folder"):
        checkpoint_files(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "stem", "expected"),
    [
        ("denoising_unet.pth", "motion_module", "motion_module.pth"),
        ("denoising_unet_acc.pth", "motion_module", "motion_module_acc.pth"),
        ("denoising_unet_acc.pth", "reference_unet", "reference_unet.pth"),
        ("denoising_unet_pose.pth", "reference_unet", "reference_unet_pose.pth"),
        ("denoising_unet_pose_acc.pth", "reference_unet", "reference_unet_pose.pth"),
        ("denoising_unet_pose_acc.pth", "motion_module", "motion_module_pose_acc.pth"),
        ("denoising_unet-30.pth", "face_locator", "face_locator-30.pth"),
        ("denoising_unet-31.pth", "face_locator", "face_locator.safetensors"),
        ("denoising_unet.bin", "audio_projection", None),
        ("unet.pth", "motion_module", "motion_module.pth"),
        ("_.pth", "motion_module", "motion_module.pth"),
    ],
)
def test_sibling(path: str, stem: str, expected: str | None, tmp_path: Path) -> None:
    for name in (
        *("motion_module.pth", "motion_module_acc.pth", "motion_module_pose_acc.pth"),
        *("reference_unet.pth", "reference_unet_pose.pth"),
        *("face_locator-30.pth", "face_locator.safetensors"),
    ):
        (tmp_path / name).touch()
    found = sibling(tmp_path / path, stem)
    assert (None if found is None else found.name) == expected
