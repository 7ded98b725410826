"""Read the tensors of a file without ever running what it holds, and without filling memory.

An opened file is mapped: names, shapes and types are known, numbers are read from the disk when
they are touched, and the pages they were read into then count as the process' memory.
`TensorFile.stream` therefore maps the file anew every now and then, which gives the pages back.
Only pickles from before PyTorch 1.6, which are no zip archives, have to be read whole.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError
from .safetensors_format import DTYPES

PICKLE_ENDINGS = (".pt", ".pth", ".ckpt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "module")
"""Where training programs put the weights when they save other things beside them."""
MAPPED_BYTES = 128 * 2**20
"""What `stream` reads from one mapping; a single tensor may be larger."""


@dataclass(frozen=True)
class TensorFile:
    """The contents of one file."""

    path: Path
    tensors: Mapping[str, Tensor]
    """Views of the mapped file. Touch few of them, or `stream` them."""
    metadata: Mapping[str, str]
    is_mapped: bool = True
    """False: all tensors are in memory, and `stream` cannot give any of it back."""

    def stream(
        self, names: Iterable[str], *, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield names and tensors one after the other, each a contiguous copy of its own.

        Of the file itself no more than `MAPPED_BYTES`, or its largest tensor, is in memory.

        Args:
            names: keys of `tensors`, in any order; that of the file is the fastest.
            dtype: of floating-point tensors; None keeps what the file has. Others are kept always.
        """
        tensors, num_bytes = self._mapped_again(), 0
        for name in names:
            size = _span_bytes(tensors[name])
            if num_bytes and num_bytes + size > MAPPED_BYTES:
                tensors, num_bytes = self._mapped_again(), 0
            num_bytes += size
            yield name, _copy(tensors[name], dtype)

    def _mapped_again(self) -> Mapping[str, Tensor]:
        return _open(self.path).tensors if self.is_mapped else self.tensors


def read_tensors(path: Path) -> TensorFile:
    """Open a safetensors file, or a pickle that holds nothing but tensors.

    A pickle may hold its tensors under one of `WRAPPERS`; what else it holds is then left out.

    Raises:
        InputError: missing, truncated, not such a file, or a pickle with code in it.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Give the path of a checkpoint (.safetensors); the demo's lies "
            "in emo_core/assets/emo."
        )
    return _open(path)


def read_converted(
    file: TensorFile, names: Mapping[str, str], *, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return some of a file's tensors under other names, in memory of their own.

    Args:
        names: from the file's name of a tensor to the new one.
        dtype: of floating-point tensors; others keep theirs.
    """
    return {names[name]: tensor for name, tensor in file.stream(names, dtype=dtype)}


def _open(path: Path) -> TensorFile:
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in PICKLE_ENDINGS:
        return _open_pickle(path)
    raise InputError(
        f"{path}: ends in {path.suffix or 'nothing'}; expected .safetensors (or "
        f"{', '.join(PICKLE_ENDINGS)} with tensors only). Give a checkpoint file."
    )


def _open_safetensors(path: Path) -> TensorFile:
    size = path.stat().st_size
    try:
        with safe_open(path, framework="pt") as checked:
            metadata = checked.metadata() or {}
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); it has {size} bytes. The download or "
            "copy probably broke off: fetch the file again."
        ) from error
    # Only the check is the library's: it would read the beginning of every tensor from the disk.
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_size))
    header.pop("__metadata__", None)
    storage = torch.UntypedStorage.from_file(str(path), False, size)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise InputError(
                f"{path}: {name} is of type {entry['dtype']}; expected {', '.join(DTYPES)}. "
                "Convert it to one of these."
            )
        begin, end = (8 + header_size + offset for offset in entry["data_offsets"])
        empty = torch.empty(0, dtype=DTYPES[entry["dtype"]])
        tensors[name] = empty.set_(storage[begin:end], 0, entry["shape"])
    return TensorFile(path=path, tensors=tensors, metadata=metadata)


def _open_pickle(path: Path) -> TensorFile:
    is_mapped = _is_stored_zip(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except _PICKLE_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: refused. A pickle may run any program when it is opened, and this one holds "
            f"more than tensors or is damaged ({reason}); it has {path.stat().st_size} bytes. "
            "Fetch it again if the download broke off, or get the safetensors version of it."
        ) from error
    tensors = _named_tensors(contents, path)
    return TensorFile(path=path, tensors=tensors, metadata={}, is_mapped=is_mapped)


_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    # What the unpickler meets in a damaged file.
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    struct.error,
)


def _is_stored_zip(path: Path) -> bool:
    """Whether the tensors lie in the file as they are; a compressed archive cannot be mapped."""
    try:
        with zipfile.ZipFile(path) as archive:
            return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return False


def _named_tensors(contents: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(contents, dict):
        raise InputError(
            f"{path}: holds {type(contents).__name__} instead of named tensors. Give a checkpoint "
            "that holds weights only."
        )
    for wrapper in WRAPPERS:
        if isinstance(contents.get(wrapper), dict):
            contents = contents[wrapper]
            break
    for key, value in contents.items():
        is_plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not is_plain or value.device.type != "cpu" or not isinstance(key, str):
            raise InputError(
                f"{path}: its entry {key!r} is {type(value).__name__}; expected dense tensors with "
                f"names, alone or under one of {', '.join(WRAPPERS)}. Give a checkpoint that holds "
                "weights only."
            )
    return {key: value.detach() for key, value in contents.items()}


def _span_bytes(tensor: Tensor) -> int:
    """Size of the piece of file from a tensor's first number to its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (1 + sum((size - 1) * stride for size, stride in steps)) * tensor.element_size()


def _copy(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        dtype = tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
