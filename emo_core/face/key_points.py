"""V-Express' key points: where eyes and nose are in every frame, and how the network sees them.

Source: tencent-ailab/V-Express, datasets/utils.py (drawing), pipelines/utils.py (retargeting) and
inference.py (length), at commit 6814f7d. Pictures are equal to upstream's to the last pixel, since
its OpenCV calls are followed in integers; only where a limb crosses the edge of the picture up to
6 pixels differ, because OpenCV shortens lines before it draws them.

The three points are the eye at the left of the picture, the eye at its right, and the nose. They
are x and y in pixels of the film. Upstream asks insightface for them; MediaPipe's landmarks serve
as well.

Letters in this file: F frames of the film, M frames of the driving sequence, N landmarks, H and W
rows and columns of pixels, P corners of a polygon.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .areas import check_landmarks

STRATEGIES = {
    "fix_face": "the reference's points in every frame; the driving points are not read",
    "no_retarget": "the driving points as they are; they must suit the reference's face",
    "offset_retarget": "the reference's points, moved as a whole by half of the driving nose's way",
    "naive_retarget": "the driving points, scaled to the reference's face and begun at its nose",
}

_LEFT_EYE_IDS, _RIGHT_EYE_IDS = (33, 133), (362, 263)
"""Corners of the eye at the left and at the right of the picture in MediaPipe's landmarks; their
middle does not wander with the gaze, as the iris does."""
_NOSE_ID = 1

_COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
"""Of the points; a limb to the nose has 0.6 of its eye's."""
_LIMB_HALF_WIDTH = 4
_POINT_HALF_WIDTHS = (4, 3, 3, 2, 0)
"""Of OpenCV's filled circle of radius 4, by rows from its middle."""

_SINES = np.round(np.sin(np.deg2rad(np.arange(451))), 7).astype(np.float32).astype(np.float64)
"""By whole degrees, in the seven decimals OpenCV draws with."""


def key_points_of(landmarks_N2: Tensor) -> Tensor:
    """Eyes and nose (3, 2) float32 from MediaPipe's face landmarks (N = 468 or 478), x and y.

    Raises:
        InputError: these are not such landmarks.
    """
    check_landmarks(landmarks_N2)
    eyes = [landmarks_N2[list(ids)].mean(dim=0) for ids in (_LEFT_EYE_IDS, _RIGHT_EYE_IDS)]
    return torch.stack([*eyes, landmarks_N2[_NOSE_ID]]).float()


def key_points_for_film(
    reference_32: Tensor,
    *,
    strategy: str = "fix_face",
    driving_M32: Tensor | None = None,
    num_frames: int,
) -> Tensor:
    """The points of every frame.

    A driving sequence longer than the film is cut off at its end, a shorter one is slowed down to
    last as long (linear in between).

    Args:
        reference_32: of the portrait, in pixels of the film.
        strategy: one of `STRATEGIES`.
        driving_M32: in pixels; not read by fix_face.

    Returns:
        (F, 3, 2) float32.

    Raises:
        InputError: the strategy is unknown, driving points are missing or of another shape, or a
            face has no width or height to scale by.
    """
    if strategy not in STRATEGIES:
        raise InputError(
            f"retarget strategy {strategy!r}: unknown. Expected one of {', '.join(STRATEGIES)}."
        )
    reference_32 = reference_32.float()
    if strategy == "fix_face":
        return reference_32.expand(num_frames, 3, 2).clone()
    if driving_M32 is None or driving_M32.shape[1:] != (3, 2) or len(driving_M32) == 0:
        found = "none" if driving_M32 is None else f"shape {tuple(driving_M32.shape)}"
        raise InputError(
            f"driving key points for {strategy}: found {found}. Expected (frames, 3, 2), x and y "
            "of left eye, right eye and nose; give them, or leave the driving video out."
        )
    driving_23M = driving_M32[:num_frames].float().permute(1, 2, 0)
    driving_F32 = functional.interpolate(driving_23M, size=num_frames, mode="linear")
    driving_F32 = driving_F32.permute(2, 0, 1).contiguous()
    if strategy == "no_retarget":
        return driving_F32
    scaled_F32 = driving_F32 * _scale(reference_32, driving_F32)
    nose_F2 = scaled_F32[:, 2]
    if strategy == "offset_retarget":
        # Upstream takes the way off where adding it would follow the driving head.
        return reference_32 - ((nose_F2 - nose_F2[0]) / 2.0)[:, None]
    return scaled_F32 - (nose_F2[0] - reference_32[2])


def draw_key_points(points_32: Tensor, *, width: int, height: int) -> Tensor:
    """The picture of one frame's points that V-Express' guider reads.

    Two limbs from the eyes to the nose, red and green, then the points in red, green and blue, on
    black. Parts outside the picture are cut off.

    Args:
        points_32: x and y in pixels of the picture.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InputError: a coordinate is not finite or more than 100 pictures away.
    """
    points = points_32.detach().cpu().numpy()
    if not (np.isfinite(points).all() and np.abs(points).max() <= 100 * max(width, height)):
        raise InputError(
            f"key points {points.tolist()} for a {width}x{height} picture: expected x and y in its "
            "pixels. Correct them."
        )
    picture_HW3 = np.zeros((height, width, 3), np.uint8)
    for eye in range(2):
        color = [int(value * 0.6) for value in _COLORS[eye]]
        _fill_convex(picture_HW3, _limb(points[eye], points[2]), color)
    for (x, y), color in zip(points, _COLORS, strict=True):
        for offset in range(-4, 5):
            half = _POINT_HALF_WIDTHS[abs(offset)]
            _fill_row(picture_HW3, int(y) + offset, int(x) - half, int(x) + half, color)
    return torch.from_numpy(picture_HW3)


