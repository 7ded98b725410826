"""`convert`: what is loaded from the new file is what was loaded from the old ones."""

import errno
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from parity_kit import CHECKPOINTS, kit
from safetensors import safe_open
from tiny import tiny_networks

from emo_core.__main__ import main
from emo_core.checkpoints.emo import Networks, save_emo
from emo_core.checkpoints.load import load_networks
from emo_core.files import write
from emo_core.files.read import TensorFile, read_tensors

LICENSES = {
    "hallo": "MIT",
    "echomimic": "Apache-2.0",
    "vexpress": "non-commercial research only",
}


@pytest.fixture(scope="module", params=CHECKPOINTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's files as downloaded; the folder bears the kit's name."""
    path = tmp_path_factory.mktemp("kits") / request.param
    path.mkdir()
    kit(request.param).save(path, *CHECKPOINTS[request.param])
    return path


@pytest.fixture(scope="module")
def echomimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("echomimic")
    kit("echomimic").save(path, *CHECKPOINTS["echomimic"])
    return path


def convert(checkpoint: Path, out: Path, *words: str) -> int:
    """Run the command; return its status."""
    return main(["convert", "--checkpoint", str(checkpoint), "--out", str(out), *words])


def check_same(ours: Networks, theirs: Networks) -> None:
    assert ours.config == theirs.config
    assert ours.parts().keys() == theirs.parts().keys()
    for name, network in ours.parts().items():
        other = theirs.parts()[name].state_dict()
        state = network.state_dict()
        assert state.keys() == other.keys()
        for key, value in state.items():
            assert value.dtype == other[key].dtype and torch.equal(value, other[key]), key


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16"])
def test_loads_as_its_source(folder: Path, tmp_path: Path, dtype: str | None) -> None:
    out = tmp_path / "model.safetensors"
    assert convert(folder, out, *(() if dtype is None else ("--dtype", dtype))) == 0
    assert os.listdir(tmp_path) == ["model.safetensors"]
    expected = getattr(torch, dtype or "float32")
    assert {tensor.dtype for tensor in read_tensors(out).tensors.values()} == {expected}
    check_same(load_networks(out, dtype=expected), load_networks(folder, dtype=expected))


def test_what_the_file_says_of_itself(folder: Path, tmp_path: Path) -> None:
    main_file = CHECKPOINTS[folder.name][0]
    assert convert(folder / main_file, tmp_path / "model.safetensors") == 0
    metadata = metadata_of(tmp_path / "model.safetensors")
    assert metadata["license"] == LICENSES[folder.name]
    assert main_file in metadata["description"]
    assert metadata["format"] == "pt"


def test_converting_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert convert(folder, first) == convert(first, second) == 0
    assert first.read_bytes() == second.read_bytes()


def test_our_own_file_in_half_precision(tmp_path: Path) -> None:
    source, out = tmp_path / "source.safetensors", tmp_path / "half.safetensors"
    save_emo(tiny_networks(), source, dtype=torch.float32, description="a toy")
    assert convert(source, out, "--dtype", "float16") == 0
    assert metadata_of(out) == metadata_of(source)
    assert metadata_of(out)["description"] == "a toy"
    check_same(load_networks(out, dtype=torch.float16), load_networks(source, dtype=torch.float16))


def test_files_in_half_precision_stay_so(echomimic: Path, tmp_path: Path) -> None:
    for name in CHECKPOINTS["echomimic"]:
        tensors = kit("echomimic").files[name]
        torch.save({key: value.half() for key, value in tensors.items()}, tmp_path / name)
    out = tmp_path / "out" / "model.safetensors"
    out.parent.mkdir()
    assert convert(tmp_path, out) == 0
    assert {tensor.dtype for tensor in read_tensors(out).tensors.values()} == {torch.float16}
    check_same(
        load_networks(out, dtype=torch.float16), load_networks(echomimic, dtype=torch.float16)
    )


def test_few_tensors_exist_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is being written, and the one before until the next has come."""
    alive: weakref.WeakSet = weakref.WeakSet()
    counts = []
    plain = TensorFile.stream

    def stream(file: TensorFile, names: list[str], **options: object) -> Iterator:
        for name, tensor in plain(file, names, **options):
            alive.add(tensor)
            counts.append(len(alive))
            yield name, tensor

    monkeypatch.setattr(TensorFile, "stream", stream)
    assert convert(folder, tmp_path / "model.safetensors") == 0
    assert len(counts) > 1000 and max(counts) <= 2
    assert not alive


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(errno.ENOSPC, "No space left"), 2, "model.safetensors: the disk is full"),
    ],
    ids=["interrupt", "full disk"],
)
def test_nothing_is_left_of_a_conversion_that_broke_off(
    echomimic: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    plain, count = write._write, iter(range(10_000))

    def write_some(*arguments: object) -> None:
        if next(count) == 100:
            raise error
        plain(*arguments)

    monkeypatch.setattr(write, "_write", write_some)
    assert convert(echomimic, tmp_path / "model.safetensors") == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_older_file_survives_until_the_new_one_is_whole(
    echomimic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    out.write_bytes(b"older")
    assert convert(echomimic, out) == 2
    assert f"--out {out}: there is such a file already" in capsys.readouterr().err
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    kit("echomimic").save(damaged, *CHECKPOINTS["echomimic"])
    tensors = kit("echomimic").files["face_locator.pth"]
    torch.save(tensors | {"stray": torch.zeros(1)}, damaged / "face_locator.pth")
    assert convert(damaged, out, "--force") == 2
    assert "does not fit its config" in capsys.readouterr().err
    assert out.read_bytes() == b"older"
    assert convert(echomimic, out, "--force") == 0
    check_same(load_networks(out), load_networks(echomimic))


def test_numbers_that_half_precision_cannot_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "model.safetensors"
    source.mkdir()
    kit("echomimic").save(source, *CHECKPOINTS["echomimic"])
    tensors = kit("echomimic").files["face_locator.pth"]
    torch.save(
        tensors | {"conv_in.bias": tensors["conv_in.bias"] + 1e5}, source / "face_locator.pth"
    )
    assert convert(source, out, "--dtype", "float16") == 2
    assert "face_locator.pth: conv_in.bias has values that float16" in capsys.readouterr().err
    assert not out.exists()
    assert convert(source, out, "--dtype", "bfloat16") == 0


def test_the_checkpoint_itself_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "model.safetensors"
    save_emo(tiny_networks(), source, dtype=torch.float32)
    before = source.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(source)
    os.link(source, tmp_path / "twin.safetensors")
    for name in ("model", "link", "twin"):
        for words in ((), ("--force",)):
            out = tmp_path / f"{name}.safetensors"
            assert convert(source, out, "--dtype", "float16", *words) == 2
            assert f"--out {out}: is a file of the checkpoint itself" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_bad_names(echomimic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken.safetensors"
    taken.mkdir()
    for out, message in (
        (tmp_path / "model.pth", "ends in .pth; checkpoints are written as .safetensors"),
        (tmp_path / "model", "ends in nothing"),
        (taken, "is a folder; expected a new file"),
        (tmp_path / "none" / "model.safetensors", "there is no folder"),
    ):
        assert convert(echomimic, out, "--force") == 2
        error = capsys.readouterr().err
        assert "error: " in error and str(out) in error and message in error
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_leave_to_write(echomimic: Path, tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert convert(echomimic, tmp_path / "model.safetensors") == 2


def test_sources_that_are_no_checkpoint(
    echomimic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, message in (
        (tmp_path / "none.pth", "no such file"),
        (tmp_path, "none of its 0 files"),
        (echomimic / "motion_module.pth", "holds temporal modules alone"),
    ):
        assert convert(source, tmp_path / "model.safetensors") == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
