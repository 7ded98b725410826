"""What can become of a file when nobody looks."""

from __future__ import annotations

from pathlib import Path
from random import Random


def cut_short(path: Path, rng: Random) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: rng.randrange(1, len(whole))])


def change_a_bit(path: Path, rng: Random) -> None:
    """Among names, shapes and checksum, or among the numbers."""
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    whole[rng.randrange(*rng.choice([(0, header), (header, len(whole))]))] ^= 1 << rng.randrange(8)
    path.write_bytes(whole)


def empty(path: Path, rng: Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, rng: Random) -> None:
    path.unlink()
