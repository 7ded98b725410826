"""Small plots, drawn by Pillow: curves and points over labelled axes.

Lines are drawn at several times the size and reduced, since Pillow draws no smooth lines; text is
set afterwards at its own size.

Letters: N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
FONT_SIZE = 12
BAR_WIDTH = 16
MARGIN_LEFT = 34
MARGIN_RIGHT = 8
MARGIN_TOP = 25
MARGIN_BOTTOM = 18


@dataclass(frozen=True)
class Curve:
    """One line or cloud of points."""

    x: np.ndarray
    y: np.ndarray
    color: Color
    style: str = "line"
    """"line", "area" (filled down to the bottom), "points" or "bars" (up from the bottom)."""
    name: str = ""
    """For the legend; none if empty."""


@dataclass(frozen=True)
class Plot:
    """What is drawn, and the stretch of both axes that is shown."""

    title: str
    curves: Sequence[Curve]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    x_names: Sequence[str] = ()
    """Written at the ticks of x instead of their numbers."""
    has_diagonal: bool = False
    """Whether the line y = x is drawn."""


def draw_plot(plot: Plot, *, width: int, height: int) -> Image.Image:
    """Draw a plot as a panel of the given size in pixels."""
    big = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), PANEL)
    axes = _Axes(plot, width=width, height=height)
    pen = _Pen(ImageDraw.Draw(big))
    x_range, y_range = np.array(plot.x_range), np.array(plot.y_range)
    for y in plot.y_ticks:
        pen.line(axes.place(x_range, np.array([y, y])), GRID, thickness=1.0)
    for x in plot.x_ticks:
        pen.line(axes.place(np.array([x, x]), y_range), GRID, thickness=1.0)
    if plot.has_diagonal:
        ends = np.array([max(x_range[0], y_range[0]), min(x_range[1], y_range[1])])
        pen.line(axes.place(ends, ends), FAINT, thickness=1.0)
    for curve in plot.curves:
        points_N2 = axes.place(curve.x, curve.y)
        if curve.style == "points":
            pen.dots(points_N2, curve.color, radius=3.0)
        elif curve.style == "bars":
            pen.bars(points_N2, curve.color, bottom=axes.bottom)
        elif curve.style == "area":
            pen.area(points_N2, curve.color, bottom=axes.bottom)
        else:
            pen.line(points_N2, curve.color, thickness=1.6)
    panel = big.resize((width, height), Image.Resampling.BOX)
    _label(panel, axes)
    return panel


def font(size: int = FONT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


class _Axes:
    """Where values fall on a panel."""

    def __init__(self, plot: Plot, *, width: int, height: int) -> None:
        self.plot = plot
        self.left, self.right = MARGIN_LEFT, width - MARGIN_RIGHT
        self.top, self.bottom = MARGIN_TOP, height - MARGIN_BOTTOM

    def place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Columns and rows [N, 2] in pixels; what is out of range is put on the border."""
        (x_low, x_high), (y_low, y_high) = self.plot.x_range, self.plot.y_range
        share_x = np.clip((np.asarray(x, float) - x_low) / (x_high - x_low), 0.0, 1.0)
        share_y = np.clip((np.asarray(y, float) - y_low) / (y_high - y_low), 0.0, 1.0)
        column = self.left + share_x * (self.right - self.left)
        return np.stack([column, self.bottom - share_y * (self.bottom - self.top)], axis=-1)


class _Pen:
    """Draws on the enlarged panel, in the pixels of the final one."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw

    def line(self, points_N2: np.ndarray, color: Color, *, thickness: float) -> None:
        width = round(thickness * OVERSAMPLING)
        self.draw.line(_corners(points_N2), fill=color, width=width, joint="curve")

    def dots(self, points_N2: np.ndarray, color: Color, *, radius: float) -> None:
        for column, row in points_N2:
            box = np.array([column - radius, row - radius, column + radius, row + radius])
            self.draw.ellipse((box * OVERSAMPLING).tolist(), fill=color)

    def bars(self, points_N2: np.ndarray, color: Color, *, bottom: float) -> None:
        for column, row in points_N2:
            box = np.array([column - BAR_WIDTH / 2, row, column + BAR_WIDTH / 2, bottom])
            self.draw.rectangle((box * OVERSAMPLING).tolist(), fill=color)

    def area(self, points_N2: np.ndarray, color: Color, *, bottom: float) -> None:
        ends = np.array([[points_N2[-1, 0], bottom], [points_N2[0, 0], bottom]])
        shade = tuple((a + b) // 2 for a, b in zip(color, PANEL, strict=True))
        self.draw.polygon(_corners(np.concatenate([points_N2, ends])), fill=shade)


def _corners(points_N2: np.ndarray) -> list[tuple[float, float]]:
    return [(column, row) for column, row in (points_N2 * OVERSAMPLING).tolist()]


def _label(panel: Image.Image, axes: _Axes) -> None:
    """Write the title, the legend and the numbers of the ticks."""
    plot, draw = axes.plot, ImageDraw.Draw(panel)
    draw.text((8, 5), plot.title, fill=TEXT, font=font())
    x = axes.right
    for curve in reversed([curve for curve in plot.curves if curve.name]):
        x -= round(draw.textlength(curve.name, font=font()))
        draw.text((x, 5), curve.name, fill=curve.color, font=font())
        x -= 12
    small = font(FONT_SIZE - 1)
    y_rows = axes.place(np.zeros(len(plot.y_ticks)), np.array(plot.y_ticks))[:, 1]
    for value, row in zip(plot.y_ticks, y_rows, strict=True):
        draw.text((axes.left - 5, row), f"{value:g}", fill=FAINT, font=small, anchor="rm")
    x_columns = axes.place(np.array(plot.x_ticks), np.zeros(len(plot.x_ticks)))[:, 0]
    names = plot.x_names or [f"{value:g}" for value in plot.x_ticks]
    for name, column in zip(names, x_columns, strict=True):
        draw.text((column, axes.bottom + 9), name, fill=FAINT, font=small, anchor="mm")
