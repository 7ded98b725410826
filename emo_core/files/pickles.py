"""Pickles of tensors, as `torch.save` writes them: opened without running or reading them.

Since PyTorch 1.6 such a file is a zip archive with one uncompressed record per tensor storage.
`torch.load` can map it but does not tell where in the file a tensor lies; `_base` finds that out.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .places import Place, place_of

SAFE_TORCH = (2, 6)
PICKLE_ENDINGS = (".pt", ".pth", ".ckpt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "module")
"""Where training programs put the weights when they save other things beside them."""

Records = set[tuple[int, int]]
"""Begin and size in bytes."""

_ERRORS = (
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


def open_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, Place] | None]:
    """Return named tensors, mapped where the file allows that, and their places.

    No places: the file is from before PyTorch 1.6 or compressed, and was read whole; or they could
    not be told for certain.

    Raises:
        InputError: damaged, or holds something else than named tensors.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        raise InputError(
            f"{path}: a pickle, which PyTorch {torch.__version__} cannot open safely "
            f"(CVE-2025-32434). Update PyTorch to 2.6 or newer, or use a safetensors file."
        )
    records = _records(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=records is not None)
    except _ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: refused. A pickle may run any program when it is opened, and this one holds "
            f"more than tensors or is damaged ({reason}); it has {path.stat().st_size} bytes. "
            "Fetch it again if the download broke off, or get the safetensors version of it."
        ) from error
    tensors = _named_tensors(contents, path)
    base = None if records is None else _base(contents, records)
    if base is None:
        return tensors, None
    return tensors, {
        name: place_of(tensor, begin=tensor.data_ptr() - base if tensor.numel() else 0)
        for name, tensor in tensors.items()
    }


def _records(path: Path) -> Records | None:
    """Return what an archive holds as it is; None for a compressed one and for other files."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return None
            records = set()
            for entry in entries:
                # In front of the data: 30 bytes of which the last four are these two sizes.
                file.seek(entry.header_offset + 26)
                name_size, padding_size = struct.unpack("<HH", file.read(4))
                begin = entry.header_offset + 30 + name_size + padding_size
                records.add((begin, entry.file_size))
            return records
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError, EOFError):
        # OSError: a damaged archive has records before the file's beginning.
        return None


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
        if not isinstance(key, str) or not _is_plain(value):
            raise InputError(
                f"{path}: its entry {key!r} is {type(value).__name__}; expected dense tensors with "
                f"names, alone or under one of {', '.join(WRAPPERS)}. Give a checkpoint that holds "
                "weights only."
            )
    return {key: value.detach() for key, value in contents.items()}


def _is_plain(value: object) -> bool:
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided
    return is_dense and value.device.type == "cpu" and not value.is_quantized


def _base(contents: object, records: Records) -> int | None:
    """Return the address that the beginning of the file is mapped to.

    It is the one from which all storages are records. None if there are several: storages of the
    same sizes lie in the file once more, where `_all_tensors` does not look.
    """
    storages = {
        (storage.data_ptr(), storage.nbytes())
        for storage in (tensor.untyped_storage() for tensor in _all_tensors(contents))
        if storage.nbytes()
    }
    if not storages:
        return None
    address, largest = max(storages, key=lambda storage: storage[1])
    bases = [address - begin for begin, size in records if size == largest]
    fitting = [
        base
        for base in bases
        if all((address - base, size) in records for address, size in storages)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _all_tensors(contents: object) -> Iterator[Tensor]:
    if _is_plain(contents):
        yield contents
    elif isinstance(contents, dict):
        for value in contents.values():
            yield from _all_tensors(value)
    elif isinstance(contents, (list, tuple)):
        for value in contents:
            yield from _all_tensors(value)
