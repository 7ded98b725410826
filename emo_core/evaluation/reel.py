"""A few of the films side by side as one moving picture, for whoever would rather see than read.

Letters: F frames, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..video.frame_bytes import frames_as_bytes
from .cases import Case
from .plots import FAINT, PAPER, font

GREATEST_NUM_FILMS = 10
COLUMNS = 5
SIDE = 128
"""Pixels of a film in the reel; larger ones are made smaller."""
CAPTION_HEIGHT = 18
GAP = 6


@dataclass(frozen=True, eq=False)
class Shot:
    """One film, as small as the reel shows it."""

    caption: str
    frames: np.ndarray
    """uint8 [F, SIDE, SIDE, 3]."""


def shot_of(case: Case, frames: Tensor) -> Shot:
    """Return a film's shot.

    Args:
        frames: [F, H, W, 3] floats in 0..1.
    """
    small = []
    for frame in frames_as_bytes(frames, first_index=0):
        image = Image.fromarray(frame.numpy())
        if image.size != (SIDE, SIDE):
            image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.append(np.asarray(image))
    caption = f"{case.utterance.kind} {case.utterance.language}".strip()
    return Shot(caption=caption, frames=np.stack(small))


def draw_reel(shots: Sequence[Shot]) -> list[Image.Image]:
    """Lay the shots out in rows, one picture per frame; a shorter one stays at its last frame."""
    columns = min(COLUMNS, len(shots))
    rows = -(-len(shots) // columns)
    step_x, step_y = SIDE + GAP, SIDE + CAPTION_HEIGHT + GAP
    ground = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), PAPER)
    draw = ImageDraw.Draw(ground)
    corners = [
        (GAP + place % columns * step_x, GAP + place // columns * step_y)
        for place in range(len(shots))
    ]
    for (x, y), shot in zip(corners, shots, strict=True):
        draw.text((x, y + SIDE + 2), shot.caption, fill=FAINT, font=font(12))
    pictures = []
    for index in range(max(len(shot.frames) for shot in shots)):
        picture = ground.copy()
        for corner, shot in zip(corners, shots, strict=True):
            frame = shot.frames[min(index, len(shot.frames) - 1)]
            picture.paste(Image.fromarray(frame), corner)
        pictures.append(picture)
    return pictures
