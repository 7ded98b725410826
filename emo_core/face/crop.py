"""EchoMimic's face mask, and the crop that brings the face to the middle of the film.

Source: BadToBest/EchoMimic, infer_audio2vid.py (mask and crop rectangle) and src/utils/util.py
(crop_and_pad), at commit 76cdab1. For square films all rectangles are equal to upstream's; pictures
agree within one grey level of OpenCV's 8-bit resizing.

We differ where upstream breaks: the mask of a face at the top or left edge begins at row or column
0 (upstream's negative start leaves it empty). Films that are not square get a crop of their own
proportions (upstream squeezes a square into them). Where no face is found upstream takes the whole
picture and a mask of ones; `Fit` and a mask of ones do that here.

Boxes are (x0, y0, x1, y1) in pixels of the picture, the end not included.
Letters in this file: H and W rows and columns of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .areas import PixelBox

MASK_GROWTH = 0.1
CROP_GROWTH = 0.5


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """How a portrait with a known face comes to the film's size: cut out round the face, scaled.

    Masks drawn over the portrait go the same way.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    face: PixelBox
    """Of the detector, in whole pixels of the source; may stick out of it."""
    mask_growth: float = MASK_GROWTH
    """Added to the mask on every side, in fractions of the face's box."""
    crop_growth: float = CROP_GROWTH
    """Added to the crop on every side, in fractions of the face's box."""

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.face
        source = f"{self.source_width}x{self.source_height} picture"
        if not (x0 < x1 and y0 < y1):
            raise InputError(
                f"face box {self.face} in a {source}: it holds no pixel. Expected x0 < x1 and "
                "y0 < y1 in pixels; correct it, or use a picture with a larger face."
            )
        if x0 >= self.source_width or y0 >= self.source_height or x1 <= 0 or y1 <= 0:
            raise InputError(
                f"face box {self.face} in a {source}: it lies outside. Expected pixels of this "
                "very picture; correct the box."
            )

    @classmethod
    def of(cls, image: Tensor, *, face: Sequence[float], width: int, height: int) -> FaceCrop:
        """The crop of a picture (H, W, ...) round a face.

        Args:
            face: the detector's box in pixels; its edges are rounded to whole ones.
            width: of the film, as `height`.

        Raises:
            InputError: the rounded box holds no pixel or lies outside the picture.
        """
        if not np.isfinite(face).all():
            raise InputError(
                f"face box {tuple(face)}: expected four finite numbers x0, y0, x1, y1 in pixels. "
                "Correct it."
            )
        x0, y0, x1, y1 = (round(float(edge)) for edge in face)
        return cls(
            source_width=image.shape[1],
            source_height=image.shape[0],
            width=width,
            height=height,
            face=(x0, y0, x1, y1),
        )

    @property
    def rectangle(self) -> PixelBox:
        """The face with its surroundings, inside the picture, before it gets the film's shape.

        The bottom edge is moved by the growth in width, as upstream does it.
        """
        x0, y0, x1, y1 = self.face
        grow_x, grow_y = int((x1 - x0) * self.crop_growth), int((y1 - y0) * self.crop_growth)
        return (
            max(0, x0 - grow_x),
            max(0, y0 - grow_y),
            min(self.source_width, x1 + grow_x),
            min(self.source_height, y1 + grow_x),
        )

    @property
    def part(self) -> PixelBox:
        """What is cut out: a part of the source in the film's proportions, to the nearest pixel.

        For a square film the square of the rectangle's shorter side, about its middle. For others
        that side becomes the crop's shorter side, and the longer one reaches beyond the rectangle;
        where the picture ends before, the crop is moved inside or made smaller.
        """
        x0, y0, x1, y1 = self.rectangle
        side = min(x1 - x0, y1 - y0)
        scale = min(
            side / min(self.width, self.height),
            self.source_width / self.width,
            self.source_height / self.height,
        )
        across = _placed((x0 + x1) // 2, round(self.width * scale), limit=self.source_width)
        down = _placed((y0 + y1) // 2, round(self.height * scale), limit=self.source_height)
        return across[0], down[0], across[1], down[1]

    def face_mask(self) -> Tensor:
        """The face's box, grown and cut at the edges, as (source height, source width) of 0 and 1.

        `mask` brings it to the film's size.
        """
        x0, y0, x1, y1 = self.face
        grow_x, grow_y = int((x1 - x0) * self.mask_growth), int((y1 - y0) * self.mask_growth)
        mask_HW = torch.zeros(self.source_height, self.source_width)
        mask_HW[max(0, y0 - grow_y) : y1 + grow_y, max(0, x0 - grow_x) : x1 + grow_x] = 1.0
        return mask_HW

    def portrait(self, image: Tensor) -> Tensor:
        """Bring the portrait (H, W, 3) of 0..1 to (height, width, 3) of 0..1."""
        return self._cut_and_scaled(image)

    def mask(self, mask: Tensor) -> Tensor:
        """Bring a mask (H, W) of 0..1 in source pixels to (height, width) of 0..1.

        Raises:
            InputError: it has another size than the portrait.
        """
        return self._cut_and_scaled(mask[..., None])[..., 0]

    def _cut_and_scaled(self, layers_HWC: Tensor) -> Tensor:
        if layers_HWC.shape[:2] != (self.source_height, self.source_width):
            raise InputError(
                f"a layer of {layers_HWC.shape[1]}x{layers_HWC.shape[0]} pixels over a portrait "
                f"of {self.source_width}x{self.source_height}: expected the same size. Scale it "
                "to the portrait."
            )
        x0, y0, x1, y1 = self.part
        part = layers_HWC[y0:y1, x0:x1].permute(2, 0, 1)[None]
        scaled = functional.interpolate(
            part, size=(self.height, self.width), mode="bilinear", align_corners=False
        )
        return scaled[0].permute(1, 2, 0).contiguous()


def _placed(middle: int, length: int, *, limit: int) -> tuple[int, int]:
    """A stretch of at least one pixel about the middle, moved inside 0 .. limit."""
    length = min(max(1, length), limit)
    start = min(max(0, middle - length // 2), limit - length)
    return start, start + length
