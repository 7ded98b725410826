"""Write a safetensors file tensor by tensor, whole or not at all.

The format (github.com/huggingface/safetensors, "Format"): eight bytes with the header's length,
little-endian; the header, JSON padded by spaces so that data begins at a multiple of eight; the
tensors without gaps. Like the library, which needs all tensors at once, this sorts them by the size
of their numbers and then by name, so that every tensor is aligned to its own type.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import InputError
from .replace import explaining_os_errors, replacing
from .safetensors_format import DTYPES, TensorSpec

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(
    path: Path,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    specs: Mapping[str, TensorSpec],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors as they come; only one of them has to exist at a time.

    The file appears under its name when it is complete. Until then it is a hidden partial file
    beside it, which is removed if anything, an interrupt too, ends the writing early.

    Args:
        tensors: each name of `specs` once, in any order.

    Raises:
        InputError: no such folder, or no room on its disk.
    """
    header, places = _layout(specs, metadata)
    size = len(header) + sum(spec.num_bytes for spec in specs.values())
    _check_room(path, size)
    with replacing(path) as partial_path, _opened(path, partial_path) as file:
        with explaining_os_errors(path):
            file.write(header)
        for name, tensor in tensors:
            begin = places.pop(name)
            assert specs[name] == (tensor.shape, tensor.dtype), f"{name} is not as announced"
            with explaining_os_errors(path):
                file.seek(len(header) + begin)
                _write(tensor, file)
        assert not places, f"announced but not written: {sorted(places)[:3]}"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors that are all there; as `write_safetensors`."""
    specs = {name: TensorSpec(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    write_safetensors(path, tensors.items(), specs=specs, metadata=metadata or {})


@contextmanager
def _opened(path: Path, partial_path: Path) -> Iterator[BinaryIO]:
    """Open the partial file of `path`; what is still buffered at the end is written by closing.

    After an error that fails again, for the same reason, and would hide what the error said.
    """
    with explaining_os_errors(path):
        file = partial_path.open("wb")
    try:
        yield file
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    with explaining_os_errors(path):
        file.close()


def _layout(
    specs: Mapping[str, TensorSpec], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """Return the first bytes of the file, and where behind them each tensor begins."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    places, end = {}, 0
    for name in sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name)):
        shape, dtype = specs[name]
        places[name], end = end, end + specs[name].num_bytes
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [places[name], end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _check_room(path: Path, size: int) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}. Make it, or write elsewhere.")
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{path}: needs {size / 1e6:.1f} MB, and the disk has {free / 1e6:.1f} MB left. Make "
            "room, or write to another disk."
        )


def bytes_of(tensor: Tensor) -> memoryview:
    """All numbers of a tensor in order, copied only where they do not lie so in memory."""
    numbers = tensor.detach().cpu().contiguous().reshape(-1)
    if len(numbers) < 2:  # Their strides may be any, and views fail.
        numbers = torch.empty(len(numbers), dtype=numbers.dtype).copy_(numbers)
    return numbers.view(torch.uint8).numpy().data


def _write(tensor: Tensor, file: BinaryIO) -> None:
    file.write(bytes_of(tensor))