def _scale(reference_32: Tensor, driving_F32: Tensor) -> Tensor:
    """Factors (2,) on x and y that bring the driving face to the reference's size.

    They are measured in one driving frame, meant to look where the reference looks.
    """
    wanted = float(_eye_ratio(reference_32))
    chosen, bar = 0, math.inf
    for index, ratio in enumerate(_eye_ratio(driving_F32).tolist()):
        # Upstream compares the next difference with this ratio, not with this difference.
        if abs(ratio - wanted) < bar:
            chosen, bar = index, ratio
    reference_2, driving_2 = _face_size(reference_32), _face_size(driving_F32[chosen])
    if not (reference_2.all() and driving_2.all()):
        raise InputError(
            f"key points of the {'driving face' if reference_2.all() else 'reference'}: both eyes "
            "lie in one place, or the nose on the line between them. Expected a face; correct "
            "them, or leave the driving video out."
        )
    return reference_2 / driving_2


def _eye_ratio(points_32: Tensor) -> Tensor:
    """How much farther the left eye is from the nose than the right: says where the face looks."""
    eyes_2 = (points_32[..., :2, :] - points_32[..., 2:, :]).square().sum(dim=-1).double().sqrt()
    return eyes_2[..., 0] / (eyes_2[..., 1] + 1e-6)


def _face_size(points_32: Tensor) -> Tensor:
    """(2,): from eye to eye, and from the nose to the line between them."""
    left, right, nose = points_32
    across = right - left
    length = across.square().sum().sqrt()
    along = torch.dot(across / length, (nose - left) / length).nan_to_num().clamp(0.0, 1.0)
    return torch.stack([length, (nose - (left + along * across)).square().sum().sqrt()])


def _limb(eye_2: np.ndarray, nose_2: np.ndarray) -> np.ndarray:
    """Corners (P, 2) of a flat ellipse between two points, as OpenCV's ellipse2Poly sets them."""
    dx, dy = eye_2 - nose_2
    half_length = int((dx**2 + dy**2) ** 0.5 / 2)
    angle_deg = int(math.degrees(math.atan2(dy, dx))) % 360
    cosine, sine = _SINES[450 - angle_deg], _SINES[angle_deg]
    turn_deg = np.arange(361)
    along_P = half_length * _SINES[450 - turn_deg]
    across_P = _LIMB_HALF_WIDTH * _SINES[turn_deg]
    center_x, center_y = (int(middle) for middle in (eye_2 + nose_2) / 2)
    x_P = center_x + along_P * cosine - across_P * sine
    y_P = center_y + along_P * sine + across_P * cosine
    return np.rint(np.stack([x_P, y_P], axis=1)).astype(np.int64)


def _fill_convex(picture_HW3: np.ndarray, corners_P2: np.ndarray, color: list[int]) -> None:
    """Fill a convex polygon as OpenCV's fillConvexPoly: its outline and all between.

    Two roundings meet on a steep edge: the outline's, which goes to the side of its left end where
    a pixel is in the middle, and that of the rows between the edges, which goes to the right.
    """
    start_P2, end_P2 = corners_P2, np.roll(corners_P2, -1, axis=0)
    pixels = [*_outline(start_P2, end_P2), *_edges(start_P2, end_P2)]
    x, y = np.concatenate(pixels[0::2]), np.concatenate(pixels[1::2])
    top = int(y.min())
    left, right = np.full(y.max() - top + 1, x.max()), np.full(y.max() - top + 1, x.min())
    np.minimum.at(left, y - top, x)
    np.maximum.at(right, y - top, x)
    for row, (first, last) in enumerate(zip(left, right, strict=True)):
        _fill_row(picture_HW3, top + row, int(first), int(last), color)


def _outline(start_P2: np.ndarray, end_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels of straight lines, drawn from left to right with integers."""
    is_reversed = (end_P2[:, 0] < start_P2[:, 0])[:, None]
    start_P2, end_P2 = (
        np.where(is_reversed, end_P2, start_P2),
        np.where(is_reversed, start_P2, end_P2),
    )
    way_P2 = end_P2 - start_P2
    length_P1 = np.abs(way_P2).max(axis=1, keepdims=True)
    step = np.arange(length_P1.max() + 1)
    double_P1 = np.maximum(2 * length_P1, 1)
    moved = [
        np.sign(way) * ((2 * np.abs(way) * step + length_P1 - 1) // double_P1)
        for way in (way_P2[:, :1], way_P2[:, 1:])
    ]
    is_drawn = step <= length_P1
    return (start_P2[:, :1] + moved[0])[is_drawn], (start_P2[:, 1:] + moved[1])[is_drawn]


def _edges(start_P2: np.ndarray, end_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y where the rows begin or end on every edge, by 16 bits of fraction."""
    is_reversed = (end_P2[:, 1] < start_P2[:, 1])[:, None]
    start_P2, end_P2 = (
        np.where(is_reversed, end_P2, start_P2),
        np.where(is_reversed, start_P2, end_P2),
    )
    way_P2 = end_P2 - start_P2
    rows_P1 = way_P2[:, 1:]
    step = np.arange(rows_P1.max() + 1)
    slope_P1 = np.trunc(((way_P2[:, :1] << 17) + rows_P1) / np.maximum(2 * rows_P1, 1))
    x = (start_P2[:, :1] << 16) + slope_P1.astype(np.int64) * step
    is_drawn = step < rows_P1
    return ((x + (1 << 15)) >> 16)[is_drawn], (start_P2[:, 1:] + step)[is_drawn]


def _fill_row(picture_HW3: np.ndarray, y: int, first: int, last: int, color: list[int]) -> None:
    if 0 <= y < len(picture_HW3):
        picture_HW3[y, max(0, first) : max(0, last + 1)] = color
