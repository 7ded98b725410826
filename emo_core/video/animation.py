"""A moving picture without sound, for web pages that show no films: WebP, endless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..files.replace import check_target, explaining_os_errors, replacing
from .provenance import xmp_packet
from .stills import encoded

QUALITY = 70
EFFORT = 4
"""Of WebP's 0 to 6: more takes longer and saves a few per cent."""


def save_animation(
    images: Sequence[Image.Image], path: Path, *, fps: float, comment: str = ""
) -> None:
    """Save pictures of one size as .webp, whole or not at all, with the note of their origin.

    Args:
        images: at least one.
        fps: above 0; a picture is shown for a whole number of milliseconds.

    Raises:
        InputError: another ending, no such folder, or the disk is full or refuses.
    """
    if path.suffix.lower() != ".webp":
        raise InputError(
            f"{path}: the name ends in {path.suffix.lower() or 'nothing'}. Expected .webp; "
            "rename it."
        )
    check_target(path)
    # Each picture ends at a whole millisecond, so that a rate such as 30 does not run away.
    ends_ms = [round(1000.0 * (place + 1) / fps) for place in range(len(images))]
    durations_ms = [end - start for start, end in zip([0, *ends_ms[:-1]], ends_ms, strict=True)]
    content = encoded(
        images[0],
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=durations_ms,
        loop=0,
        quality=QUALITY,
        method=EFFORT,
        xmp=xmp_packet(comment).encode("utf-8"),
    )
    with replacing(path) as temporary, explaining_os_errors(path):
        temporary.write_bytes(content)
