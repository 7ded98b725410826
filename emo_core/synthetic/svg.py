"""Curves, gradients and shapes as SVG text, and the text as pixels.

Coordinates are thousandths of the picture side, x to the right, y down, whatever the pixel size.
Letters in this file: N points, K gradient stops.

Rasterised by resvg, which is small, fast and gives the same pixels on every machine.
"""

import io

import numpy as np
import resvg_py
from PIL import Image

Stops = list[tuple[float, str, float]]


def polygon(points_N2: np.ndarray) -> str:
    """Path data of a closed polygon."""
    template = "M%.1f %.1f" + "L%.1f %.1f" * (len(points_N2) - 1) + "Z"
    return template % tuple(points_N2.ravel().tolist())


def open_curve(points_N2: np.ndarray) -> str:
    """Path data of a smooth open curve through the points (Catmull-Rom as cubic Beziers)."""
    padded = np.concatenate([points_N2[:1], points_N2, points_N2[-1:]])
    return _bezier_path(padded)


def closed_curve(points_N2: np.ndarray) -> str:
    """Path data of a smooth closed curve through the points (Catmull-Rom as cubic Beziers)."""
    padded = np.concatenate([points_N2[-1:], points_N2, points_N2[:2]])
    return _bezier_path(padded) + "Z"


def _bezier_path(padded: np.ndarray) -> str:
    """Path from the second to the last but one point; the two outer ones only give tangents."""
    start, end = padded[1:-2], padded[2:-1]
    control_1 = start + (end - padded[:-3]) / 6.0
    control_2 = end - (padded[3:] - start) / 6.0
    numbers = np.concatenate([control_1, control_2, end], axis=1)
    template = "M%.1f %.1f" + "C%.1f %.1f %.1f %.1f %.1f %.1f" * len(numbers)
    return template % (float(start[0, 0]), float(start[0, 1]), *numbers.ravel().tolist())


def circles(centers_N2: np.ndarray, radii_N: np.ndarray) -> str:
    """Path data of many circles; drawn as one shape they merge into one silhouette."""
    x, y = centers_N2[:, 0], centers_N2[:, 1]
    numbers = np.stack([x - radii_N, y, radii_N, radii_N, 2 * radii_N, radii_N, radii_N], axis=1)
    back = -2 * radii_N
    numbers = np.concatenate([numbers, back[:, None]], axis=1)
    template = "M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0Z" * len(numbers)
    return template % tuple(numbers.ravel().tolist())


class Canvas:
    """Shapes in painting order; the first is at the back."""

    def __init__(self) -> None:
        self._definitions: list[str] = []
        self._shapes: list[str] = []

    def linear_gradient(self, start: np.ndarray, end: np.ndarray, *, stops: Stops) -> str:
        """Define a gradient between two points.

        Stops are (position 0..1, colour, opacity 0..1). Returns the value for `fill`.
        """
        place = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
        return self._define("linearGradient", place, stops)

    def radial_gradient(self, center: np.ndarray, radius: float, *, stops: Stops) -> str:
        """Define a gradient round a point; stops as in `linear_gradient`."""
        place = f'cx="{center[0]:.1f}" cy="{center[1]:.1f}" r="{radius:.1f}"'
        return self._define("radialGradient", place, stops)

    def _define(self, kind: str, place: str, stops: Stops) -> str:
        name = f"g{len(self._definitions)}"
        inside = "".join(
            f'<stop offset="{offset:.3f}" stop-color="{color}" stop-opacity="{opacity:.3f}"/>'
            for offset, color, opacity in stops
        )
        self._definitions.append(
            f'<{kind} id="{name}" gradientUnits="userSpaceOnUse" {place}>{inside}</{kind}>'
        )
        return f"url(#{name})"

    def fill(self, path: str, color: str, *, opacity: float = 1.0) -> None:
        """Paint the inside of a path."""
        self._shapes.append(f'<path d="{path}" fill="{color}"{_opacity("fill", opacity)}/>')

    def stroke(self, path: str, color: str, *, width: float, opacity: float = 1.0) -> None:
        """Paint along a path with round ends; width in thousandths, nothing if it is 0."""
        if width > 0:
            self._shapes.append(
                f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:.1f}" '
                f'stroke-linecap="round" stroke-linejoin="round"{_opacity("stroke", opacity)}/>'
            )

    def render(self, size: int) -> np.ndarray:
        """Rasterise to uint8 [size, size, 3]."""
        text = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 1000">'
            f"<defs>{''.join(self._definitions)}</defs>{''.join(self._shapes)}</svg>"
        )
        png = resvg_py.svg_to_bytes(
            svg_string=text, width=size, height=size, skip_system_fonts=True
        )
        with Image.open(io.BytesIO(bytes(png))) as picture:
            return np.array(picture.convert("RGB"))


def _opacity(what: str, opacity: float) -> str:
    """An attribute, if one is needed. Plain `opacity` would cost a layer for every shape."""
    return "" if opacity >= 1.0 else f' {what}-opacity="{opacity:.3f}"'
