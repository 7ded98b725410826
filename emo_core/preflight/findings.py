"""Whether memory and disks have room for a film, and what to change where they have not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

FITS, WARNING, REFUSED = "fits", "warning", "refused"
LEVELS = (FITS, WARNING, REFUSED)
"""From good to bad."""
UNITS = ("B", "kB", "MB", "GB", "TB")
DISK_MARGIN = 2.0
"""The size of a film is guessed from its first frames; livelier ones may come to be larger."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one thing that a film needs."""

    level: str
    what: str
    """Such as RAM, or the disk of a folder."""
    needed_bytes: int
    available_bytes: int
    parts: str
    """What it is needed for."""
    advice: str
    """What to change; empty where it fits."""

    def text(self) -> str:
        """One sentence, or two."""
        needs, has = size_text(self.needed_bytes), size_text(self.available_bytes)
        text = f"{self.what}: needs {needs} ({self.parts}), {has} available."
        return f"{text} {self.advice}" if self.advice else text


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """Something that a film leaves on a disk."""

    folder: Path
    what: str
    num_bytes: int


def judge_memory(
    what: str,
    *,
    needed_bytes: int,
    available_bytes: int,
    total_bytes: int,
    parts: str,
    advice: str,
    least_bytes: int | None = None,
) -> Finding:
    """Compare what a film needs with what there is.

    Args:
        available_bytes: as long as other programs keep what they have.
        total_bytes: of the machine or the card.
        least_bytes: with which it works too, but slower; None where nothing is to be saved.

    Returns:
        Refused where even the least is more than there is in total.
    """
    least_bytes = needed_bytes if least_bytes is None else least_bytes
    level = FITS if needed_bytes <= available_bytes else WARNING
    if least_bytes > total_bytes:
        level = REFUSED
    return Finding(
        level=level,
        what=what,
        needed_bytes=needed_bytes,
        available_bytes=total_bytes if level == REFUSED else available_bytes,
        parts=parts,
        advice="" if level == FITS else advice,
    )


def judge_disks(
    uses: Iterable[DiskUse],
    *,
    advice: str,
    free_on: Callable[[Path], int] | None = None,
) -> list[Finding]:
    """Compare what comes to lie on each disk with its free space.

    Args:
        uses: folders that do not exist yet count for the disk that they would lie on.
        free_on: free bytes of the disk that a folder is on; None asks the system.

    Returns:
        One finding per disk: refused where it does not fit, a warning where twice as much would
        not.
    """
    free_on = free_bytes if free_on is None else free_on
    by_disk: dict[int, list[DiskUse]] = {}
    for use in uses:
        by_disk.setdefault(_existing(use.folder).stat().st_dev, []).append(use)
    found = []
    for together in by_disk.values():
        folder = _existing(together[0].folder)
        needed, free = sum(use.num_bytes for use in together), free_on(folder)
        level = FITS if needed * DISK_MARGIN <= free else WARNING
        if needed > free:
            level = REFUSED
        found.append(
            Finding(
                level=level,
                what=f"disk of {folder}",
                needed_bytes=needed,
                available_bytes=free,
                parts=", ".join(f"{use.what} {size_text(use.num_bytes)}" for use in together),
                advice="" if level == FITS else advice,
            )
        )
    return found


def worst(findings: Iterable[Finding]) -> str:
    """The verdict on all findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=FITS)


def size_text(num_bytes: float) -> str:
    """Bytes for people, in powers of 1000 as disks are sold: 1.2 GB."""
    for unit in UNITS:
        if abs(num_bytes) < 1000 or unit == UNITS[-1]:
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder lies on, or would lie on."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    folder = folder.resolve()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
