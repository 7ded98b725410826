"""Portraits and masks: from a file to a tensor, and to the size the model works at.

Letters in this file: H height, W width.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

MAX_MEGAPIXELS = 100
MIN_SIDE = 16
TRANSPARENT_GREY = 128

_PILLOW_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    RuntimeError,
    struct.error,
)
"""What Pillow's readers raise for damaged files; each format has its own habits."""


def read_image(path: str | Path) -> Tensor:
    """Read a picture upright and in colour.

    Greyscale, palette, 16-bit and CMYK files are converted; transparent parts show mid grey. The
    orientation that a camera noted in the file is applied. Of an animation the first picture is
    taken. Colour profiles are not applied: values are taken for sRGB.

    Returns:
        (H, W, 3) float32 in 0..1.

    Raises:
        InputError: no such file, empty, not a picture, truncated or damaged, a side below
            `MIN_SIDE` pixels, or more than `MAX_MEGAPIXELS`, which is seen before decoding.
    """
    picture = _open_upright(Path(path))
    if _has_alpha(picture):
        picture = _over(picture, grey=TRANSPARENT_GREY)
    if picture.mode[0] in "IF":
        return _high_depth(picture, path=path)[..., None].repeat(1, 1, 3)
    return _unit_range(picture.convert("RGB"))


