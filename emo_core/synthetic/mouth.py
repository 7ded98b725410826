"""Lips, teeth and tongue for a given articulation.

Letters in this file: T positions from the left to the right corner.

Teeth and tongue lie between the inner edges of the lips by construction, so nothing is clipped.
"""

from dataclasses import dataclass

import numpy as np

from . import colors
from .face_state import FaceState
from .head_geometry import Head
from .portrait import Portrait
from .scene import Scene
from .svg import closed_curve, open_curve, polygon

GAP = 0.32
"""Height of the opening at mouth_open 1, in head units."""
REST_Y = 0.685

_T = np.linspace(-1.0, 1.0, 17)
_ARCH = (1 - _T * _T) ** 0.62


@dataclass(frozen=True, eq=False)
class Lips:
    """Edges of the lips over T, in flat face coordinates; y grows downward."""

    outer_x: np.ndarray
    inner_x: np.ndarray
    outer_upper: np.ndarray
    inner_upper: np.ndarray
    inner_lower: np.ndarray
    outer_lower: np.ndarray
    lift: np.ndarray
    gap: float
    """Height of the opening in the middle, in head units."""


def lips_of(portrait: Portrait, state: FaceState, head: Head) -> Lips:
    """The shape of the lips: linear in mouth_open, so a larger value is always a wider gap."""
    gap = GAP * state.mouth_open
    width = portrait.mouth_width * (1 + 0.26 * state.mouth_width) * (1 - 0.42 * state.lip_round)
    width *= (1 + 0.12 * state.smile) * (1 - 0.05 * state.mouth_open)
    full = portrait.lip_fullness * (1 + 0.45 * state.lip_round) * (1 - 0.14 * state.mouth_width)
    corner = -0.03 - 0.085 * state.smile + 0.38 * gap
    middle = 0.02 * state.smile
    line = REST_Y * head.length + middle + (corner - middle) * _T * _T * np.abs(_T) ** 0.3
    line = line + 0.006 * np.cos(3 * np.pi * _T) * (1 - np.abs(_T))
    bow = (1 - np.abs(_T) ** 1.7) * (1 - 0.2 * np.exp(-((_T / 0.15) ** 2)))
    inner_upper = line - (0.13 * gap + 0.38 * gap * _T * _T) * _ARCH
    inner_lower = line + (0.87 * gap - 0.38 * gap * _T * _T) * _ARCH
    return Lips(
        outer_x=width * _T,
        inner_x=0.94 * width * _T,
        outer_upper=inner_upper - 0.070 * full * bow - 0.004,
        inner_upper=inner_upper,
        inner_lower=inner_lower,
        outer_lower=inner_lower + 0.105 * full * (1 - np.abs(_T) ** 2.4) + 0.004,
        lift=(0.03 + 0.13 * state.lip_round) * np.sqrt(1 - _T * _T),
        gap=gap,
    )


def mouth_points(scene: Scene) -> np.ndarray:
    """Picture points [N, 2] round the lips."""
    lips = lips_of(scene.portrait, scene.state, scene.head)
    return np.concatenate(
        [
            _place(scene, lips, lips.outer_x, lips.outer_upper),
            _place(scene, lips, lips.outer_x, lips.outer_lower),
        ]
    )


