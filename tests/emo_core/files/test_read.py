"""Opening files without reading them, reading one tensor at a time, and damaged files."""

import random
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from emo_core.errors import InputError
from emo_core.files.read import read_converted, read_tensors

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


@pytest.mark.parametrize("name", NAMES)
def test_reads_every_type(name: str, tmp_path: Path) -> None:
    file = read_tensors(save(tensors(), tmp_path / name))
    assert file.places is not None
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
def test_neither_opening_nor_streaming_keeps_the_file_in_memory(name: str, tmp_path: Path) -> None:
    content = {f"weight.{index}": torch.rand(2**18) for index in range(40)}
    path = save(content, tmp_path / name)
    file = read_tensors(path)
    for key, value in file.stream(content, dtype=torch.float16):
        assert torch.equal(value, content[key].half())
    assert resident_bytes(path) < 2**18
    assert all(torch.equal(value, content[key]) for key, value in file.tensors.items())
    assert resident_bytes(path) > 2**25, "the measurement sees nothing"


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "module"])
def test_wrapped_pickles(wrapper: str, tmp_path: Path) -> None:
    extras = {"epoch": 3, "dims": {"n_mels": 80}, "optimizer": {"lr": 0.1, "state": {}}}
    torch.save({**extras, wrapper: tensors()}, tmp_path / "net.pt")
    assert read_tensors(tmp_path / "net.pt").tensors.keys() == tensors().keys()
    flat = {f"{wrapper}.weight": torch.ones(1)}
    assert read_tensors(save(flat, tmp_path / "flat.pt")).tensors.keys() == flat.keys()


def test_the_same_sizes_twice_in_a_pickle(tmp_path: Path) -> None:
    weights = {f"weight.{index}": torch.randn(100) for index in range(20)}
    average = {name: torch.randn(100) for name in weights}
    for order in ({"ema": [average], "module": weights}, {"module": weights, "ema": (average,)}):
        torch.save(order, tmp_path / "net.pth")
        file = read_tensors(tmp_path / "net.pth")
        assert file.places is not None
        assert all(torch.equal(value, weights[name]) for name, value in file.stream(weights))
    # Where a copy is out of sight nothing is guessed: the mapped tensors are copied.
    torch.save({"module": weights, "ema": set(average.values())}, tmp_path / "net.pth")
    file = read_tensors(tmp_path / "net.pth")
    assert file.places is None
    assert all(torch.equal(value, weights[name]) for name, value in file.stream(weights))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_after_it_was_opened(name: str, tmp_path: Path) -> None:
    path = save({"weight": torch.ones(10000)}, tmp_path / name)
    file = read_tensors(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(InputError, match="ends before weight, which it held"):
        list(file.stream(["weight"]))


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
        assert file.places is None
        assert all(torch.equal(value, content[key]) for key, value in file.stream(content))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
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


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
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
