"""Beards, glasses, scarf and cap.

Letters in this file: N points.
"""

from functools import lru_cache

import numpy as np

from . import colors
from .head_geometry import JAW_DROP, head_of, silhouette
from .mouth import lips_of
from .portrait import Portrait
from .scene import Scene
from .svg import closed_curve, open_curve, polygon


def draw_beard(scene: Scene) -> None:
    """Hair on chin, cheeks and upper lip; drawn before the mouth."""
    portrait = scene.portrait
    if portrait.beard == "none":
        return
    color = colors.shadow(portrait.hair, 0.12)
    if portrait.beard == "stubble":
        tint = colors.mix(colors.skin_shadow(portrait.skin, 0.8), portrait.hair, 0.55)
        scene.canvas.fill(_jaw_band(scene, thickness=0.012), tint, opacity=0.32)
        return
    if portrait.beard in ("short", "full"):
        path = _jaw_band(scene, thickness=0.03 if portrait.beard == "short" else 0.15)
        dark = colors.shadow(portrait.hair, 0.55)
        ends = scene.face(np.array([[0.0, 0.5], [0.0, 1.3 * scene.head.length]]))
        if scene.style.shading == "cel":
            scene.paint(path, color)
        else:
            stops = [(0, color, 1), (0.5, color, 1), (1, dark, 1)]
            scene.canvas.fill(path, scene.canvas.linear_gradient(ends[0], ends[1], stops=stops))
    if portrait.beard == "goatee":
        scene.paint(_goatee(scene), color, weight=0.6)
    scene.paint(_moustache(scene), color, weight=0.5)


def _jaw_band(scene: Scene, *, thickness: float) -> str:
    """From ear to ear along the jaw, with its upper edge over the cheeks and round the mouth."""
    length, drop = scene.head.length, JAW_DROP * scene.state.mouth_open
    upper_angle = np.array([-84, -70, -54, -38, -22, 0, 22, 38, 54, 70, 84.0])
    upper_y = (
        np.array([0.12, 0.42, 0.60, 0.60, 0.535, 0.53, 0.535, 0.60, 0.60, 0.42, 0.12]) * length
    )
    lower_angle = np.array([92, 90, 84, 74, 60, 40, 0, -40, -60, -74, -84, -90, -92.0])
    lower_y = (
        np.array([0.3, 0.55, 0.8, 0.98, 1.1, 1.17, 1.19, 1.17, 1.1, 0.98, 0.8, 0.55, 0.3]) * length
    )
    lower_y = lower_y + thickness * np.clip((lower_y - 0.5) / 0.6, 0, 1)
    fall = np.clip((lower_y / length - 0.45) / 0.6, 0, 1) * drop
    upper = scene.shell(upper_angle, upper_y, lift=0.015)
    lower = scene.shell(lower_angle, np.minimum(lower_y, 1.19 * length), lift=0.8 * thickness)
    down = np.maximum(lower_y - 1.19 * length, 0) + fall
    lower = lower + scene.size(1) * down[:, None] * np.array([0.0, 1.0])
    return closed_curve(np.concatenate([upper, lower]))


def _goatee(scene: Scene) -> str:
    lips = lips_of(scene.portrait, scene.state, scene.head)
    low, length = lips.outer_lower[8], scene.head.length
    chin = 1.2 * length + JAW_DROP * scene.state.mouth_open
    waist, broad = low + 0.4 * (chin - low), low + 0.65 * (chin - low)
    edge = np.array(
        [
            [-0.05, low + 0.02], [0.05, low + 0.02], [0.12, waist], [0.24, broad],
            [0.19, chin - 0.01], [0.0, chin + 0.07], [-0.19, chin - 0.01], [-0.24, broad],
            [-0.12, waist],
        ]
    )  # fmt: skip
    flat = edge.copy()
    flat[:, 1] = np.minimum(edge[:, 1], 1.15 * length)
    below = (edge[:, 1] - flat[:, 1])[:, None] * np.array([0.0, 1.0])
    return closed_curve(scene.face(flat, lift=0.03) + scene.size(1) * below)


