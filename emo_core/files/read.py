"""Read the tensors of a file without ever running what it holds, and without filling memory.

An opened file is mapped: names, shapes and types are known, and numbers are read from the disk when
they are touched. The pages that they are read into then count as memory of the process, so whoever
wants all tensors asks `TensorFile.stream`, which reads one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError
from .pickles import PICKLE_ENDINGS, open_pickle
from .places import Place, copy_of, opened, place_of, read_places
from .safetensors_format import DTYPES


@dataclass(frozen=True)
class TensorFile:
    """The contents of one file."""

    path: Path
    tensors: Mapping[str, Tensor]
    """Views of the mapped file: for shapes, and for those who read them piece by piece."""
    metadata: Mapping[str, str]
    places: Mapping[str, Place] | None
    """None: unknown, or all tensors are in memory; `stream` then copies `tensors`."""

    def stream(
        self, names: Iterable[str], *, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield names and tensors one after the other, each a contiguous copy of its own.

        Beside them there is one buffer of the largest tensor's size.

        Args:
            names: keys of `tensors`, in any order; that of the file is the fastest.
            dtype: of floating-point tensors; None keeps what the file has. Others are kept always.

        Raises:
            InputError: the file has become shorter since it was opened.
        """
        if self.places is not None:
            return read_places(self.path, self.places, names, dtype=dtype)
        return ((name, copy_of(self.tensors[name], dtype)) for name in names)


def read_tensors(path: Path) -> TensorFile:
    """Open a safetensors file, or a pickle that holds nothing but tensors.

    A pickle may hold its tensors under one of `pickles.WRAPPERS`; the rest is then left out.

    Raises:
        InputError: missing, truncated, not such a file, or a pickle with code in it.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Give the path of a checkpoint (.safetensors); the demo's lies "
            "in emo_core/assets/emo."
        )
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in PICKLE_ENDINGS:
        tensors, places = open_pickle(path)
        return TensorFile(path=path, tensors=tensors, metadata={}, places=places)
    raise InputError(
        f"{path}: ends in {path.suffix or 'nothing'}; expected .safetensors (or "
        f"{', '.join(PICKLE_ENDINGS)} with tensors only). Give a checkpoint file."
    )


def read_converted(
    file: TensorFile, names: Mapping[str, str], *, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return some of a file's tensors under other names, in memory of their own.

    Args:
        names: from the file's name of a tensor to the new one.
        dtype: of floating-point tensors; others keep theirs.
    """
    return {names[name]: tensor for name, tensor in file.stream(names, dtype=dtype)}


def _open_safetensors(path: Path) -> TensorFile:
    try:
        size = path.stat().st_size
        with safe_open(path, framework="pt") as checked:
            metadata = checked.metadata() or {}
        # Only the check is the library's: it would read the beginning of every tensor.
        with opened(path) as file:
            header_size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_size))
        storage = torch.UntypedStorage.from_file(str(path), False, size)
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}). The download or copy probably broke "
            "off: fetch the file again."
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: safetensors and torch, for the same.
        raise InputError(
            f"{path}: cannot be read ({error}). Another program may have moved or removed it; see "
            "that it stays where it is."
        ) from error
    header.pop("__metadata__", None)
    tensors, places = {}, {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise InputError(
                f"{path}: {name} is of type {entry['dtype']}; expected {', '.join(DTYPES)}. "
                "Convert it to one of these."
            )
        begin, end = (8 + header_size + offset for offset in entry["data_offsets"])
        empty = torch.empty(0, dtype=DTYPES[entry["dtype"]])
        tensors[name] = empty.set_(storage[begin:end], 0, entry["shape"])
        places[name] = place_of(tensors[name], begin=begin)
    return TensorFile(path=path, tensors=tensors, metadata=metadata, places=places)
