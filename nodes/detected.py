"""What core's face detectors and landmark nodes hand over."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from ..emo_core.errors import InputError

T = TypeVar("T")
Box = dict[str, float]
"""x, y, width, height in pixels."""
Landmarks = dict[str, object]
"""FACE_LANDMARKS; see `types.FaceLandmarksType`."""


def pixel_boxes(boxes: list | Box, *, node: str) -> list[list[float]]:
    """x0, y0, x1, y1 of all boxes; core sends one box, a list, or a list per frame.

    Raises:
        InputError: names `node`; boxes of another form.
    """
    if isinstance(boxes, dict):
        try:
            x, y, width, height = (float(boxes[key]) for key in ("x", "y", "width", "height"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(_no_box(boxes, node=node)) from error
        if not all(math.isfinite(value) for value in (x, y, width, height)):
            raise InputError(_no_box(boxes, node=node))
        return [[x, y, x + width, y + height]]
    if not isinstance(boxes, (list, tuple)):
        raise InputError(_no_box(boxes, node=node))
    return [corners for part in boxes for corners in pixel_boxes(part, node=node)]


def _no_box(found: object, *, node: str) -> str:
    return (
        f"{node}: {found!r} is no box. Expected x, y, width and height in pixels, as core's face "
        "detectors send them; connect one of those."
    )


def check_landmarks_size(landmarks: Landmarks, *, width: int, height: int, node: str) -> None:
    """Compare the picture that landmarks were found on with the one that they are used on.

    Raises:
        InputError: names `node`; another size.
    """
    found_height, found_width = landmarks["image_size"]
    if (found_width, found_height) != (width, height):
        raise InputError(
            f"{node}: the landmarks are of a picture of {found_width}x{found_height}, the portrait "
            f"is {width}x{height}. Detect them on the very image that is encoded."
        )


def face_boxes(landmarks: Landmarks) -> list[list[float]]:
    """x0, y0, x1, y1 of all faces of all frames."""
    return [
        [float(v) for v in face["bbox_xyxy"]] for frame in landmarks["frames"] for face in frame
    ]


def first_faces(
    landmarks: Landmarks, read: Callable[[dict], T], *, node: str, otherwise: str
) -> list[T]:
    """What is read of the first face in every frame; where none was found the last one is held,
    and before the first one that one.

    Args:
        otherwise: what to give instead of the video, for the message.

    Raises:
        InputError: names `node`; there is no face at all.
    """
    faces = [read(frame[0]) if frame else None for frame in landmarks["frames"]]
    seen = [face for face in faces if face is not None]
    if not seen:
        raise InputError(
            f"{node}: no face in {len(faces)} frames of the driving video. Use a video with a "
            f"visible face, or {otherwise}."
        )
    held, last = [], seen[0]
    for face in faces:
        last = last if face is None else face
        held.append(last)
    return held


def largest_face(landmarks: Landmarks) -> dict:
    """The largest face of all frames."""

    def area(face: dict) -> float:
        x0, y0, x1, y1 = face["bbox_xyxy"]
        return float((x1 - x0) * (y1 - y0))

    return max((face for frame in landmarks["frames"] for face in frame), key=area)


def largest(boxes_xyxy: list[list[float]]) -> list[float]:
    """The box of the largest area."""
    return max(boxes_xyxy, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
