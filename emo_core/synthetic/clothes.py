"""Neck, shoulders and what is worn on them.

Letters in this file: N points. Coordinates are head units in the picture plane: the shoulders do
not turn with the head, and only sway a little with it.
"""

import numpy as np

from . import colors
from .head_geometry import drop_jaw
from .scene import Scene
from .svg import closed_curve, open_curve, polygon


def draw_body(scene: Scene) -> None:
    """Neck, then shoulders in their clothes."""
    _draw_neck(scene)
    portrait, canvas = scene.portrait, scene.canvas
    cloth = portrait.cloth
    size = 0.86 if portrait.age == "child" else 1.0
    half = np.array(
        [
            [0.46, 1.34], [0.62, 1.43], [1.02, 1.54], [1.48, 1.70], [1.78, 2.05], [1.92, 2.7],
        ]
    ) * (size, 1.0)  # fmt: skip
    collar = {"crew": 1.56, "v_neck": 1.62, "shirt": 1.62, "blazer": 1.66, "hoodie": 1.56}
    dip = collar.get(portrait.clothes, 1.5)
    outline = np.concatenate([[[0.0, dip]], half, (half * (-1, 1))[::-1]])
    path = closed_curve(_on_body(scene, outline))
    if portrait.clothes == "straps":
        _draw_straps(scene, outline)
        return
    side = portrait.light_side
    ends = _on_body(scene, np.array([[1.6 * side, 1.4], [-1.7 * side, 2.0]]))
    if scene.style.shading == "cel":
        fill = cloth
    else:
        fill = canvas.linear_gradient(
            ends[0],
            ends[1],
            stops=[
                (0, colors.light(cloth, 0.2), 1),
                (0.45, cloth, 1),
                (1, colors.shadow(cloth, 0.5 * scene.style.contrast), 1),
            ],
        )
    scene.paint(path, fill)
    _draw_folds(scene)
    _COLLARS[portrait.clothes](scene)


def _on_body(scene: Scene, xy_N2: np.ndarray) -> np.ndarray:
    """Picture points; the body stands just behind the face, so perspective is left out."""
    points = np.concatenate([xy_N2, np.full((len(xy_N2), 1), -0.35)], axis=1)
    return scene.body.project(points)


def _draw_neck(scene: Scene) -> None:
    """A neck that joins the turning head to the still shoulders, in the shadow of the chin."""
    portrait, canvas = scene.portrait, scene.canvas
    head = scene.head
    wide = 0.385 + 0.16 * (portrait.jaw_width - 0.95)
    if portrait.age == "child":
        wide *= 0.84
    if portrait.beard != "none":
        wide += 0.05
    top = np.array([[wide, 0.55, -0.3], [wide, 0.95, -0.3]])
    right = scene.view.project(top)
    left = scene.view.project(top * (-1, 1, 1))
    base = _on_body(scene, np.array([[wide + 0.01, 1.3], [wide + 0.08, 1.46], [0.5, 1.9]]))
    base_left = _on_body(scene, np.array([[-wide - 0.01, 1.3], [-wide - 0.08, 1.46], [-0.5, 1.9]]))
    outline = np.concatenate([right, base, base_left[::-1], left[::-1]])
    chin = np.array([[0.0, 1.2 * head.length, 0.3], [0.0, 1.72, 0.0]])
    chin = scene.view.project(drop_jaw(chin, mouth_open=scene.state.mouth_open, length=head.length))
    dark = colors.skin_shadow(portrait.skin, 0.85 * scene.style.contrast)
    soft = colors.skin_shadow(portrait.skin, 0.25)
    if scene.style.shading == "cel":
        stops = [(0, dark, 1), (0.33, dark, 1), (0.36, portrait.skin, 1), (1, portrait.skin, 1)]
    else:
        stops = [(0, dark, 1), (0.25, dark, 1), (0.8, soft, 1), (1, portrait.skin, 1)]
    scene.paint(closed_curve(outline), canvas.linear_gradient(chin[0], chin[1], stops=stops))


def _draw_folds(scene: Scene) -> None:
    dark = colors.shadow(scene.portrait.cloth, 0.55)
    for side in (-1, 1):
        for fold in (
            [[1.3, 1.72], [1.16, 1.95], [1.14, 2.3]],
            [[0.8, 1.62], [0.86, 1.8], [0.8, 2.0]],
        ):
            path = open_curve(_on_body(scene, np.array(fold) * (side, 1)))
            scene.canvas.stroke(path, dark, width=scene.size(0.028), opacity=0.35)


def _draw_crew(scene: Scene) -> None:
    """A band that follows the round neckline."""
    rim = np.array([[-0.5, 1.345], [-0.3, 1.5], [0, 1.565], [0.3, 1.5], [0.5, 1.345]])
    path = open_curve(_on_body(scene, rim))
    scene.canvas.stroke(path, colors.shadow(scene.portrait.cloth, 0.35), width=scene.size(0.09))


def _draw_v_neck(scene: Scene) -> None:
    skin = colors.skin_shadow(scene.portrait.skin, 0.2)
    opening = np.array([[-0.46, 1.33], [0.0, 1.98], [0.46, 1.33], [0.0, 1.42]])
    points = _on_body(scene, opening)
    scene.canvas.fill(polygon(points), skin)
    trim = polygon(points[:3])[:-1]
    scene.canvas.stroke(trim, colors.shadow(scene.portrait.cloth, 0.4), width=scene.size(0.06))