def _moustache(scene: Scene) -> str:
    lips = lips_of(scene.portrait, scene.state, scene.head)
    edge_x, edge_y = lips.outer_x[::2], lips.outer_upper[::2]
    bottom = np.stack([edge_x * 1.12, edge_y + 0.035 * np.abs(edge_x / edge_x[-1]) + 0.012], 1)
    top_x = np.array([0.30, 0.16, 0.0, -0.16, -0.30])
    top_y = edge_y[4] - np.array([0.03, 0.11, 0.085, 0.11, 0.03])
    return closed_curve(
        scene.face(np.concatenate([bottom, np.stack([top_x, top_y], 1)]), lift=0.05)
    )


def draw_glasses(scene: Scene) -> None:
    """Frames in front of the eyes, with a bridge and the near temple."""
    portrait, canvas = scene.portrait, scene.canvas
    if portrait.glasses == "none":
        return
    turn = np.radians(np.arange(0, 360, 22.5))
    across, down = np.cos(turn), np.sin(turn)
    half_width, half_height = 0.30, 0.265
    if portrait.glasses in ("square", "thin"):
        across = np.sign(across) * np.abs(across) ** 0.55
        down = np.sign(down) * np.abs(down) ** 0.6
        half_width, half_height = (0.32, 0.235) if portrait.glasses == "square" else (0.30, 0.19)
    width = scene.size(0.022 if portrait.glasses == "thin" else 0.045)
    color = portrait.glasses_color

    def placed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return scene.view.project(np.stack([x, y, 0.97 - 0.14 * x * x], 1))

    for side in (-1, 1):
        x = side * (portrait.eye_spacing + 0.01) + half_width * across
        path = closed_curve(placed(x, 0.01 + half_height * down))
        canvas.fill(path, "#dfeaf2", opacity=0.13)
        canvas.stroke(path, color, width=width)
        glare = np.array([[-0.16, -0.12], [-0.05, -0.16]]) * (1, 1)
        start = side * (portrait.eye_spacing + 0.01)
        shine = placed(start + glare[:, 0], glare[:, 1])
        canvas.stroke(polygon(shine)[:-1], "#ffffff", width=width * 0.8, opacity=0.5)
    inner = portrait.eye_spacing + 0.01 - half_width
    bridge = placed(np.array([-inner, 0.0, inner]), np.array([-0.03, -0.07, -0.03]))
    canvas.stroke(open_curve(bridge), color, width=width)
    for side in (-1, 1):
        hinge_x = side * (portrait.eye_spacing + 0.01 + half_width)
        hinge = placed(np.array([hinge_x]), np.array([-0.05]))[0]
        ear = scene.view.project(scene.head.points(np.array([side * 86.0]), np.array([-0.07])))[0]
        if (ear[0] - hinge[0]) * side > 0:
            canvas.stroke(polygon(np.stack([hinge, ear]))[:-1], color, width=width)


@lru_cache(maxsize=64)
def _dome_points(portrait: Portrait) -> np.ndarray:
    """[N, 3]: points of the knitted dome above the brim."""
    head = head_of(portrait)
    angle, y = head.cloud_angle_deg, head.cloud_y
    brim = _brim_height(angle)
    dome = y < brim
    lifted = head.points(angle[dome], y[dome], lift=0.06)
    lifted[:, 1] -= 0.22 * np.clip((-0.4 - y[dome]) / 0.8, 0, 1)
    return lifted


def _brim_height(angle_deg: np.ndarray) -> np.ndarray:
    return -0.56 + 0.22 * (1 - np.cos(np.radians(angle_deg))) * 0.5


