"""Small plots, drawn by Pillow: curves and points over labelled axes.

Lines are drawn at several times the size and reduced, since Pillow draws no smooth lines; text is
set afterwards at its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

PAPER: Color = (24, 24, 28)
PANEL: Color = (33, 34, 40)
GRID: Color = (56, 58, 66)
TEXT: Color = (222, 222, 226)
FAINT: Color = (146, 148, 158)
TRUE_COLOR: Color = (124, 132, 150)
READ_COLOR: Color = (255, 170, 84)
CONTROL_COLOR: Color = (104, 170, 255)

OVERSAMPLING = 4
FONT_SIZE = 11
MARGIN_LEFT = 34
MARGIN_RIGHT = 8
MARGIN_TOP = 20
MARGIN_BOTTOM = 18


@dataclass(frozen=True)
class Curve:
    """One line or cloud of points."""

    x: np.ndarray
    y: np.ndarray
    color: Color
    style: str = "line"
    """"line", "area" (filled down to the bottom) or "points"."""
    name: str = ""
    """For the legend; none if empty."""


@dataclass(frozen=True)
class Plot:
    """What is drawn, and the stretch of both axes that is shown."""

    title: str
    curves: Sequence[Curve]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: Sequence[float] = field(default=())
    y_ticks: Sequence[float] = field(default=())
    has_diagonal: bool = False
    """Whether the line y = x is drawn."""


def draw_plot(plot: Plot, *, width: int, height: int) -> Image.Image:
    """Draw a plot as a panel of the given size in pixels."""
    big = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), PANEL)
    draw = ImageDraw.Draw(big)
    left, right = MARGIN_LEFT, width - MARGIN_RIGHT
    top, bottom = MARGIN_TOP, height - MARGIN_BOTTOM

    def place(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        share_x = (np.asarray(x, float) - plot.x_range[0]) / (plot.x_range[1] - plot.x_range[0])
        share_y = (np.asarray(y, float) - plot.y_range[0]) / (plot.y_range[1] - plot.y_range[0])
        column = left + np.clip(share_x, 0, 1) * (right - left)
        row = bottom - np.clip(share_y, 0, 1) * (bottom - top)
        return np.stack([column, row], axis=-1)

    def line(points: np.ndarray, color: Color, *, thickness: float) -> None:
        corners = [tuple(point) for point in (points * OVERSAMPLING).tolist()]
        draw.line(corners, fill=color, width=round(thickness * OVERSAMPLING), joint="curve")

    for y in plot.y_ticks:
        line(place(np.array(plot.x_range), np.array([y, y])), GRID, thickness=1)
    for x in plot.x_ticks:
        line(place(np.array([x, x]), np.array(plot.y_range)), GRID, thickness=1)
    if plot.has_diagonal:
        ends = np.array(
            [max(plot.x_range[0], plot.y_range[0]), min(plot.x_range[1], plot.y_range[1])]
        )
        line(place(ends, ends), FAINT, thickness=1)
    for curve in plot.curves:
        points = place(curve.x, curve.y)
        if curve.style == "points":
            for column, row in (points * OVERSAMPLING).tolist():
                radius = 3.0 * OVERSAMPLING
                box = (column - radius, row - radius, column + radius, row + radius)
                draw.ellipse(box, fill=curve.color)
        elif curve.style == "area":
            corners = np.concatenate([[(points[0, 0], bottom)], points, [(points[-1, 0], bottom)]])
            shade = tuple((a + b) // 2 for a, b in zip(curve.color, PANEL, strict=True))
            draw.polygon([tuple(p) for p in (corners * OVERSAMPLING).tolist()], fill=shade)
        else:
            line(points, curve.color, thickness=1.6)
    panel = big.resize((width, height), Image.Resampling.BOX)
    _label(panel, plot, place=place)
    return panel


def font(size: int = FONT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def _label(panel: Image.Image, plot: Plot, *, place: object) -> None:
    draw = ImageDraw.Draw(panel)
    draw.text((8, 4), plot.title, fill=TEXT, font=font())
    x = panel.width - MARGIN_RIGHT
    for curve in reversed([curve for curve in plot.curves if curve.name]):
        x -= round(draw.textlength(curve.name, font=font()))
        draw.text((x, 4), curve.name, fill=curve.color, font=font())
        x -= 12
    for value in plot.y_ticks:
        row = float(place(plot.x_range[0], value)[1])
        draw.text((MARGIN_LEFT - 5, row), f"{value:g}", fill=FAINT, font=font(10), anchor="rm")
    for value in plot.x_ticks:
        column = float(place(value, plot.y_range[0])[0])
        row = panel.height - MARGIN_BOTTOM + 9
        draw.text((column, row), f"{value:g}", fill=FAINT, font=font(10), anchor="mm")
