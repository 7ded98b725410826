"""Memory of this machine and of its card, and how much of it this program has needed so far."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True, kw_only=True)
class Memory:
    """In bytes."""

    peak: int
    """The most that this program has had at once."""
    available: int
    """To this program, with what it has already."""
    total: int


def ram() -> Memory:
    """The machine's memory."""
    system, own = psutil.virtual_memory(), psutil.Process().memory_info()
    if sys.platform == "win32":
        peak = own.peak_wset
    else:
        import resource  # Windows has none.

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Memory(peak=peak, available=system.available + own.rss, total=system.total)


def vram(device: torch.device) -> Memory | None:
    """The card's memory; None for a device that is no CUDA card."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return Memory(
        peak=torch.cuda.max_memory_allocated(device),
        available=free + torch.cuda.memory_reserved(device),
        total=total,
    )
