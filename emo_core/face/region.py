"""Where the face may appear: boxes and pictures -> the region mask.

Boxes are (x0, y0, x1, y1) in fractions of the picture's width and height.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

DEFAULT_BOX = (0.22, 0.18, 0.78, 0.86)
"""A head-and-shoulders portrait's face with room to move."""


def boxes_to_mask(
    boxes_F4: Tensor, *, height: int, width: int, growth: float | Tensor = 0.0
) -> Tensor:
    """Union of boxes over all frames as a mask [height, width] of 0 and 1.

    EMO gives the face locator the union of the boxes of a whole film.

    Args:
        boxes_F4: axes before these two are of films.
        growth: widens each box on every side, in fractions of its own size; one number, or one per
            film.

    Returns:
        [..., height, width]: a pixel belongs to the region when its centre does.
    """
    corners = boxes_F4.unflatten(-1, (2, 2))
    grow = (corners[..., 1, :] - corners[..., 0, :]) * torch.as_tensor(growth)[..., None, None]
    first, last = corners[..., 0, :] - grow, corners[..., 1, :] + grow
    inside = []
    for axis, size in ((0, width), (1, height)):
        center = (torch.arange(size, device=boxes_F4.device) + 0.5) / size
        inside.append((center >= first[..., axis, None]) & (center <= last[..., axis, None]))
    columns, rows = inside
    return (rows[..., :, None] & columns[..., None, :]).any(dim=-3).float()


def box_to_mask(box: tuple[float, float, float, float], *, height: int, width: int) -> Tensor:
    """One box as a mask [height, width].

    Raises:
        InputError: the box is outside the picture, or empty.
    """
    x0, y0, x1, y1 = box
    if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):
        raise InputError(
            f"face region {box}: expected x0,y0,x1,y1 in fractions of the picture, 0 <= x0 < x1 <= "
            f"1 and 0 <= y0 < y1 <= 1, for example {DEFAULT_BOX}."
        )
    mask = boxes_to_mask(torch.tensor([box]), height=height, width=width)
    if not mask.any():
        raise InputError(
            f"face region {box}: holds no pixel of a {width}x{height} picture. Make it larger."
        )
    return mask


def grow_mask(mask_HW: Tensor, *, growth: float) -> Tensor:
    """Widen a mask on every side, by `growth` times the size of what is drawn in it."""
    rows, columns = torch.nonzero(mask_HW > 0.5, as_tuple=True)
    if len(rows) == 0 or growth <= 0.0:
        return mask_HW
    reach_y = round(growth * float(rows.max() - rows.min() + 1))
    reach_x = round(growth * float(columns.max() - columns.min() + 1))
    grown = mask_HW[None, None]
    # The largest of a square is the largest of its rows' largest: each way by itself costs its
    # length, and not its area, per pixel.
    for reach in ((reach_y, 0), (0, reach_x)):
        size = tuple(2 * side + 1 for side in reach)
        grown = functional.max_pool2d(grown, size, stride=1, padding=reach)
    return grown[0, 0]


def feather_mask(mask_HW: Tensor, *, radius: float) -> Tensor:
    """Soften the edge of a mask by a Gaussian whose standard deviation is half of `radius`.

    Args:
        radius: in pixels; 0 leaves the mask as it is. The picture's edge is continued.
    """
    reach = round(radius)
    if reach < 1:
        return mask_HW
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (offsets / (0.5 * radius)).square())
    weights = (weights / weights.sum()).to(mask_HW)
    soft = functional.pad(mask_HW[None, None], (reach, reach, reach, reach), mode="replicate")
    soft = functional.conv2d(soft, weights[None, None, :, None])
    return functional.conv2d(soft, weights[None, None, None, :])[0, 0]
