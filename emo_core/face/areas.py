"""Where Hallo's three audio attentions count: the whole picture, the face and the lips.

Source: fudan-generative-vision/hallo, hallo/utils/util.py (boxes and 64 x 64 masks) and
hallo/datasets/image_processor.py (levels, the locator's picture), at commit 8fd7c57. The masks are
equal to the last bit, which is why the 8-bit resizing and blurring below follow OpenCV's integers.

We differ where upstream breaks. A box that has grown wider or higher than the picture begins there
at a negative row or column, which slicing counts from the far edge; here it ends at the picture.
The levels have the film's proportions; upstream makes squares.

Boxes are (x0, y0, x1, y1) in pixels of the picture, the end not included.
Letters in this file: N landmarks, H and W rows and columns of pixels, h and w of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError

PixelBox = tuple[int, int, int, int]

FACE_EXPANSION = 1.2
LIP_EXPANSION = 2.0
MASK_SIZE = 64
"""Side of the masks from which all levels are made, whatever the film's size."""

_LIPS_IN_FACE = (0.34, 0.66, 0.66, 0.77)
"""x0, y0, x1, y1 of the lips as fractions of the face's box; both as the landmark ids below bound
them on MediaPipe's canonical face model, seen from the front."""

_FACE_BLUR, _LIP_BLUR = 51, 31
"""Width of the Gaussian in pixels of the 64 x 64 mask."""

# fmt: off
_SILHOUETTE_IDS = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
_LIP_IDS = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,
)
# fmt: on


def face_box(
    landmarks_N2: Tensor, *, width: int, height: int, expansion: float = FACE_EXPANSION
) -> PixelBox:
    """The box round the silhouette of a face, expanded.

    Args:
        landmarks_N2: x and y in pixels, in the order of MediaPipe's face landmarker (N = 468 or
            478).
        width: of the picture in pixels, as `height`.

    Raises:
        InputError: as `expand_box`, or these are not such landmarks.
    """
    bounds = _bounds(landmarks_N2, _SILHOUETTE_IDS)
    return expand_box(bounds, width=width, height=height, expansion=expansion)


def lip_box(
    landmarks_N2: Tensor, *, width: int, height: int, expansion: float = LIP_EXPANSION
) -> PixelBox:
    """The box round the outer edge of the lips, expanded; otherwise as `face_box`."""
    bounds = _bounds(landmarks_N2, _LIP_IDS)
    return expand_box(bounds, width=width, height=height, expansion=expansion)


def lip_box_in_face(
    face: Sequence[float], *, width: int, height: int, expansion: float = LIP_EXPANSION
) -> PixelBox:
    """The lips' box where no landmarks are known, expanded.

    Args:
        face: box of the face from a detector, in pixels, not expanded. The lips are taken to
            lie at 34 to 66 % of its width and 66 to 77 % of its height.

    Raises:
        InputError: as `expand_box`.
    """
    x0, y0, x1, y1 = face
    left, top, right, bottom = _LIPS_IN_FACE
    lips = (
        x0 + left * (x1 - x0),
        y0 + top * (y1 - y0),
        x0 + right * (x1 - x0),
        y0 + bottom * (y1 - y0),
    )
    return expand_box(lips, width=width, height=height, expansion=expansion)


def expand_box(
    box: Sequence[float], *, width: int, height: int, expansion: float = FACE_EXPANSION
) -> PixelBox:
    """Widen a box about its middle and move it back inside the picture.

    The edges are rounded to whole pixels first. Middle and half sides are rounded down, as
    upstream does it. What is larger than the picture is cut to it.

    Args:
        box: in pixels; may stick out of the picture.
        expansion: of each side, as a factor.

    Raises:
        InputError: the box has no width or height, is wholly outside the picture, or comes out
            less than a pixel wide or high.
    """
    found = f"box {tuple(round(float(value), 1) for value in box)} in a {width}x{height} picture"
    if not np.isfinite(box).all() or not (box[0] < box[2] and box[1] < box[3]):
        raise InputError(
            f"{found}: it holds nothing. Expected x0 < x1 and y0 < y1 in pixels; correct it."
        )
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise InputError(
            f"{found}: it lies outside. Expected pixels of this very picture; correct the box."
        )
    x0, x1 = _expanded_side(box[0], box[2], limit=width, expansion=expansion)
    y0, y1 = _expanded_side(box[1], box[3], limit=height, expansion=expansion)
    if x0 >= x1 or y0 >= y1:
        raise InputError(
            f"{found}: expanded by {expansion:g} it is {x1 - x0}x{y1 - y0} pixels. Expected at "
            "least one; use a larger picture or box."
        )
    return x0, y0, x1, y1


