"""Films side by side."""

import numpy as np

from emo_core.evaluation.reel import CAPTION_HEIGHT, COLUMNS, GAP, SIDE, Shot, draw_reel


def shade(value: int, *, num_frames: int) -> Shot:
    frames = np.full((num_frames, SIDE, SIDE, 3), value, np.uint8)
    frames[-1] = 255
    return Shot(caption=f"shade {value}", frames=frames)


def test_every_film_has_its_place_and_a_shorter_one_waits() -> None:
    shots = [shade(20 * place, num_frames=2 + place % 2) for place in range(COLUMNS + 1)]
    pictures = draw_reel(shots)
    assert len(pictures) == 3
    step_x, step_y = SIDE + GAP, SIDE + CAPTION_HEIGHT + GAP
    assert pictures[0].size == (COLUMNS * step_x + GAP, 2 * step_y + GAP)
    for place in range(len(shots)):
        middle = (
            GAP + place % COLUMNS * step_x + SIDE // 2,
            GAP + place // COLUMNS * step_y + SIDE // 2,
        )
        seen = [picture.getpixel(middle)[0] for picture in pictures]
        own = 20 * place
        assert seen == ([own, own, 255] if place % 2 else [own, 255, 255])
