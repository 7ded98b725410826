"""A tensor that lies in a file and costs memory only while it is touched.

For what grows with a film's length and is read in order: latents, long sounds. The file has no name
and goes away with the tensor.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from .replace import explaining_os_errors
from .write import bytes_of


class TensorOnDisk:
    """Rows of one shape and type: written one after the other, then read as one tensor."""

    def __init__(
        self, folder: Path, *, row_shape: tuple[int, ...], dtype: torch.dtype = torch.float32
    ) -> None:
        """Begin a file in a folder.

        Raises:
            InputError: the folder cannot be written.
        """
        self.folder = folder
        self.row_shape = row_shape
        self.dtype = dtype
        self.num_rows = 0
        self._map: mmap.mmap | None = None
        with explaining_os_errors(folder / "temporary file"):
            self._file = tempfile.TemporaryFile(dir=folder)

    def append(self, rows: Tensor) -> None:
        """Write rows (N, *row_shape).

        Raises:
            InputError: the disk is full.
        """
        rows = rows.to(self.dtype)
        if tuple(rows.shape[1:]) != self.row_shape or self._map is not None:
            raise ValueError(
                f"rows of shape {tuple(rows.shape[1:])} for {self.row_shape}, or after `tensor`"
            )
        with explaining_os_errors(self.folder / "temporary file"):
            self._file.write(bytes_of(rows))
        self.num_rows += len(rows)

    def tensor(self) -> Tensor:
        """Return all rows, (num_rows, *row_shape). Changes made to it are changes of the file."""
        if not self.num_rows:
            return torch.empty(0, *self.row_shape, dtype=self.dtype)
        if self._map is None:
            with explaining_os_errors(self.folder / "temporary file"):
                self._file.flush()
                self._map = mmap.mmap(self._file.fileno(), 0)
        count = self.num_rows * math.prod(self.row_shape)
        values = torch.frombuffer(self._map, dtype=self.dtype, count=count)
        return values.view(self.num_rows, *self.row_shape)

    def release(self) -> None:
        """Give back the memory of what was touched; it is read from the file again when needed."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def __deepcopy__(self, copied: dict[int, object]) -> TensorOnDisk:
        """The same file: whoever copies a LATENT deeply gets samples of their own anyway."""
        return self
