"""Eyes and brows, drawn flat and laid on the head.

Letters in this file: T positions from the inner to the outer corner.

The iris is cut by the lids without a clip path: the points of its circle are limited to the
heights of the lids above and below them.
"""

from dataclasses import dataclass

import numpy as np

from . import colors
from .scene import LINE_COLOR, Scene
from .svg import closed_curve, open_curve, polygon

_T = np.linspace(-1.0, 1.0, 13)
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 21)), np.sin(np.linspace(0, 2 * np.pi, 21))], 1
)


@dataclass(frozen=True, eq=False)
class Lids:
    """The opening of one eye in flat face coordinates."""

    side: int
    """-1 for the eye on the left of the picture, 1 for the other."""
    x: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    crease: np.ndarray
    closed_share: float
    half_width: float

    @property
    def center_y(self) -> float:
        """Height of the eye's middle."""
        return float(0.5 * (self.upper[6] + self.lower[6]))


def draw_eyes(scene: Scene) -> None:
    """Both eyes, with lids, lashes and brows."""
    for side in (-1, 1):
        lids = _lids(scene, side)
        _draw_socket(scene, lids)
        if lids.closed_share < 0.93:
            _draw_eyeball(scene, lids)
        _draw_lines(scene, lids)
        _draw_brow(scene, side)


def _lids(scene: Scene, side: int) -> Lids:
    portrait, state = scene.portrait, scene.state
    blink = state.blink_left if side < 0 else state.blink_right
    scale = portrait.eye_size * scene.style.eye_scale
    half_width = 0.185 * portrait.eye_size * (0.5 + 0.5 * scene.style.eye_scale)
    rise, fall = 0.108 * scale, 0.074 * scale
    tilt = -portrait.eye_tilt * _T
    arch = (1 - np.abs(_T) ** 2.3) ** 0.75
    upper_open = -rise * arch * (1 - 0.08 * _T) * (1 - 0.06 * state.smile)
    upper_open = upper_open * (1 + 0.12 * state.brow_raise) + 0.022 * state.gaze_y * arch
    lower_open = fall * (1 - _T * _T) ** 0.8 * (1 - 0.35 * state.smile)
    meet = 0.72 * fall * (1 - _T * _T)
    upper = upper_open + blink * (meet - upper_open)
    lower = lower_open + blink * (meet - lower_open)
    crease = upper_open - 0.046 - 0.02 * portrait.wrinkles + 0.4 * blink * (upper - upper_open)
    return Lids(
        side=side,
        x=side * (portrait.eye_spacing + half_width * _T),
        upper=upper + tilt,
        lower=np.maximum(lower, upper) + tilt,
        crease=crease + tilt,
        closed_share=blink,
        half_width=half_width,
    )


def _draw_socket(scene: Scene, lids: Lids) -> None:
    """The lid between crease and opening, and the soft hollow round the eye."""
    portrait, canvas = scene.portrait, scene.canvas
    lid = np.concatenate(
        [np.stack([lids.x, lids.crease], 1), np.stack([lids.x, lids.upper], 1)[::-1]]
    )
    if scene.style.shading != "cel":
        center = scene.face(np.array([[lids.side * (portrait.eye_spacing - 0.02), -0.05]]))[0]
        shade = colors.skin_shadow(portrait.skin, 0.9)
        radius = scene.size(0.34 * scene.narrowing(lids.side * portrait.eye_spacing, -0.05))
        glow = canvas.radial_gradient(center, radius, stops=[(0, shade, 0.34), (1, shade, 0)])
        canvas.fill(closed_curve(center + radius * _CIRCLE[:-1:2] * (1, 0.78)), glow)
    canvas.fill(polygon(scene.face(lid)), portrait.lid_color, opacity=0.75)


