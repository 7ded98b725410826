"""Head, ears, nose, cheeks and the marks of the skin.

Letters in this file: N points.
"""

from functools import lru_cache

import numpy as np

from . import colors
from .head_geometry import HAIRLINE_Y, head_of, silhouette
from .portrait import Portrait
from .scene import Scene
from .svg import circles, closed_curve, open_curve, polygon

# Hairline: height over the angle from the middle of the forehead to the ear.
HAIRLINE_ANGLES = np.array([0.0, 25.0, 45.0, 58.0, 68.0, 76.0, 84.0])
HAIRLINE_HEIGHTS = np.array([HAIRLINE_Y, -0.75, -0.70, -0.58, -0.34, 0.02, 0.30])


def hairline(angle_deg: np.ndarray) -> np.ndarray:
    """Height of the hairline at an angle round the head."""
    return np.interp(np.abs(angle_deg), HAIRLINE_ANGLES, HAIRLINE_HEIGHTS)


@lru_cache(maxsize=64)
def face_mask(portrait: Portrait) -> np.ndarray:
    """[N] bool: which points of the head's cloud are the face, chin to hairline, ear to ear."""
    head = head_of(portrait)
    angle, y = np.abs(head.cloud_angle_deg), head.cloud_y
    return ((angle < 86) & (y > hairline(angle))) | _jaw_mask(portrait)


def _jaw_mask(portrait: Portrait) -> np.ndarray:
    head = head_of(portrait)
    return (np.abs(head.cloud_angle_deg) < 100) & (head.cloud_y > 0.35)


@lru_cache(maxsize=64)
def _painted_mask(portrait: Portrait) -> np.ndarray:
    """[N] bool: what is painted over the hair; more than the face if bald, less in a scarf."""
    head = head_of(portrait)
    angle = np.abs(head.cloud_angle_deg)
    if portrait.hair_style in ("bald", "balding"):
        return ((angle < 74) & (head.cloud_y > -1.1)) | _jaw_mask(portrait)
    if portrait.hair_style == "hijab":
        y = head.cloud_y / head.length
        limit = np.interp(y, [-0.62, -0.5, -0.2, 0.3, 0.8, 1.05, 1.3], [20, 48, 64, 68, 66, 70, 90])
        return (angle < limit) & (head.cloud_y > -0.64)
    return face_mask(portrait)


def draw_head_base(scene: Scene) -> None:
    """The whole head in skin; hair and face come over it."""
    is_seen_whole = scene.portrait.hair_style in ("bald", "balding")
    fill = scene.skin_fill if is_seen_whole else colors.skin_shadow(scene.portrait.skin, 0.4)
    scene.paint(closed_curve(silhouette(scene.cloud)), fill)


def draw_face(scene: Scene) -> None:
    """The face over the hair: the hairline is its upper edge."""
    portrait, canvas = scene.portrait, scene.canvas
    mask = _painted_mask(portrait)
    path = closed_curve(silhouette(scene.cloud[mask]))
    if portrait.hair_style in ("bald", "balding"):
        canvas.fill(path, scene.skin_fill)
    else:
        scene.paint(path, scene.skin_fill)
        forehead = mask & (head_of(portrait).cloud_y < -0.2)
        shade = colors.skin_shadow(portrait.skin, 0.95)
        anchors = scene.face(np.array([[0.0, HAIRLINE_Y], [0.0, -0.25]]))
        fall = canvas.linear_gradient(
            anchors[0], anchors[1], stops=[(0, shade, 0.42 * scene.style.contrast), (1, shade, 0)]
        )
        canvas.fill(closed_curve(silhouette(scene.cloud[forehead])), fall)
    _draw_cheeks(scene)
    if scene.style.shading == "bands":
        _draw_brush_marks(scene)
    _draw_marks(scene)


def draw_ears(scene: Scene) -> None:
    """Both ears, over the hair; the face painted next hides the far one as the head turns."""
    for side in (-1, 1):
        _draw_ear(scene, side)