def _draw_shirt(scene: Scene) -> None:
    """Two collar wings, a placket and buttons."""
    cloth, canvas = scene.portrait.cloth, scene.canvas
    skin = colors.skin_shadow(scene.portrait.skin, 0.3)
    opening = np.array([[-0.42, 1.32], [0.0, 1.72], [0.42, 1.32]])
    canvas.fill(polygon(_on_body(scene, opening)), skin)
    line = polygon(_on_body(scene, np.array([[0.0, 1.72], [0.0, 2.6]])))
    canvas.stroke(line, colors.shadow(cloth, 0.4), width=scene.size(0.025), opacity=0.7)
    for side in (-1, 1):
        wing = np.array([[0.44, 1.22], [0.0, 1.70], [0.26, 1.93], [0.66, 1.50]]) * (side, 1)
        path = polygon(_on_body(scene, wing))
        canvas.fill(path, colors.light(cloth, 0.22))
        canvas.stroke(path, colors.shadow(cloth, 0.45), width=scene.size(0.02), opacity=0.8)


def _draw_blazer(scene: Scene) -> None:
    """Lapels over a shirt."""
    accent, cloth, canvas = scene.portrait.cloth_accent, scene.portrait.cloth, scene.canvas
    front = np.array([[-0.5, 1.33], [0.0, 2.5], [0.5, 1.33], [0.0, 1.55]])
    canvas.fill(polygon(_on_body(scene, front)), accent)
    skin = colors.skin_shadow(scene.portrait.skin, 0.3)
    canvas.fill(polygon(_on_body(scene, np.array([[-0.4, 1.3], [0, 1.68], [0.4, 1.3]]))), skin)
    for side in (-1, 1):
        wing = np.array([[0.42, 1.26], [0.0, 1.68], [0.2, 1.86], [0.54, 1.46]]) * (side, 1)
        canvas.fill(polygon(_on_body(scene, wing)), colors.light(accent, 0.25))
        lapel = np.array(
            [[0.56, 1.32], [0.36, 1.72], [0.06, 2.5], [0.72, 2.0], [0.62, 1.9], [0.9, 1.8]]
        )
        path = polygon(_on_body(scene, lapel * (side, 1)))
        canvas.fill(path, colors.shadow(cloth, 0.22))
        canvas.stroke(path, colors.shadow(cloth, 0.7), width=scene.size(0.02), opacity=0.7)


def _draw_turtleneck(scene: Scene) -> None:
    cloth, canvas = scene.portrait.cloth, scene.canvas
    band = np.array(
        [[-0.47, 1.2], [0.0, 1.30], [0.47, 1.2], [0.56, 1.52], [0.0, 1.66], [-0.56, 1.52]]
    )
    points = _on_body(scene, band)
    fill = canvas.linear_gradient(
        points[0],
        points[2],
        stops=[
            (0, colors.shadow(cloth, 0.3), 1),
            (0.4, colors.light(cloth, 0.1), 1),
            (1, colors.shadow(cloth, 0.45), 1),
        ],
    )
    scene.paint(closed_curve(points), fill)
    fold = open_curve(_on_body(scene, np.array([[-0.5, 1.36], [0.0, 1.47], [0.5, 1.36]])))
    canvas.stroke(fold, colors.shadow(cloth, 0.55), width=scene.size(0.025), opacity=0.6)


def _draw_hoodie(scene: Scene) -> None:
    cloth, accent, canvas = scene.portrait.cloth, scene.portrait.cloth_accent, scene.canvas
    for side in (-1, 1):
        hood = np.array(
            [
                [0.52, 1.16],
                [0.78, 1.28],
                [0.86, 1.52],
                [0.42, 1.76],
                [0.02, 1.88],
                [0.24, 1.62],
                [0.46, 1.4],
            ]
        )
        path = closed_curve(_on_body(scene, hood * (side, 1)))
        scene.paint(path, colors.shadow(cloth, 0.2))
        cord = open_curve(
            _on_body(scene, np.array([[0.14, 1.74], [0.17, 2.0], [0.15, 2.3]]) * (side, 1))
        )
        canvas.stroke(cord, accent, width=scene.size(0.04))


def _draw_straps(scene: Scene, outline: np.ndarray) -> None:
    """Bare shoulders and a top on two straps."""
    canvas, portrait = scene.canvas, scene.portrait
    skin = portrait.skin
    ends = _on_body(scene, np.array([[0.0, 1.4], [0.0, 2.2]]))
    fill = canvas.linear_gradient(
        ends[0],
        ends[1],
        stops=[(0, colors.skin_shadow(skin, 0.3), 1), (0.5, skin, 1), (1, skin, 1)],
    )
    scene.paint(closed_curve(_on_body(scene, outline * (0.93, 1.0))), fill)
    dark = colors.skin_shadow(skin, 0.7)
    for side in (-1, 1):
        bone = np.array([[0.12, 1.66], [0.45, 1.62], [0.95, 1.64]]) * (side, 1)
        canvas.stroke(open_curve(_on_body(scene, bone)), dark, width=scene.size(0.02), opacity=0.5)
        strap = polygon(_on_body(scene, np.array([[0.82, 1.46], [0.74, 2.1]]) * (side, 1)))
        canvas.stroke(strap, portrait.cloth, width=scene.size(0.14))
    top = np.array([[-1.3, 2.8], [-0.95, 2.05], [0.0, 2.2], [0.95, 2.05], [1.3, 2.8]])
    scene.paint(closed_curve(_on_body(scene, top)), portrait.cloth)


_COLLARS = {
    "crew": _draw_crew,
    "v_neck": _draw_v_neck,
    "shirt": _draw_shirt,
    "blazer": _draw_blazer,
    "turtleneck": _draw_turtleneck,
    "hoodie": _draw_hoodie,
}
