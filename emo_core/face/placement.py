"""Where a portrait's face is in the film, in every form that one of the families reads.

emo and EchoMimic see a mask, Hallo the face's box and three soft areas for its audio attentions,
V-Express a drawing of eyes and nose. What is not known of a face is taken from a usual one.

Boxes are (x0, y0, x1, y1) in pixels.
Letters: H and W rows and columns of the film's pixels, F frames, N landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .areas import (
    FACE_EXPANSION,
    PixelBox,
    area_masks,
    box_picture,
    expand_box,
    face_box,
    lip_box,
    lip_box_in_face,
)
from .key_points import key_points_of
from .region import DEFAULT_BOX, box_to_mask

EYES_AND_NOSE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6))
"""Of a usual face seen from the front, as fractions of its box: about where key points lie."""


class Shown(Protocol):
    """What knows how a portrait comes to the film's size, such as `video.images.Fit`."""

    width: int
    height: int

    @property
    def kept(self) -> tuple[int, int, int, int]: ...


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The part of the portrait that the film shows, in pixels of the portrait."""

    x0: int
    y0: int
    x1: int
    y1: int
    film_width: int
    film_height: int

    @classmethod
    def of(cls, fit: Shown) -> Frame:
        x0, y0, x1, y1 = fit.kept
        return cls(x0=x0, y0=y0, x1=x1, y1=y1, film_width=fit.width, film_height=fit.height)

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    def moved(self, points: Tensor) -> Tensor:
        """Points (..., 2) of the portrait, counted from the frame's corner."""
        return points - points.new_tensor([self.x0, self.y0])

    def scaled(self, points: Tensor) -> Tensor:
        """Points counted from the frame's corner, in pixels of the film."""
        return points * points.new_tensor(
            [self.film_width / self.width, self.film_height / self.height]
        )


@dataclass(frozen=True, kw_only=True)
class FacePlacement:
    """A face in the film. What a family does not read is never computed."""

    mask_HW: Tensor
    """Where the face may appear, 0..1."""
    frame: Frame
    face: tuple[float, float, float, float]
    """Its box in pixels of the frame, not expanded."""
    landmarks_N2: Tensor | None = None
    """MediaPipe's, in pixels of the frame; None takes a usual face's features."""
    expansion: float = FACE_EXPANSION
    """Of the box that Hallo's locator and areas are made of."""
    is_drawn: bool = False
    """Whether the mask was drawn, and so stands for the box as well."""
    driving_points_F32: Tensor | None = None
    """Eyes and nose of every frame in pixels of the film; None holds the portrait's."""

    @cached_property
    def box_HW(self) -> Tensor:
        """The box round the face as Hallo's locator sees it, 0..1."""
        if self.is_drawn:
            return self.mask_HW
        return box_picture(
            self._face_box,
            source_width=self.frame.width,
            source_height=self.frame.height,
            width=self.frame.film_width,
            height=self.frame.film_height,
        )

    @cached_property
    def area_masks(self) -> Tensor:
        """(3, 64, 64) uint8 of `areas.area_masks`."""
        size = self._size
        if self.landmarks_N2 is None:
            lips = lip_box_in_face(self.face, **size)
        else:
            lips = lip_box(self.landmarks_N2, **size)
        return area_masks(self._face_box, lips, **size)

    @cached_property
    def key_points_F32(self) -> Tensor:
        """Eyes and nose in pixels of the film; one frame stands for all."""
        if self.driving_points_F32 is not None:
            return self.driving_points_F32
        if self.landmarks_N2 is not None:
            return self.frame.scaled(key_points_of(self.landmarks_N2))[None]
        x0, y0, x1, y1 = self.face
        size = torch.tensor([x1 - x0, y1 - y0], dtype=torch.float32)
        points = torch.tensor([x0, y0], dtype=torch.float32) + torch.tensor(EYES_AND_NOSE) * size
        return self.frame.scaled(points)[None]

    @property
    def _size(self) -> dict[str, int]:
        return {"width": self.frame.width, "height": self.frame.height}

    @property
    def _face_box(self) -> PixelBox:
        if self.landmarks_N2 is None:
            return expand_box(self.face, expansion=self.expansion, **self._size)
        return face_box(self.landmarks_N2, expansion=self.expansion, **self._size)


def usual_placement(*, width: int, height: int) -> FacePlacement:
    """A head-and-shoulders portrait's face with room to move."""
    mask = box_to_mask(DEFAULT_BOX, height=height, width=width)
    return placement_of_drawing(mask, mask_HW=mask)


def placement_of_drawing(drawn_HW: Tensor, *, mask_HW: Tensor) -> FacePlacement:
    """A face whose region was drawn.

    Args:
        drawn_HW: at the film's size, 0..1, not empty; the face is taken to fill the box round it as
            a face fills an expanded box.
        mask_HW: the same as the locator shall see it, such as grown and feathered.
    """
    height, width = drawn_HW.shape
    rows, columns = torch.nonzero(drawn_HW > 0.5, as_tuple=True)
    if not len(rows):
        raise InputError(
            f"face region: empty in a film of {width}x{height}. Draw it over the face, larger, or "
            "change how the portrait is cropped."
        )
    x0, y0 = float(columns.min()), float(rows.min())
    x1, y1 = float(columns.max()) + 1, float(rows.max()) + 1
    margin = (1 - 1 / FACE_EXPANSION) / 2
    inset_x, inset_y = margin * (x1 - x0), margin * (y1 - y0)
    return FacePlacement(
        mask_HW=mask_HW,
        frame=Frame(x0=0, y0=0, x1=width, y1=height, film_width=width, film_height=height),
        face=(x0 + inset_x, y0 + inset_y, x1 - inset_x, y1 - inset_y),
        is_drawn=True,
    )


def placement_of_box(
    face: Sequence[float], frame: Frame, *, mask_HW: Tensor, expansion: float = FACE_EXPANSION
) -> FacePlacement:
    """A face that a detector found.

    Args:
        face: box in pixels of the portrait, not expanded.
        mask_HW: its region in the film.
    """
    corners = frame.moved(torch.tensor(face, dtype=torch.float64).reshape(2, 2))
    x0, y0, x1, y1 = corners.flatten().tolist()
    return FacePlacement(mask_HW=mask_HW, frame=frame, face=(x0, y0, x1, y1), expansion=expansion)


def placement_of_landmarks(
    landmarks_N2: Tensor, frame: Frame, *, mask_HW: Tensor, expansion: float = FACE_EXPANSION
) -> FacePlacement:
    """A face of which MediaPipe's landmarks are known, in pixels of the portrait."""
    inside = frame.moved(landmarks_N2.double())
    x0, y0 = inside.amin(dim=0).tolist()
    x1, y1 = inside.amax(dim=0).tolist()
    return FacePlacement(
        mask_HW=mask_HW,
        frame=frame,
        face=(x0, y0, x1, y1),
        landmarks_N2=inside,
        expansion=expansion,
    )
