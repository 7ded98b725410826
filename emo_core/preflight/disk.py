"""What a film leaves on the disks, and an early no where it cannot fit.

The size of a film is known only once it is made. Before, there are two guesses: a little film of
its first frames, and a bound that a talking head does not go below. While an mp4 is written there
are two: the film, and its copy that can be watched meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..store.clips import LARGEST_BYTES, stored_entries
from .findings import REFUSED, DiskUse, judge_disks
from .plan import FilmPlan

LEAST_BYTES_PER_PIXEL_MP4 = 0.005
"""Of H.264 at crf 18. The demo's films have 0.04, blown up smoothly to 512x512 still 0.02."""
LEAST_BYTES_PER_PIXEL_PNG = 0.2
"""The demo's pictures have 1.1, blown up smoothly to 512x512 still 0.6."""
DISK_ADVICE = (
    "Free some space, choose another folder, a smaller size or a lower frame rate, or make the "
    "film in parts."
)


def disk_uses(
    plan: FilmPlan,
    out: Path,
    *,
    store: Path | None,
    frame_bytes: float,
    is_mp4: bool,
    held_bytes: int = 0,
) -> list[DiskUse]:
    """What comes to lie where.

    Args:
        out: the film.
        store: of clips; None where there is none. It drops what is old beyond its own limit.
        frame_bytes: of the film, per frame.
        held_bytes: of the film's clips that are in the store already.
    """
    num_bytes = round((1 + is_mp4) * plan.num_frames * frame_bytes)
    uses = [DiskUse(folder=out.parent, what="film", num_bytes=num_bytes)]
    if store is not None:
        num_bytes = max(0, min(plan.store_bytes, LARGEST_BYTES) - held_bytes)
        uses.append(DiskUse(folder=store, what="clip store", num_bytes=num_bytes))
    return uses


def least_frame_bytes(plan: FilmPlan, *, is_mp4: bool) -> float:
    """A size per frame that films do not go below."""
    per_pixel = LEAST_BYTES_PER_PIXEL_MP4 if is_mp4 else LEAST_BYTES_PER_PIXEL_PNG
    return per_pixel * plan.width * plan.height


def check_room(plan: FilmPlan, out: Path, *, store: Path | None, is_mp4: bool) -> None:
    """Refuse a film that its disk clearly cannot hold.

    What the store has may all be this film's, as in a rerun, and then needs no room any more.

    Raises:
        InputError: even the least size is more than what is free.
    """
    least = least_frame_bytes(plan, is_mp4=is_mp4)
    held = 0 if store is None else sum(size for _, size, _ in stored_entries(store))
    uses = disk_uses(plan, out, store=store, frame_bytes=least, is_mp4=is_mp4, held_bytes=held)
    for finding in judge_disks(uses, advice=DISK_ADVICE):
        if finding.level == REFUSED:
            raise InputError(f"{out}: no room for the film. At the least, {finding.text()}")