def box_picture(
    box: PixelBox, *, source_width: int, source_height: int, width: int, height: int
) -> Tensor:
    """A box as the face locator sees it: painted on its picture, which is squeezed to the film.

    Args:
        box: in pixels of the source.
        width: of the film, as `height`.

    Returns:
        (height, width) float32 in 0..1, edges softened by the resizing.
    """
    painted = Image.fromarray(_painted(box, width=source_width, height=source_height))
    return _unit_range(painted.resize((width, height), Image.Resampling.BILINEAR))


def area_masks(face: PixelBox, lip: PixelBox, *, width: int, height: int) -> Tensor:
    """Soft masks of the three areas, the whole picture squeezed into 64 x 64.

    Args:
        face: expanded, inside the picture, as `lip`.
        width: of the picture in pixels, as `height`.

    Returns:
        (3, 64, 64) uint8: full (all but the face), face (without the lips), lip.

    Raises:
        InputError: a box is not inside the picture, or so small that the resizing misses it.
    """
    face_soft = _soft_mask(face, width=width, height=height, blur=_FACE_BLUR, name="face")
    lip_soft = _soft_mask(lip, width=width, height=height, blur=_LIP_BLUR, name="lip")
    # Cut, not rounded: 50 of the 256 values come out one below 255 - face_soft.
    full = ((1.0 - face_soft / 255.0) * 255.0).astype(np.uint8)
    face_only = face_soft - np.minimum(face_soft, lip_soft)
    return torch.from_numpy(np.stack([full, face_only, lip_soft]))


