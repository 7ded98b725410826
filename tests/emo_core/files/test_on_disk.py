"""Tensors in files: what is written is read, and memory is given back."""

import copy
import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emo_core.errors import InputError
from emo_core.files.on_disk import TensorOnDisk

ROOT = Path(__file__).resolve().parents[3]


def test_rows_come_back_as_one_tensor(tmp_path: Path) -> None:
    rows = torch.randn(10, 3, 2)
    file = TensorOnDisk(tmp_path, row_shape=(3, 2))
    for part in rows.split(4):
        file.append(part)
    tensor = file.tensor()
    assert tensor.dtype == torch.float32 and torch.equal(tensor, rows)
    file.release()
    assert torch.equal(tensor, rows)
    tensor[2] = 7.0
    file.release()
    assert (tensor[2] == 7.0).all() and torch.equal(tensor[3:], rows[3:])


def test_a_single_row_may_come_with_any_stride(tmp_path: Path) -> None:
    """PyTorch calls it contiguous, and refuses to see it as bytes."""
    row = torch.arange(6.0).view(2, 3)[1:, 1:2].T
    assert row.shape == (1, 1) and row.stride() != (1, 1)
    file = TensorOnDisk(tmp_path, row_shape=(1,))
    file.append(row)
    assert file.tensor().tolist() == [[4.0]]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    file = TensorOnDisk(tmp_path, row_shape=())
    file.append(torch.arange(5.0))
    tensor = file.tensor()
    del file
    gc.collect()
    assert tensor.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0], "the tensor keeps its file"
    del tensor
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_deep_copy_has_values_of_its_own(tmp_path: Path) -> None:
    """Some nodes copy a LATENT deeply, which notes the file beside the samples."""
    file = TensorOnDisk(tmp_path, row_shape=(2,))
    file.append(torch.ones(3, 2))
    latent = {"samples": file.tensor(), "file": file}
    copied = copy.deepcopy(latent)
    copied["samples"].zero_()
    copied["file"].release()
    assert latent["samples"].sum() == 6 and copied["samples"].sum() == 0


def test_no_rows(tmp_path: Path) -> None:
    file = TensorOnDisk(tmp_path, row_shape=(4,), dtype=torch.int16)
    assert file.tensor().shape == (0, 4) and file.tensor().dtype == torch.int16
    file.release()


def test_rows_of_another_shape_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) for \(2,\)"):
        TensorOnDisk(tmp_path, row_shape=(2,)).append(torch.zeros(5, 3))


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TensorOnDisk(tmp_path, row_shape=(2,))

    class Full:
        def write(self, data: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file, "_file", Full())
    with pytest.raises(InputError, match="the disk is full"):
        file.append(torch.zeros(5, 2))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")
def test_memory_is_given_back(tmp_path: Path) -> None:
    """200 MB are written and read in parts; the process never holds more than a few of them."""
    program = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from emo_core.files.on_disk import TensorOnDisk

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

file = TensorOnDisk(Path(sys.argv[2]), row_shape=(1 << 18,))
before = peak_mb()
for index in range(200):
    file.append(torch.full((1, 1 << 18), float(index)))
tensor = file.tensor()
for index in range(200):
    assert float(tensor[index].mean()) == index
    file.release()
print(peak_mb() - before)
assert peak_mb() - before < 20
whole = tensor.sum()
assert peak_mb() - before > 150, "the measurement sees what is held"
"""
    subprocess.run([sys.executable, "-c", program, str(ROOT), str(tmp_path)], check=True)
