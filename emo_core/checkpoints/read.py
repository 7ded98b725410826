"""Read the tensors of a file without ever running what it holds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

PICKLE_ENDINGS = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class TensorFile:
    """The contents of one file."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_tensors(path: Path) -> TensorFile:
    """Read a safetensors file, or a pickle that holds nothing but tensors.

    Raises:
        InputError: missing, truncated, not such a file, or a pickle with code in it.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Give the path of a checkpoint (.safetensors); the demo's lies "
            "in emo_core/assets/emo."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLE_ENDINGS:
        return _read_pickle(path)
    raise InputError(
        f"{path}: ends in {path.suffix or 'nothing'}; expected .safetensors (or "
        f"{', '.join(PICKLE_ENDINGS)} with tensors only). Give a checkpoint file."
    )


def _read_safetensors(path: Path) -> TensorFile:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); it has {path.stat().st_size} bytes. "
            "The download or copy probably broke off: fetch the file again."
        ) from error
    return TensorFile(path=path, tensors=tensors, metadata=metadata)


def _read_pickle(path: Path) -> TensorFile:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: refused. A pickle may run any program when it is opened, and this one holds "
            f"more than tensors or is damaged ({reason}). Get the safetensors version of it."
        ) from error
    if not isinstance(contents, dict) or not all(
        isinstance(value, Tensor) for value in contents.values()
    ):
        raise InputError(
            f"{path}: holds {type(contents).__name__} instead of named tensors. Give a checkpoint "
            "that holds weights only."
        )
    return TensorFile(path=path, tensors=contents, metadata={})