def _draw_ear(scene: Scene, side: int) -> None:
    """One ear, side -1 for the left of the picture."""
    portrait = scene.portrait
    size = portrait.ear_size
    turn = np.radians(np.arange(0.0, 360.0, 30.0))
    across = 0.5 - 0.5 * np.cos(turn)
    out = across * np.where(np.sin(turn) < 0, 0.235, 0.18) * size
    y = 0.07 + np.sin(turn) * 0.245 * size
    base = scene.head.points(np.full(12, side * 86.0), np.clip(y, -0.2, 0.35))
    base[:, 1] = y
    base += out[:, None] * np.array([side * 0.80, 0.0, -0.6])
    outer = scene.view.project(base)
    path = closed_curve(outer)
    is_lit = side == portrait.light_side
    scene.paint(path, colors.skin_shadow(portrait.skin, 0.08 if is_lit else 0.24))
    edge = colors.skin_shadow(portrait.skin, 0.6)
    scene.canvas.stroke(path, edge, width=scene.size(0.012), opacity=0.6)
    inner_points = outer.mean(axis=0) + (outer - outer.mean(axis=0)) * (0.52, 0.62)
    dark = colors.skin_shadow(portrait.skin, 0.62)
    scene.canvas.fill(closed_curve(inner_points), dark, opacity=0.55)
    if portrait.earrings != "none":
        _draw_earring(scene, outer[3])


def _draw_earring(scene: Scene, lobe: np.ndarray) -> None:
    gold, canvas = "#e3b64f", scene.canvas
    unit = scene.view.unit
    if scene.portrait.earrings == "hoop":
        ring = circles(lobe[None] + (0, 0.10 * unit), np.array([0.10 * unit]))
        canvas.stroke(ring, gold, width=0.032 * unit)
        return
    radius = 0.045 * unit
    canvas.fill(circles(lobe[None] - (0, 0.02 * unit), np.array([radius])), gold)
    if scene.portrait.earrings == "drop":
        below = lobe + np.array([[0, 0.02], [0.055, 0.17], [0, 0.23], [-0.055, 0.17]]) * unit
        canvas.fill(closed_curve(below), scene.portrait.headwear_color)


def _draw_cheeks(scene: Scene) -> None:
    portrait, canvas = scene.portrait, scene.canvas
    if portrait.blush <= 0.15:
        return
    tint = colors.mix("#e2555b", portrait.skin, 0.25)
    strength = 0.34 * portrait.blush
    for side in (-1, 1):
        center = scene.face(np.array([[side * 0.5, 0.34]]))[0]
        radius = scene.size(0.27 * scene.narrowing(side * 0.5, 0.34))
        fill = canvas.radial_gradient(
            center, radius, stops=[(0, tint, strength), (0.5, tint, 0.6 * strength), (1, tint, 0)]
        )
        canvas.fill(circles(center[None], np.array([radius])), fill)


def _draw_brush_marks(scene: Scene) -> None:
    """Visible strokes that follow the form of the face, warm in the light, cool in the shade."""
    portrait = scene.portrait
    rng = np.random.default_rng(portrait.detail_seed + 4)
    warm, cool = colors.light(portrait.skin, 0.6), colors.mix(portrait.skin, "#7a4a6a", 0.45)
    for _ in range(16):
        x, y = rng.uniform(-0.62, 0.62), rng.uniform(-0.6, 0.95)
        line = np.array([[x, y], [x * 1.04 + 0.03, y + 0.09], [x * 1.02 + 0.08, y + 0.19]])
        tint = warm if x * portrait.light_side > rng.uniform(-0.25, 0.25) else cool
        path = open_curve(scene.face(line))
        scene.canvas.stroke(path, tint, width=scene.size(rng.uniform(0.06, 0.12)), opacity=0.07)


def _draw_marks(scene: Scene) -> None:
    """Freckles and wrinkles."""
    portrait, canvas = scene.portrait, scene.canvas
    dark = colors.skin_shadow(portrait.skin, 0.8)
    if portrait.freckles:
        rng = np.random.default_rng(portrait.detail_seed)
        x = rng.choice([-1, 1], portrait.freckles) * rng.uniform(0.08, 0.68, portrait.freckles)
        y = rng.normal(0.30, 0.075, portrait.freckles)
        radii = scene.size(1) * rng.uniform(0.011, 0.02, portrait.freckles)
        canvas.fill(circles(scene.face(np.stack([x, y], 1)), radii), dark, opacity=0.6)
    if portrait.wrinkles <= 0:
        return
    width, opacity = scene.size(0.015), 0.5 * portrait.wrinkles
    smile = scene.state.smile
    for side in (-1, 1):
        fold = np.array([[0.19, 0.44], [0.30, 0.54], [0.36 + 0.03 * smile, 0.66], [0.37, 0.76]])
        path = open_curve(scene.face(fold * (side, scene.head.length)))
        canvas.stroke(path, dark, width=width, opacity=opacity)
    if portrait.wrinkles > 0.5:
        for height in (-0.56, -0.46):
            x = np.linspace(-0.34, 0.34, 5)
            y = height - 0.03 * scene.state.brow_raise - 0.02 * np.cos(5 * x)
            path = open_curve(scene.face(np.stack([x, y], 1)))
            canvas.stroke(path, dark, width=width, opacity=0.6 * opacity)