def _draw_eyeball(scene: Scene, lids: Lids) -> None:
    portrait, state, canvas = scene.portrait, scene.state, scene.canvas
    opening = np.concatenate(
        [np.stack([lids.x, lids.upper], 1), np.stack([lids.x, lids.lower], 1)[::-1]]
    )
    white = colors.mix("#fbf8f4", portrait.skin, 0.10)
    top, bottom = scene.face(np.array([[lids.x[6], lids.upper[6]], [lids.x[6], lids.lower[6]]]))
    shaded = colors.mix("#8f8793", portrait.skin, 0.25)
    fill = canvas.linear_gradient(
        top, bottom + 0.1, stops=[(0, shaded, 1), (0.42, white, 1), (1, white, 1)]
    )
    canvas.fill(polygon(scene.face(opening)), fill)
    scale = portrait.eye_size * scene.style.eye_scale
    radius = 0.098 * scale
    stretch = np.array([1.0, 1.12 if scene.portrait.style == "anime" else 1.0])
    center = np.array(
        [
            lids.side * portrait.eye_spacing
            + state.gaze_x * (lids.half_width - 0.55 * radius) * 0.72,
            -0.024 * scale + 0.055 * state.gaze_y,
        ]
    )

    def within(points: np.ndarray) -> np.ndarray:
        order = np.argsort(lids.x)
        upper = np.interp(points[:, 0], lids.x[order], lids.upper[order])
        lower = np.interp(points[:, 0], lids.x[order], lids.lower[order])
        return scene.face(
            np.stack([points[:, 0], np.clip(points[:, 1], upper, np.maximum(lower, upper))], 1)
        )

    rim = colors.mix(portrait.iris, "#120c12", 0.62)
    canvas.fill(polygon(within(center + radius * stretch * _CIRCLE)), rim)
    lit = colors.light(portrait.iris, 0.34)
    middle = scene.face(center[None])[0]
    iris_fill = canvas.linear_gradient(
        middle - (0, scene.size(radius)),
        middle + (0, scene.size(radius)),
        stops=[(0.15, colors.mix(portrait.iris, "#120c12", 0.35), 1), (0.95, lit, 1)],
    )
    canvas.fill(polygon(within(center + 0.83 * radius * stretch * _CIRCLE)), iris_fill)
    canvas.fill(polygon(within(center + 0.46 * radius * stretch * _CIRCLE)), "#150d12")
    glint = center + np.array([0.34 * portrait.light_side, -0.36]) * radius
    canvas.fill(polygon(within(glint + 0.29 * radius * _CIRCLE)), "#ffffff")
    small = center + np.array([-0.36 * portrait.light_side, 0.42]) * radius
    canvas.fill(polygon(within(small + 0.15 * radius * _CIRCLE)), "#ffffff", opacity=0.6)


def _draw_lines(scene: Scene, lids: Lids) -> None:
    """Lashes as a tapered line on the upper lid, the crease and the lower lid."""
    portrait, canvas = scene.portrait, scene.canvas
    weight = scene.style.feature_line
    thick = (0.016 + 0.022 * portrait.lashes) * (0.55 + 0.45 * weight)
    if portrait.style == "anime":
        thick *= 1.5
    taper = 0.25 + 0.75 * np.clip((_T + 1.05) / 1.3, 0, 1)
    lower_edge = np.stack([lids.x, lids.upper + 0.004], 1)
    upper_edge = np.stack([lids.x, lids.upper - thick * taper], 1)
    wing = (0.035 + 0.06 * portrait.lashes) * (1 - 0.5 * lids.closed_share)
    droop = 0.03 * lids.closed_share
    tip = np.array([[lids.x[-1] + lids.side * wing, lids.upper[-1] - 0.6 * wing + droop]])
    lash = np.concatenate([lower_edge, tip, upper_edge[::-1]])
    dark = colors.mix(LINE_COLOR, colors.skin_shadow(portrait.skin, 1.0), 0.25)
    canvas.fill(polygon(scene.face(lash, lift=0.01)), dark)
    crease = colors.skin_shadow(portrait.skin, 0.95)
    line = scene.size(0.014 * weight)
    above = np.stack([lids.x, lids.crease], 1)[1:-1]
    canvas.stroke(open_curve(scene.face(above)), crease, width=line, opacity=0.7)
    below = np.stack([lids.x, lids.lower + 0.006], 1)[3:-1]
    canvas.stroke(open_curve(scene.face(below)), crease, width=line, opacity=0.55)
    if portrait.wrinkles > 0.5:
        bag = np.stack([lids.x, lids.lower + 0.075], 1)[2:-2]
        canvas.stroke(open_curve(scene.face(bag)), crease, width=line, opacity=0.4)


def _draw_brow(scene: Scene, side: int) -> None:
    portrait, state = scene.portrait, scene.state
    t = np.linspace(0.0, 1.0, 8)
    raised, frown = max(state.brow_raise, 0.0), max(-state.brow_raise, 0.0)
    scale = scene.style.eye_scale
    x = portrait.eye_spacing + (-0.215 + 0.47 * t) - 0.02 * frown
    y = -0.265 - 0.05 * (scale - 1) / 0.3 - 0.085 * raised + 0.02 * frown
    arch = (0.035 + 0.055 * portrait.brow_arch) * np.sin(np.pi * np.clip(0.12 + 0.8 * t, 0, 1))
    height = y - arch + (portrait.brow_tilt + 0.045 * frown) * (1 - 2 * t) + 0.02 * t
    thick = (
        0.036 * portrait.brow_thickness * (1 - 0.82 * t**2.2) * (0.72 + 0.28 * np.sin(np.pi * t))
    )
    upper = np.stack([side * x, height - thick], 1)
    lower = np.stack([side * x, height + thick], 1)[::-1]
    path = closed_curve(scene.face(np.concatenate([upper, lower]), lift=0.03))
    color = colors.shadow(portrait.hair, 0.35)
    if colors.luminance(portrait.hair) > 0.55:
        color = colors.mix(color, colors.skin_shadow(portrait.skin, 0.9), 0.35)
    scene.canvas.fill(path, color, opacity=0.92)
