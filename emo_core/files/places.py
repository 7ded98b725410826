"""Where the numbers of a tensor lie in a file, and reading them from there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError


class Place(NamedTuple):
    """One tensor's."""

    begin: int
    """Bytes from the beginning of the file."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Numbers from one index to the next, in each dimension."""

    @property
    def num_bytes(self) -> int:
        """From the first number to the last, with all that lies between."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.stride, strict=True)
        return (1 + sum((size - 1) * stride for size, stride in steps)) * self.dtype.itemsize


def place_of(tensor: Tensor, *, begin: int) -> Place:
    return Place(begin, tensor.dtype, tuple(tensor.shape), tensor.stride())


def read_places(
    path: Path, places: Mapping[str, Place], names: Iterable[str], *, dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield copies of tensors; beside them there is a buffer of the largest one's size.

    Plain reading is used because pages of a mapped file would count as the process' own memory.

    Args:
        dtype: as for `copy_of`.

    Raises:
        InputError: the file has become shorter, or is gone.
    """
    names = list(names)
    largest = max((places[name].num_bytes for name in names), default=0)
    buffer = torch.empty(largest, dtype=torch.uint8)
    with opened(path) as file:
        for name in names:
            place = places[name]
            size = place.num_bytes
            file.seek(place.begin)
            if file.readinto(buffer[:size].numpy().data) < size:
                raise InputError(
                    f"{path}: ends before {name}, which it held when it was opened. Something "
                    "else is writing to it: wait for that, or fetch the file again."
                )
            tensor = buffer[:size].view(place.dtype).as_strided(place.shape, place.stride)
            yield name, copy_of(tensor, dtype)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        InputError: it cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Another program may have moved or removed "
            "it; see that it stays where it is."
        ) from error


def copy_of(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a contiguous copy.

    Args:
        dtype: of floating-point tensors; None keeps what they have. Others are kept always.
    """
    if dtype is None or not tensor.is_floating_point():
        dtype = tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