def _place(scene: Scene, lips: Lips, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return scene.face(np.stack([x, y], 1), lift=lips.lift)


def draw_mouth(scene: Scene) -> None:
    """Cavity, tongue, teeth, then the lips over them."""
    portrait, state, canvas = scene.portrait, scene.state, scene.canvas
    lips = lips_of(portrait, state, scene.head)
    upper_out = _place(scene, lips, lips.outer_x, lips.outer_upper)
    upper_in = _place(scene, lips, lips.inner_x, lips.inner_upper)
    lower_in = _place(scene, lips, lips.inner_x, lips.inner_lower)
    lower_out = _place(scene, lips, lips.outer_x, lips.outer_lower)
    _draw_lip_shadow(scene, lips)
    if lips.gap > 0.004:
        canvas.fill(polygon(np.concatenate([upper_in, lower_in[::-1]])), "#3d1218")
        _draw_tongue(scene, lips)
        _draw_teeth(scene, lips)
    color = portrait.lips
    upper_path = closed_curve(np.concatenate([upper_out, upper_in[::-1]]))
    lower_path = closed_curve(np.concatenate([lower_in, lower_out[::-1]]))
    canvas.fill(upper_path, colors.skin_shadow(color, 0.34))
    if scene.style.shading == "cel":
        canvas.fill(lower_path, color)
    else:
        fill = canvas.linear_gradient(
            lower_in[8],
            lower_out[8] + 0.1,
            stops=[
                (0, colors.skin_shadow(color, 0.12), 1),
                (0.4, colors.light(color, 0.22), 1),
                (1, colors.skin_shadow(color, 0.22), 1),
            ],
        )
        canvas.fill(lower_path, fill)
    shine = lower_in[5:12] * 0.55 + lower_out[5:12] * 0.45
    canvas.stroke(
        open_curve(shine),
        colors.light(color, 0.75),
        width=scene.size(0.022 * portrait.lip_fullness),
        opacity=0.42,
    )
    dark = colors.mix(colors.skin_shadow(color, 1.0), "#2b1018", 0.55)
    line = scene.size(0.016 * (0.5 + 0.5 * scene.style.feature_line))
    if lips.gap <= 0.03:
        canvas.stroke(open_curve(upper_in), dark, width=line)
    for corner in (0, -1):
        canvas.fill(closed_curve(upper_in[corner] + scene.size(0.014) * _DOT), dark, opacity=0.7)
    if scene.style.line_width:
        scene.ink(open_curve(upper_out), weight=0.5)
        scene.ink(open_curve(lower_out[4:13]), weight=0.5)


_DOT = np.array([[1.0, 0.0], [0.0, 0.7], [-1.0, 0.0], [0.0, -0.7]])


def _draw_lip_shadow(scene: Scene, lips: Lips) -> None:
    """The hollow below the lower lip."""
    t = _T[3:14]
    x, y = lips.outer_x[3:14] * 0.8, lips.outer_lower[3:14]
    edge = np.concatenate(
        [np.stack([x, y - 0.01], 1), np.stack([x, y + 0.055 * (1 - (t / 0.7) ** 2)], 1)[::-1]]
    )
    shade = colors.skin_shadow(scene.portrait.skin, 0.75)
    scene.canvas.fill(closed_curve(scene.face(edge)), shade, opacity=0.38)


def _between(scene: Scene, lips: Lips, top: np.ndarray, bottom: np.ndarray) -> str:
    """Path of a shape limited to the opening of the mouth."""
    top = np.clip(top, lips.inner_upper, lips.inner_lower)
    bottom = np.clip(bottom, lips.inner_upper, lips.inner_lower)
    upper = _place(scene, lips, lips.inner_x, top)
    lower = _place(scene, lips, lips.inner_x, bottom)
    return polygon(np.concatenate([upper, lower[::-1]]))


def _draw_tongue(scene: Scene, lips: Lips) -> None:
    height = (0.22 + 0.6 * scene.state.tongue) * lips.gap
    top = lips.inner_lower[8] - height * (1 - (_T / 0.85) ** 2)
    path = _between(scene, lips, top, lips.inner_lower)
    scene.canvas.fill(path, colors.mix("#c4545f", "#7d2b36", 0.35 * (1 - scene.state.tongue)))


def _draw_teeth(scene: Scene, lips: Lips) -> None:
    teeth = scene.state.teeth
    if teeth <= 0.02:
        return
    upper_edge = lips.inner_upper[8] + (0.02 + 0.085 * teeth) * (1 - 0.5 * _T * _T)
    fill = "#f7f1e9"
    scene.canvas.fill(_between(scene, lips, lips.inner_upper, upper_edge), fill)
    if teeth > 0.45:
        lower_edge = lips.inner_lower[8] - 0.10 * (teeth - 0.45) * (1 - 0.6 * _T * _T)
        path = _between(scene, lips, np.maximum(lower_edge, upper_edge + 0.008), lips.inner_lower)
        scene.canvas.fill(path, colors.shadow(fill, 0.12))