def level_sizes(height: int, width: int, *, num_levels: int = 4) -> list[tuple[int, int]]:
    """(h, w) of the UNet's levels for a film's size in pixels, finest first.

    An eighth of the film, then half of the level before, both rounded up.
    """
    sizes = [(-(-height // 8), -(-width // 8))]
    for _ in range(num_levels - 1):
        h, w = sizes[-1]
        sizes.append((-(-h // 2), -(-w // 2)))
    return sizes


def area_levels(masks: Tensor, *, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Bring the masks to the UNet's levels.

    Args:
        masks: (3, 64, 64) uint8 of `area_masks`.
        sizes: (h, w) of every level, as `level_sizes` gives them.

    Returns:
        For each level (3, h, w) float32 in 0..1, in the order full, face, lip.
    """
    pictures = [Image.fromarray(mask) for mask in masks.numpy()]
    return [
        torch.stack(
            [_unit_range(picture.resize((w, h), Image.Resampling.BILINEAR)) for picture in pictures]
        )
        for h, w in sizes
    ]


def check_landmarks(landmarks_N2: Tensor) -> None:
    """Raise InputError unless these are MediaPipe's landmarks, x and y in pixels."""
    if landmarks_N2.ndim != 2 or landmarks_N2.shape[1] != 2 or len(landmarks_N2) < 468:
        raise InputError(
            f"face landmarks of shape {tuple(landmarks_N2.shape)}: expected (478, 2) or (468, 2), "
            "x and y of MediaPipe's face landmarker in pixels. Run that landmarker."
        )


def _bounds(landmarks_N2: Tensor, ids: tuple[int, ...]) -> list[float]:
    check_landmarks(landmarks_N2)
    points = landmarks_N2[list(ids)].double()
    return [*points.amin(dim=0).tolist(), *points.amax(dim=0).tolist()]


def _expanded_side(start: float, end: float, *, limit: int, expansion: float) -> tuple[int, int]:
    """One axis of `expand_box`; every // rounds down."""
    low, high = round(start), round(end)
    middle, reach = (high + low) // 2, int((high - low) * expansion // 2)
    low, high = middle - reach, middle + reach
    if low < 0:
        low, high = 0, high - low
    if high > limit:
        low, high = low - (high - limit), limit
    return max(0, low), high


def _soft_mask(box: PixelBox, *, width: int, height: int, blur: int, name: str) -> np.ndarray:
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"{name} box {box} in a {width}x{height} picture: expected 0 <= x0 < x1 <= {width} and "
            f"0 <= y0 < y1 <= {height} in pixels. Correct it, or pass it through expand_box."
        )
    small = _resized_8bit(_painted(box, width=width, height=height), size=MASK_SIZE)
    if not small.any():
        raise InputError(
            f"{name} box {box} in a {width}x{height} picture: nothing is left of it on the "
            f"{MASK_SIZE}x{MASK_SIZE} mask. Make it larger, or crop the picture round the face."
        )
    return _stretched_to_full_range(_blurred_8bit(small, width=blur))


def _painted(box: PixelBox, *, width: int, height: int) -> np.ndarray:
    x0, y0, x1, y1 = box
    picture_HW = np.zeros((height, width), np.uint8)
    picture_HW[y0:y1, x0:x1] = 255
    return picture_HW


def _unit_range(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)


def _resized_8bit(picture_HW: np.ndarray, *, size: int) -> np.ndarray:
    """Bilinear resizing of 8-bit values as OpenCV's resize does it: weights of 11 bits."""
    column, weight_column = _taps(picture_HW.shape[1], size)
    row, weight_row = _taps(picture_HW.shape[0], size)
    wide = picture_HW[:, column].astype(np.int64)  # (H, size, 2)
    rows = (wide * weight_column).sum(-1)[row] >> 4  # (size, 2, size)
    parts = (rows * weight_row[:, :, None]) >> 16
    return ((parts.sum(axis=1) + 2) >> 2).astype(np.uint8)


def _taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights (size, 2) of the two neighbours of every target pixel."""
    scale = 1.0 / (size / length)
    position = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position)
    fraction = position - first
    weights = np.stack([np.float32(1.0) - fraction, fraction], axis=1) * np.float32(2048.0)
    index = np.stack([first, first + 1], axis=1).clip(0, length - 1).astype(np.int64)
    return index, np.rint(weights).astype(np.int64)


def _blurred_8bit(picture: np.ndarray, *, width: int) -> np.ndarray:
    """Gaussian of 8-bit values as OpenCV's GaussianBlur with sigma 0: weights of 8 bits.

    The rounding error of one weight is carried into the next, and the middle one makes the sum
    exact. Edges are mirrored without repeating the edge pixel.
    """
    reach = width // 2
    sigma = 0.15 * width + 0.35
    exact = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    exact *= 256.0 / exact.sum()
    weights, error = np.zeros(width, np.int64), 0.0
    for i in range(reach):
        weights[i] = weights[-1 - i] = np.rint(exact[i] + error)
        error += exact[i] - weights[i]
    weights[reach] = 256 - weights.sum()
    values = picture.astype(np.int64)
    for axis in (1, 0):
        padding = [(reach, reach) if i == axis else (0, 0) for i in range(2)]
        padded = np.pad(values, padding, mode="reflect")
        values = np.lib.stride_tricks.sliding_window_view(padded, width, axis=axis) @ weights
    return ((values + (1 << 15)) >> 16).astype(np.uint8)


def _stretched_to_full_range(picture: np.ndarray) -> np.ndarray:
    """Lowest value to 0, highest to 255, as OpenCV's normalize.

    OpenCV multiplies and adds in single precision with one rounding; the cast does the same. A
    picture of one value stays as it is, where upstream makes it 0: a box over the whole picture
    is all face and not all background.
    """
    low, high = int(picture.min()), int(picture.max())
    if low == high:
        return picture
    scale = 255.0 * (1.0 / (high - low))
    offset = np.float64(np.float32(-low * scale))
    stretched = picture * np.float64(np.float32(scale)) + offset
    return np.rint(stretched.astype(np.float32)).clip(0, 255).astype(np.uint8)