def draw_nose(scene: Scene) -> None:
    """Bridge shadow, wings, nostrils and the light on the tip."""
    portrait, canvas, style = scene.portrait, scene.canvas, scene.style
    wide, long = portrait.nose_width, portrait.nose_length * scene.head.length
    if portrait.style == "anime":
        wide *= 0.75
    dark_side = -portrait.light_side
    shade = colors.skin_shadow(portrait.skin, 0.8 * style.contrast)
    line = colors.mix(colors.skin_shadow(portrait.skin, 1.0), "#3a1a1c", 0.35)
    # Flat position and height above the face of the points that make the nose.
    flat = np.array(
        [
            [0.075 * dark_side, -0.10], [0.035 * dark_side, 0.10], [0.03 * dark_side, 0.33 * long],
            [0.0, 0.40 * long], [0.10 * wide * dark_side, 0.455 * long],
            [0.165 * wide * dark_side, 0.42 * long], [0.125 * wide * dark_side, 0.30 * long],
            [0.095 * dark_side, 0.10],
        ]
    )  # fmt: skip
    lift = np.array([0.04, 0.10, 0.22, 0.21, 0.09, 0.05, 0.07, 0.03])
    points = scene.face(flat, lift=lift)
    if style.shading == "cel":
        canvas.fill(closed_curve(points), shade, opacity=0.5)
    else:
        fill = canvas.linear_gradient(
            points[0], points[4], stops=[(0, shade, 0.10), (0.6, shade, 0.34), (1, shade, 0.6)]
        )
        canvas.fill(closed_curve(points), fill)
    under = np.array(
        [
            [-0.16 * wide, 0.425 * long], [-0.08 * wide, 0.435 * long], [0.0, 0.41 * long],
            [0.08 * wide, 0.435 * long], [0.16 * wide, 0.425 * long], [0.09 * wide, 0.475 * long],
            [0.0, 0.495 * long], [-0.09 * wide, 0.475 * long],
        ]
    )  # fmt: skip
    under_lift = np.array([0.05, 0.13, 0.20, 0.13, 0.05, 0.06, 0.09, 0.06])
    canvas.fill(closed_curve(scene.face(under, lift=under_lift)), shade, opacity=0.55)
    nostrils = scene.face(
        np.array([[-0.078 * wide, 0.455 * long], [0.078 * wide, 0.455 * long]]), lift=0.09
    )
    for nostril in nostrils:
        shape = np.array([[-0.04, 0.008], [0.0, -0.016], [0.04, 0.008], [0.0, 0.016]]) * wide
        canvas.fill(closed_curve(nostril + scene.size(1) * shape), line, opacity=0.8)
    width = scene.size(0.017 * style.feature_line)
    for side in (-1, 1):
        wing = np.array([[0.13, 0.34], [0.178, 0.40], [0.165, 0.455], [0.12, 0.465]])
        wing = wing * (side * wide, long)
        path = open_curve(scene.face(wing, lift=np.array([0.08, 0.05, 0.05, 0.06])))
        canvas.stroke(path, line, width=width, opacity=0.5)
    if style.line_width:
        bridge = scene.face(flat[[1, 2, 3, 4]], lift=lift[[1, 2, 3, 4]])
        canvas.stroke(open_curve(bridge), line, width=width * 1.1, opacity=0.75)
    tip = scene.face(np.array([[0.03 * portrait.light_side, 0.34 * long]]), lift=0.2)
    bright = colors.light(portrait.skin, 0.75)
    shape = np.array([[-0.05, 0], [0, -0.045], [0.05, 0], [0, 0.045]]) * scene.size(1)
    canvas.fill(closed_curve(tip + shape), bright, opacity=0.5 * style.contrast)
    ridge = scene.face(
        np.array([[0.0, -0.02], [0.005 * portrait.light_side, 0.14]]), lift=np.array([0.05, 0.12])
    )
    canvas.stroke(polygon(ridge)[:-1], bright, width=scene.size(0.04), opacity=0.22)
