"""A portrait and the state of its face -> a picture, and boxes round face and mouth.

The picture is composed of smooth shapes as SVG text and rasterised; the same arguments always
give the same pixels. Boxes are (x0, y0, x1, y1) in fractions of the picture.
"""

import numpy as np

from ..errors import InputError
from . import accessories, clothes, eyes, face_parts, hair, mouth
from .background import draw_background
from .face_state import FaceState
from .portrait import Portrait
from .scene import open_scene

__all__ = ["FaceState", "draw", "face_box", "mouth_box"]

MOUTH_MARGIN = 0.16
"""Added on every side of the lips, in head units."""


def draw(portrait: Portrait, state: FaceState, *, size: int = 128) -> np.ndarray:
    """Draw one frame.

    Args:
        portrait: the person.
        state: pose and expression.
        size: side of the square picture in pixels, at least 16.

    Returns:
        uint8 [size, size, 3].

    Raises:
        InputError: the size is below 16.
    """
    if size < 16:
        raise InputError(
            f"Portrait drawing: size {size}, expected at least 16 pixels. Ask for a larger picture."
        )
    scene = open_scene(portrait, state)
    draw_background(scene.canvas, portrait)
    hair.draw_back_hair(scene)
    clothes.draw_body(scene)
    accessories.draw_headwear_behind(scene)
    has_ears = portrait.hair_style not in ("hijab", "bob", "fringe_bob", "long_wavy", "curtain")
    face_parts.draw_head_base(scene)
    hair.draw_cap(scene)
    accessories.draw_scarf(scene)
    accessories.draw_beanie_dome(scene)
    if has_ears:
        face_parts.draw_ears(scene)
    face_parts.draw_face(scene)
    accessories.draw_beard(scene)
    mouth.draw_mouth(scene)
    eyes.draw_eyes(scene)
    face_parts.draw_nose(scene)
    hair.draw_front_hair(scene)
    accessories.draw_glasses(scene)
    accessories.draw_beanie_brim(scene)
    return scene.canvas.render(size)


def face_box(portrait: Portrait, state: FaceState) -> tuple[float, float, float, float]:
    """Box of the face, chin to hairline and ear to ear, without the hair."""
    scene = open_scene(portrait, state)
    return _box(scene.cloud[face_parts.face_mask(portrait)], margin=0.0)


def mouth_box(portrait: Portrait, state: FaceState) -> tuple[float, float, float, float]:
    """A generous box round the lips."""
    scene = open_scene(portrait, state)
    return _box(mouth.mouth_points(scene), margin=scene.size(MOUTH_MARGIN))


def _box(points_N2: np.ndarray, *, margin: float) -> tuple[float, float, float, float]:
    low = np.clip((points_N2.min(axis=0) - margin) / 1000.0, 0.0, 1.0)
    high = np.clip((points_N2.max(axis=0) + margin) / 1000.0, 0.0, 1.0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