def read_mask(path: str | Path) -> Tensor:
    """Read a mask: white is inside, black or transparent is outside, greys lie between.

    Returns:
        (H, W) float32 in 0..1.

    Raises:
        InputError: as `read_image`, or nothing in the mask is above 0.
    """
    picture = _open_upright(Path(path))
    if _has_alpha(picture):
        picture = _over(picture, grey=0)
    is_high_depth = picture.mode[0] in "IF"
    mask = _high_depth(picture, path=path) if is_high_depth else _unit_range(picture.convert("L"))
    if mask.amax() <= 0.0:
        raise InputError(
            f"{path}: the mask is black everywhere. Expected the face region in white on black; "
            "paint it, or leave the mask out."
        )
    return mask


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a portrait comes to the film's size: scaled to cover it, what sticks out cut off.

    Or, where `is_stretched`, squeezed into it whole. Masks and boxes drawn over the portrait go the
    same way.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    anchor: tuple[float, float] = (0.5, 0.5)
    """Where the kept part lies, across and down: 0 keeps the left or top edge, 1 the other. Not
    read where `is_stretched`, since all is kept."""
    is_stretched: bool = False
    """Squeeze the whole picture to the film's size, its proportions not kept, in steps of 1/255:
    Pillow's bilinear resizing of 8-bit values, as fudan-generative-vision/hallo does it
    (hallo/datasets/image_processor.py, commit 8fd7c57)."""

    @classmethod
    def of(
        cls,
        image: Tensor,
        *,
        width: int,
        height: int,
        anchor: tuple[float, float] = (0.5, 0.5),
        is_stretched: bool = False,
    ) -> Fit:
        """The fit of a picture (H, W, ...)."""
        return cls(
            source_width=image.shape[1],
            source_height=image.shape[0],
            width=width,
            height=height,
            anchor=anchor,
            is_stretched=is_stretched,
        )

    def portrait(self, image: Tensor) -> Tensor:
        """Bring the portrait (H, W, 3) of 0..1 to (height, width, 3) of 0..1.

        It is the very input where it has that size already.
        """
        if image.shape[:2] == (self.height, self.width):
            return image
        if self.is_stretched:
            return _squeezed(image, width=self.width, height=self.height)
        return self._scaled(self._part(image), mode="bicubic").clamp(0.0, 1.0)

    def mask(self, mask: Tensor) -> Tensor:
        """Bring a mask (H, W) of 0..1 to (height, width) of 0..1.

        Where its size differs from the portrait's it is stretched onto that first. It may be empty
        where the crop leaves the region outside.
        """
        if self.is_stretched:
            if mask.shape == (self.height, self.width):
                return mask
            return _squeezed(mask, width=self.width, height=self.height)
        layer = mask[..., None]
        if mask.shape != (self.source_height, self.source_width):
            layer = _scaled(
                layer, width=self.source_width, height=self.source_height, mode="bilinear"
            )
        part = self._part(layer)
        if part.shape[:2] != (self.height, self.width):
            part = self._scaled(part, mode="bilinear")
        return part[..., 0]

    @property
    def kept(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of what the film shows: the largest part of its proportions, or all."""
        if self.is_stretched:
            return 0, 0, self.source_width, self.source_height
        width = min(self.source_width, max(1, round(self.source_height * self.width / self.height)))
        height = min(
            self.source_height, max(1, round(self.source_width * self.height / self.width))
        )
        left = int((self.source_width - width) * self.anchor[0])
        top = int((self.source_height - height) * self.anchor[1])
        return left, top, left + width, top + height

    def _part(self, image: Tensor) -> Tensor:
        x0, y0, x1, y1 = self.kept
        return image[y0:y1, x0:x1]

    def _scaled(self, image: Tensor, *, mode: str) -> Tensor:
        return _scaled(image, width=self.width, height=self.height, mode=mode)


def _scaled(image: Tensor, *, width: int, height: int, mode: str) -> Tensor:
    scaled = functional.interpolate(
        image.permute(2, 0, 1)[None], size=(height, width), mode=mode, antialias=True
    )
    return scaled[0].permute(1, 2, 0).contiguous()


def _squeezed(image: Tensor, *, width: int, height: int) -> Tensor:
    """Resize (H, W, 3) or (H, W) of 0..1 as Pillow does it with 8-bit values."""
    levels = (image * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).cpu()
    picture = Image.fromarray(levels.numpy())
    return _unit_range(picture.resize((width, height), Image.Resampling.BILINEAR)).to(image.device)


def _open_upright(path: Path) -> Image.Image:
    if not os.path.isfile(path):  # False for every unusable name; Path.is_file raises for some.
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"
        raise InputError(f"{path}: {found}. Expected a picture; check the path.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty. Expected a picture; save it again.")
    try:
        with Image.open(path) as picture:
            _check_size(picture, path=path)
            return ImageOps.exif_transpose(picture)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path}: {error}. Expected at most {MAX_MEGAPIXELS} megapixels; scale it down."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{path}: this is not a picture that can be read. Expected png, jpg, webp or another "
            "format that Pillow knows; convert it."
        ) from error
    except _PILLOW_READ_ERRORS as error:
        raise InputError(
            f"{path}: the picture is damaged ({error}). Expected a complete file; save it again."
        ) from error


def _check_size(picture: Image.Image, *, path: Path) -> None:
    width, height = picture.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(
            f"{path}: the picture has {width} x {height} pixels. Expected at most "
            f"{MAX_MEGAPIXELS} megapixels; scale it down."
        )
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{path}: the picture has {width} x {height} pixels. Expected at least "
            f"{MIN_SIDE} x {MIN_SIDE}; use a larger one, best with a face of 256 pixels or more."
        )


def _has_alpha(picture: Image.Image) -> bool:
    has_transparent_color = picture.mode in "1LPRGB" and "transparency" in picture.info
    return has_transparent_color or picture.mode in ("RGBA", "RGBa", "LA", "La", "PA")


def _over(picture: Image.Image, *, grey: int) -> Image.Image:
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (grey, grey, grey, 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def _unit_range(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)


def _high_depth(picture: Image.Image, *, path: str | Path) -> Tensor:
    """One channel of 16-bit integers (Pillow calls them I;16 or I) or of floats (F).

    Pillow's own conversion would clip these at 255 instead of scaling them.
    """
    values = np.asarray(picture).astype(np.float32)
    full = 1.0 if picture.mode == "F" else 65535.0
    low, high = float(values.min()), float(values.max())
    if not (0.0 <= low and high <= full):
        raise InputError(
            f"{path}: the picture holds values from {low:g} to {high:g}. Expected 0 to {full:g}; "
            "save it with 8 or 16 bits per channel."
        )
    return torch.from_numpy(values / full)
