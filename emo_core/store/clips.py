"""The clip store: a folder of finished clips, safe against crashes and against each other.

An entry is one safetensors file, named by the clip's fingerprint: `latents` (F, C, h, w) and, where
the next clip is led by frames, `motion` (M, C, h, w). It is written whole or not at all, and its
own checksum says whether it is still what was written; a damaged one is made again and replaced.
Any number of programs may use one folder at once: they can only write the same thing.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..files.read import read_tensors
from ..files.replace import remove_stale
from ..files.safetensors_format import TensorSpec
from ..files.write import bytes_of, write_safetensors

logger = logging.getLogger(__name__)

LARGEST_BYTES = 10 * 10**9
"""Of all entries; beyond it those are dropped that were not read for the longest time."""
CHECKSUM_KEY = "sha256"
ENDING = ".safetensors"


@dataclass(frozen=True)
class StoredClip:
    """What an entry holds."""

    latents: Tensor
    motion: Tensor | None


class ClipStore:
    """Finished clips in a folder."""

    def __init__(self, folder: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
        """Use a folder, which is made where there is none.

        Raises:
            InputError: it cannot be made, or there is a file of that name.
        """
        self.folder = folder
        self.largest_bytes = largest_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot hold the finished clips ({error.strerror}). Expected a folder "
                "that can be written; choose another."
            ) from error
        remove_stale(folder)

    def read(self, fingerprint: str) -> StoredClip | None:
        """Return an entry; None where there is none, or one that cannot be read.

        Nothing is removed: what cannot be read now may be whole, and a damaged entry is replaced
        when its clip has been made again.
        """
        path = self._path(fingerprint)
        try:
            file = read_tensors(path)
            tensors = dict(file.stream(file.tensors))
            is_whole = file.metadata.get(CHECKSUM_KEY) == _checksum(tensors)
        except InputError:
            is_whole = False
        if not is_whole:
            if path.is_file():  # Not there: never made, or dropped by another program.
                logger.warning("%s: damaged, or not readable now; the clip is made again.", path)
            return None
        with suppress(OSError):  # Dropped by another program, or it is another user's.
            os.utime(path)
        return StoredClip(latents=tensors["latents"], motion=tensors.get("motion"))

    def write(self, fingerprint: str, clip: StoredClip) -> None:
        """Keep a clip, and make room for it.

        Raises:
            InputError: the disk is full or refuses.
        """
        tensors = {"latents": clip.latents.cpu()}
        if clip.motion is not None:
            tensors["motion"] = clip.motion.cpu()
        specs = {
            name: TensorSpec(tuple(value.shape), value.dtype) for name, value in tensors.items()
        }
        metadata = {CHECKSUM_KEY: _checksum(tensors), "format": "pt"}
        write_safetensors(self._path(fingerprint), tensors.items(), specs=specs, metadata=metadata)
        self._make_room()

    def _path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}{ENDING}"

    def _make_room(self) -> None:
        """Drop what was not read for the longest time, until the rest fits."""
        entries = stored_entries(self.folder)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries)[:-1]:  # The newest stays, whatever its size.
            if total <= self.largest_bytes:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError:  # It is another user's, or on Windows at work elsewhere.
                continue
            total -= size


def stored_entries(folder: Path) -> list[tuple[int, int, Path]]:
    """Return when each entry was last read, its bytes, and its path; none where no folder is."""
    entries = []
    for path in folder.glob(f"*{ENDING}"):
        try:
            status = path.stat()
        except FileNotFoundError:  # Another program dropped it.
            continue
        entries.append((status.st_mtime_ns, status.st_size, path))
    return entries


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(bytes_of(value))
    return digest.hexdigest()