def draw_headwear_behind(scene: Scene) -> None:
    """The part of a scarf that lies under the chin and on the shoulders."""
    if scene.portrait.hair_style != "hijab":
        return
    cloth = scene.portrait.headwear_color
    points = np.array(
        [
            [0.98, 0.2, -0.2],
            [1.02, 0.9, -0.2],
            [1.2, 1.5, -0.2],
            [1.5, 1.95, -0.2],
            [1.4, 2.8, -0.2],
        ]
    )
    points = np.concatenate([points, (points * (-1, 1, 1))[::-1]])
    fixed, still = scene.view.project(points), scene.body.project(points)
    share = np.clip((points[:, 1:2] - 0.2) / 1.1, 0, 1)
    outline = fixed + (still - fixed) * share
    scene.paint(closed_curve(outline), colors.shadow(cloth, 0.14))
    dark = colors.shadow(cloth, 0.6)
    for side, tilt in ((-1, 0.1), (1, 0.0), (-1, 0.5)):
        line = np.array(
            [[side * 0.9, 1.1 + tilt], [side * 0.2, 1.5 + tilt], [-side * 0.7, 1.62 + tilt]]
        )
        line3 = np.concatenate([line, np.full((3, 1), -0.2)], 1)
        path = open_curve(scene.body.project(line3))
        scene.canvas.stroke(path, dark, width=scene.size(0.03), opacity=0.5)


def draw_scarf(scene: Scene) -> None:
    """The scarf round the head; the face is painted over it afterwards."""
    if scene.portrait.hair_style != "hijab":
        return
    cloth, head = scene.portrait.headwear_color, scene.head
    lifted = head.points(head.cloud_angle_deg, head.cloud_y, lift=0.11)
    lifted[:, 1] += np.where(head.cloud_y > 0, 0.10, -0.10)
    center = scene.view.project(np.array([[0.5 * scene.portrait.light_side, -0.8, 0.4]]))[0]
    fill = scene.canvas.radial_gradient(
        center,
        scene.size(2.3),
        stops=[
            (0, colors.light(cloth, 0.25 * scene.style.contrast), 1),
            (0.5, cloth, 1),
            (1, colors.shadow(cloth, 0.55 * scene.style.contrast), 1),
        ],
    )
    scene.paint(closed_curve(silhouette(scene.view.project(lifted))), fill)
    dark = colors.shadow(cloth, 0.55)
    for lift, start in ((0.09, 74.0), (0.12, 82.0)):
        y = np.linspace(-0.6, 1.0, 7)
        for side in (-1, 1):
            angle = side * start * np.clip((y + 0.95) / 0.7, 0.3, 1)
            path = open_curve(scene.shell(angle, y, lift=lift))
            scene.canvas.stroke(path, dark, width=scene.size(0.02), opacity=0.4)


def draw_beanie_dome(scene: Scene) -> None:
    """The crown of a knitted cap; the face and then the brim are painted over it."""
    if scene.portrait.hair_style != "beanie":
        return
    cloth, canvas = scene.portrait.headwear_color, scene.canvas
    dome = _dome_points(scene.portrait)
    center = scene.view.project(np.array([[0.5 * scene.portrait.light_side, -1.2, 0.4]]))[0]
    fill = canvas.radial_gradient(
        center,
        scene.size(1.9),
        stops=[
            (0, colors.light(cloth, 0.2), 1),
            (0.5, cloth, 1),
            (1, colors.shadow(cloth, 0.5), 1),
        ],
    )
    scene.paint(closed_curve(silhouette(scene.view.project(dome))), fill)


def draw_beanie_brim(scene: Scene) -> None:
    """The rolled, ribbed brim and its shadow on the forehead."""
    if scene.portrait.hair_style != "beanie":
        return
    cloth, canvas = scene.portrait.headwear_color, scene.canvas
    angles = np.linspace(-90, 90, 13)
    low = scene.shell(angles, _brim_height(angles), lift=0.09)
    high = scene.shell(angles, _brim_height(angles) - 0.27, lift=0.11)
    shade = colors.skin_shadow(scene.portrait.skin, 0.95)
    cast = low + (0, scene.size(0.07))
    canvas.fill(closed_curve(np.concatenate([high[1:-1], cast[1:-1][::-1]])), shade, opacity=0.35)
    scene.paint(closed_curve(np.concatenate([high, low[::-1]])), colors.shadow(cloth, 0.14))
    dark = colors.shadow(cloth, 0.55)
    for top, bottom in zip(high[1:-1], low[1:-1], strict=True):
        path = polygon(np.stack([top, bottom]))[:-1]
        canvas.stroke(path, dark, width=scene.size(0.02), opacity=0.45)
