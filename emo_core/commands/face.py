"""Options that say where the portrait's face is, and who it is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..face.areas import FACE_EXPANSION
from ..face.crop import FaceCrop
from ..face.placement import (
    FacePlacement,
    Frame,
    placement_of_box,
    placement_of_drawing,
    placement_of_landmarks,
)
from ..face.region import box_to_mask, boxes_to_mask
from ..video.images import Fit, read_mask

FITS = ("crop", "stretch", "face")


@dataclass(frozen=True)
class PlacedPortrait:
    """A portrait, where its face is in the film, and how it comes to the film's size."""

    picture_HW3: Tensor
    face: FacePlacement | None
    is_stretched: bool


def add_face_options(parser: argparse.ArgumentParser) -> None:
    """Where the face is."""
    group = parser.add_argument_group("face")
    group.add_argument(
        "--face-region",
        metavar="BOX|MASK",
        help="where the face may move: x0,y0,x1,y1 in fractions of the film's picture, or a mask "
        "image of the portrait, white inside (default: a usual portrait's)",
    )
    group.add_argument(
        "--face-box",
        metavar="X0,Y0,X1,Y1",
        help="a face detector's box, in pixels of the portrait",
    )
    group.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="MediaPipe's 478 face landmarks, x and y in pixels of the portrait, as .npy",
    )
    group.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="the face's ArcFace embedding as .npy, 512 numbers, not normalised (Hallo)",
    )
    group.add_argument(
        "--fit",
        choices=FITS,
        default="crop",
        help="how the portrait comes to the film's shape: crop its sides, stretch it whole (as "
        "Hallo and V-Express do), or crop round the face (as EchoMimic does; needs --face-box)",
    )


def place_portrait(
    options: argparse.Namespace, portrait_HW3: Tensor, *, width: int, height: int
) -> PlacedPortrait:
    """Read what `add_face_options` asks for.

    Raises:
        InputError: unreadable or contradicting options, or a face that the film does not show.
    """
    sources = ("face_region", "face_box", "landmarks")
    given = [name for name in sources if getattr(options, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{names}: expected one of them at most; leave the others out.")
    is_stretched = options.fit == "stretch"
    fit = Fit.of(portrait_HW3, width=width, height=height, is_stretched=is_stretched)
    if options.fit == "face":
        return _cut_out(options, portrait_HW3, width=width, height=height)
    face = None
    if options.face_region is not None:
        face = _read_region(options.face_region, fit)
    elif given:
        face = _found_face(options, fit)
    return PlacedPortrait(portrait_HW3, face, is_stretched)


def read_identity(path: Path | None) -> Tensor | None:
    """Read an embedding (E,)."""
    return None if path is None else _read_array(path, what="an embedding of a face", shape=(512,))


def _found_face(options: argparse.Namespace, fit: Fit) -> FacePlacement:
    frame = Frame.of(fit)
    if options.landmarks is not None:
        points = _read_array(options.landmarks, what="478 face landmarks", shape=(478, 2))
        corners = [*points.amin(dim=0).tolist(), *points.amax(dim=0).tolist()]
        return placement_of_landmarks(points, frame, mask_HW=_box_mask(corners, fit))
    corners = _read_box(options.face_box)
    return placement_of_box(corners, frame, mask_HW=_box_mask(corners, fit))


def _box_mask(corners: list[float], fit: Fit) -> Tensor:
    """The region of a box in pixels of the portrait, with room to move, in the film."""
    size = torch.tensor([fit.source_width, fit.source_height] * 2)
    mask = fit.mask(
        boxes_to_mask(
            torch.tensor([corners]) / size,
            height=fit.source_height,
            width=fit.source_width,
            growth=(FACE_EXPANSION - 1) / 2,
        )
    )
    if not (mask > 0.5).any():
        raise InputError(
            f"face {[round(edge) for edge in corners]}: outside of what a film of {fit.width}x"
            f"{fit.height} shows of the portrait. Correct it, or use --fit stretch or face."
        )
    return mask


def _cut_out(
    options: argparse.Namespace, portrait_HW3: Tensor, *, width: int, height: int
) -> PlacedPortrait:
    if options.face_box is None:
        raise InputError("--fit face: needs to know the face. Give its box as --face-box.")
    crop = FaceCrop.of(portrait_HW3, face=_read_box(options.face_box), width=width, height=height)
    mask = crop.mask(crop.face_mask())
    face = placement_of_drawing(mask, mask_HW=mask)
    return PlacedPortrait(crop.portrait(portrait_HW3), face, is_stretched=False)


def _read_region(text: str, fit: Fit) -> FacePlacement:
    """Read four numbers, or a mask of the portrait."""
    numbers = _numbers(text)
    if len(numbers) == 4:
        mask = box_to_mask(tuple(numbers), height=fit.height, width=fit.width)
    elif Path(text).exists():
        mask = fit.mask(read_mask(Path(text)))
    else:
        raise InputError(
            f"--face-region {text}: neither four numbers x0,y0,x1,y1 nor a file that exists."
        )
    if not (mask > 0.5).any():
        raise InputError(
            f"--face-region {text}: empty once the portrait is cropped to {fit.width}x{fit.height}."
            " Draw it over the face."
        )
    return placement_of_drawing(mask, mask_HW=mask)


def _read_box(text: str) -> list[float]:
    numbers = _numbers(text)
    if len(numbers) != 4 or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise InputError(
            f"--face-box {text}: expected four numbers x0,y0,x1,y1 in pixels of the portrait, with "
            "x0 < x1 and y0 < y1."
        )
    return numbers


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


def _read_array(path: Path, *, what: str, shape: tuple[int, ...]) -> Tensor:
    expected = f"Expected {what} as a NumPy array of shape {shape}"
    if not path.is_file():
        raise InputError(f"{path}: no such file. {expected}; save one with numpy.save.")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a .npy file ({error}). {expected}.") from error
    is_number = getattr(values, "dtype", np.dtype(object)).kind in "fiu"
    if not is_number or values.shape != shape or not np.isfinite(values).all():
        raise InputError(f"{path}: holds {getattr(values, 'shape', 'an archive')}. {expected}.")
    return torch.from_numpy(values.astype(np.float32))
