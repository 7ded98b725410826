"""What every part of the drawing shares: the canvas, the turned head, the light and the style.

Letters in this file: N points.
"""

from dataclasses import dataclass

import numpy as np

from . import colors
from .face_state import FaceState
from .head_geometry import Head, View, drop_jaw, head_of, view_of
from .portrait import Portrait
from .svg import Canvas, Stops

LINE_COLOR = "#2b1a20"


@dataclass(frozen=True)
class Style:
    """How a drawing style treats lines and light."""

    line_width: float
    """Outline round every shape, in thousandths of a head unit; 0 for none."""
    shading: str
    """"soft": smooth; "cel": two tones with a hard edge; "bands": four tones, narrow blends."""
    contrast: float
    """Depth of shadows and strength of lights, near 1."""
    eye_scale: float
    strands: int
    """Hair strands drawn over the shapes."""
    feature_line: float
    """Weight of the drawn lines of nose, lids and mouth, near 1."""


STYLES = {
    "soft": Style(0.0, "soft", 1.0, 1.04, 13, 0.8),
    "flat": Style(0.0, "cel", 0.62, 1.02, 5, 0.9),
    "ink": Style(24.0, "cel", 0.9, 1.05, 9, 1.15),
    "anime": Style(11.0, "cel", 0.72, 1.5, 9, 0.75),
    "painterly": Style(0.0, "bands", 1.15, 1.02, 20, 0.7),
}


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame while it is being drawn."""

    canvas: Canvas
    portrait: Portrait
    state: FaceState
    style: Style
    head: Head
    view: View
    body: View
    """For what hangs or stands on the shoulders: it hardly follows the head."""
    cloud: np.ndarray
    """[N, 2] picture points of the head's whole surface, jaw dropped."""
    skin_fill: str
    hair_fill: str

    def face(self, xy_N2: np.ndarray, *, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Picture points of flat face coordinates laid on the head."""
        return self.view.project(self.head.on_face(np.asarray(xy_N2, dtype=float), lift=lift))

    def shell(
        self, angle_deg: np.ndarray, y: np.ndarray, *, lift: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Picture points round the head; those behind it slide onto its rim."""
        angle = self.view.facing(np.asarray(angle_deg, dtype=float))
        return self.view.project(self.head.points(angle, np.asarray(y, dtype=float), lift=lift))

    def narrowing(self, x: float, y: float) -> float:
        """How far the turn narrows a spot of the face: 1 seen square on, at least 0.15."""
        width = float(np.interp(y, self.head.heights, self.head.widths))
        angle = np.arcsin(np.clip(x / width, -1.0, 1.0)) + np.radians(self.view.yaw_deg)
        return max(float(np.cos(angle)), 0.15)

    def size(self, head_units: float) -> float:
        """A length in thousandths of the picture."""
        return head_units * self.view.unit

    def ink(self, path: str, *, weight: float = 1.0, color: str = LINE_COLOR) -> None:
        """The outline of a shape, in styles that have outlines."""
        self.canvas.stroke(path, color, width=self.size(self.style.line_width * weight / 1000))

    def paint(self, path: str, fill: str, *, weight: float = 1.0) -> None:
        """Fill a shape, and ink it where the style does."""
        self.canvas.fill(path, fill)
        self.ink(path, weight=weight)


def tones(style: Style, *, lit: str, base: str, half: str, dark: str) -> Stops:
    """Gradient stops from the light to the shadow, in the manner of a style."""
    if style.shading == "cel":
        return [(0.0, base, 1), (0.70, base, 1), (0.725, half, 1), (1.0, half, 1)]
    if style.shading == "bands":
        return [
            (0.0, lit, 1), (0.12, lit, 1), (0.26, base, 1), (0.52, base, 1), (0.62, half, 1),
            (0.82, half, 1), (0.92, dark, 1), (1.0, dark, 1),
        ]  # fmt: skip
    return [(0.0, lit, 1), (0.42, base, 1), (0.75, half, 1), (1.0, dark, 1)]


def open_scene(portrait: Portrait, state: FaceState) -> Scene:
    """Set up an empty canvas, the turned head and the light on skin and hair."""
    canvas, head, view = Canvas(), head_of(portrait), view_of(portrait, state)
    style = STYLES[portrait.style]
    side = portrait.light_side
    cloud = drop_jaw(head.cloud, mouth_open=state.mouth_open, length=head.length)
    lights = view.project(np.array([[0.34 * side, -0.12, 0.7], [0.5 * side, -1.0, 0.3]]))
    skin, hair, contrast = portrait.skin, portrait.hair, style.contrast
    skin_fill = canvas.radial_gradient(
        lights[0],
        1.72 * view.unit,
        stops=tones(
            style,
            lit=colors.light(skin, 0.30 * contrast),
            base=skin,
            half=colors.skin_shadow(skin, 0.32 * contrast),
            dark=colors.skin_shadow(skin, 0.58 * contrast),
        ),
    )
    hair_fill = canvas.radial_gradient(
        lights[1],
        2.1 * view.unit,
        stops=tones(
            style,
            lit=colors.light(hair, 0.20 * contrast),
            base=hair,
            half=colors.shadow(hair, 0.35 * contrast),
            dark=colors.shadow(hair, 0.6 * contrast),
        ),
    )
    return Scene(
        canvas=canvas,
        portrait=portrait,
        state=state,
        style=style,
        head=head,
        view=view,
        body=view_of(portrait, state, follow=0.22),
        cloud=view.project(cloud),
        skin_fill=skin_fill,
        hair_fill=hair_fill,
    )
