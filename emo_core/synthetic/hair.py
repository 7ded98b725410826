"""Hair: what lies behind the head, the cap round the skull, and what falls over the face.

Letters in this file: N points, M places along a lock from one side of the head to the other.

A hair style is data (`CUTS`). The cap is the head's own surface, lifted; the face is painted over
it, so the hairline needs no cutting. Locks are bands between roots and tips on the surface.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import colors
from .face_parts import hairline
from .face_state import FaceState
from .head_geometry import CROWN_Y, View, head_of, silhouette, view_of
from .portrait import Portrait
from .scene import Scene
from .svg import circles, closed_curve, open_curve


@dataclass(frozen=True)
class Cut:
    """How hair is cut; lengths in head units."""

    top: float
    """Height above the skull."""
    side: float
    """Thickness at the temples."""
    nape_y: float
    """How far down the cap reaches behind the ears."""
    fringe: str = "none"
    back: str = "none"
    curl: float = 0.0
    """Radius of curls along the rim; 0 for smooth hair."""


CUTS = {
    "balding": Cut(0.0, 0.09, 0.26),
    "buzz": Cut(0.03, 0.015, 0.20),
    "crop": Cut(0.15, 0.04, 0.20, fringe="jagged"),
    "side_part": Cut(0.20, 0.05, 0.20, fringe="swept"),
    "quiff": Cut(0.24, 0.03, 0.18, fringe="quiff"),
    "slick": Cut(0.13, 0.04, 0.22),
    "curly": Cut(0.20, 0.10, 0.25, fringe="curls", curl=0.16),
    "afro": Cut(0.42, 0.34, 0.42, curl=0.20),
    "pixie": Cut(0.19, 0.09, 0.30, fringe="long_swept"),
    "bob": Cut(0.17, 0.12, 0.3, fringe="swept", back="bob"),
    "fringe_bob": Cut(0.17, 0.12, 0.3, fringe="straight", back="bob"),
    "long_straight": Cut(0.15, 0.09, 0.3, fringe="curtain", back="long"),
    "long_wavy": Cut(0.20, 0.15, 0.3, fringe="long_swept", back="wavy"),
    "curtain": Cut(0.17, 0.11, 0.3, fringe="curtain", back="shoulder"),
    "bun": Cut(0.11, 0.05, 0.3, fringe="none", back="bun"),
    "ponytail": Cut(0.12, 0.05, 0.3, fringe="straight", back="tail"),
    "beanie": Cut(0.0, 0.03, 0.26),
    "braids": Cut(0.12, 0.07, 0.35, fringe="curtain_short", back="braids"),
}


@lru_cache(maxsize=64)
def _cap_points(portrait: Portrait) -> np.ndarray:
    """[N, 3]: the skull lifted to the surface of the hair."""
    cut, head = CUTS[portrait.hair_style], head_of(portrait)
    angle, y = np.abs(head.cloud_angle_deg), head.cloud_y
    mask = (y < cut.nape_y) & ((y < hairline(angle) + 0.05) | (angle > 84))
    if portrait.hair_style == "balding":
        mask &= (y > -0.62 + 0.5 * np.clip(1 - angle / 150, 0, 1)) & (angle > 66)
    upward = np.clip((-0.15 - y[mask]) / 1.0, 0, 1)
    top, side = cut.top * portrait.hair_volume, cut.side * portrait.hair_volume
    # Without height on top, the sides thin out upward: a bald crown, or hair under a cap.
    lift = side * np.clip((y[mask] + 0.75) / 0.4, 0.0, 1.0) if cut.top == 0 else side
    lift = lift + 0.35 * top * upward
    points = head.points(head.cloud_angle_deg[mask], y[mask], lift=lift)
    points[:, 1] -= top * upward
    lean = 0.10 * top * upward * np.sign(portrait.hair_part)
    points[:, 0] -= lean
    return points


@lru_cache(maxsize=64)
def _curl_points(portrait: Portrait) -> tuple[np.ndarray, np.ndarray]:
    """Centres [N, 3] and radii [N] of curls spread evenly over the cap."""
    rng = np.random.default_rng(portrait.detail_seed)
    cap = _cap_points(portrait)
    radius = CUTS[portrait.hair_style].curl
    chosen = [cap[rng.integers(len(cap))]]
    distance = np.linalg.norm(cap - chosen[0], axis=1)
    while len(chosen) < 46 and distance.max() > 0.9 * radius:
        chosen.append(cap[int(np.argmax(distance))])
        distance = np.minimum(distance, np.linalg.norm(cap - chosen[-1], axis=1))
    centers = np.array(chosen) * (0.97, 1.0, 0.97)
    return centers, radius * rng.uniform(0.8, 1.25, len(centers))


def draw_back_hair(scene: Scene) -> None:
    """Hair behind neck and shoulders."""
    cut = CUTS.get(scene.portrait.hair_style)
    if cut is None or cut.back == "none":
        return
    canvas, hair = scene.canvas, scene.portrait.hair
    dark = colors.shadow(hair, 0.42 * scene.style.contrast)
    if cut.back == "bun":
        center = scene.view.project(np.array([[0.0, CROWN_Y - 0.22, -0.35]]))
        radius = np.array([scene.size(0.36 * scene.portrait.hair_volume)])
        path = circles(center, radius)
        scene.paint(path, scene.hair_fill)
        for share in (0.35, 0.7):
            ring = center[0] + radius[0] * share * np.array([[-1, 0.25], [0, -0.55], [1, 0.25]])
            canvas.stroke(open_curve(ring), dark, width=scene.size(0.02), opacity=0.6)
        return
    if cut.back == "tail":
        side = 1.0 if scene.portrait.hair_part > 0 else -1.0
        line = np.array([[0.55, -0.95], [1.15, -0.85], [1.32, -0.2], [1.22, 0.6], [1.3, 1.15]])
        inner = np.array([[0.98, 1.0], [0.95, 0.4], [0.9, -0.3], [0.5, -0.6]])
        outline = np.concatenate([line, inner]) * (side, 1)
        scene.paint(closed_curve(_hanging(scene, outline, depth=-0.75)), scene.hair_fill)
        return
    if cut.back == "braids":
        _draw_braids(scene)
        return
    volume = 0.55 + 0.45 * scene.portrait.hair_volume
    spread = {
        "bob": [(0.5, -1.2), (0.85, -0.8), (1.02, 0.0), (1.10, 0.65), (1.02, 1.02), (0.7, 1.14)],
        "shoulder": [(0.5, -1.2), (0.84, -0.8), (1.0, 0.1), (1.08, 0.9), (1.1, 1.45), (0.7, 1.6)],
        "long": [(0.5, -1.2), (0.83, -0.8), (0.97, 0.1), (1.04, 1.0), (1.14, 1.7), (1.1, 2.5)],
        "wavy": [
            (0.5, -1.2), (0.88, -0.8), (1.08, -0.1), (1.05, 0.35), (1.22, 0.8), (1.14, 1.25),
            (1.34, 1.7), (1.2, 2.4),
        ],
    }[cut.back]  # fmt: skip
    right = np.array(spread) * (volume, 1.0)
    outline = np.concatenate([right, (right * (-1, 1))[::-1]])
    path = closed_curve(_hanging(scene, outline, depth=-0.45))
    fill = scene.hair_fill if scene.style.shading == "cel" else dark
    scene.paint(path, fill)
    scene.canvas.fill(path, dark, opacity=0.5)
    _draw_back_strands(scene, right, dark)


def _draw_back_strands(scene: Scene, right: np.ndarray, dark: str) -> None:
    lit = colors.light(scene.portrait.hair, 0.18)
    for share, color in ((0.93, lit), (0.86, dark), (0.79, lit)):
        for side in (-1, 1):
            line = _hanging(scene, right[2:] * (side * share, 1.0), depth=-0.4)
            scene.canvas.stroke(open_curve(line), color, width=scene.size(0.02), opacity=0.5)


def _draw_braids(scene: Scene) -> None:
    dark = colors.shadow(scene.portrait.hair, 0.55)
    for side in (-1, 1):
        steps = np.arange(9)
        line = np.stack([side * (0.98 + 0.035 * steps), 0.42 + 0.2 * steps], 1)
        centers = _hanging(scene, line, depth=-0.15)
        for index, center in enumerate(centers):
            lean = 0.05 * (-1) ** index
            shape = np.array([[-0.15, -0.06], [0.02 + lean, -0.15], [0.15, -0.03], [0.0, 0.16]])
            path = closed_curve(center + scene.size(1) * shape)
            scene.canvas.fill(path, scene.hair_fill)
            scene.canvas.stroke(path, dark, width=scene.size(0.018), opacity=0.8)


def _hanging(scene: Scene, xy_N2: np.ndarray, *, depth: float) -> np.ndarray:
    """Picture points of hair that is fixed to the head above and hangs straight below."""
    points = np.concatenate([xy_N2, np.full((len(xy_N2), 1), depth)], axis=1)
    fixed = scene.view.project(points)
    loose = _loose_view(scene.portrait, scene.state).project(points)
    share = np.clip((xy_N2[:, 1:] + 0.1) / 1.5, 0.0, 1.0)
    return fixed + (loose - fixed) * share


@lru_cache(maxsize=8)
def _loose_view(portrait: Portrait, state: FaceState) -> View:
    return view_of(portrait, state, follow=0.4)


def draw_cap(scene: Scene) -> None:
    """Hair round the skull; the face is painted over it afterwards."""
    cut = CUTS.get(scene.portrait.hair_style)
    if cut is None:
        return
    if scene.portrait.hair_style == "balding":
        for side in (-1, 1):
            cap = _cap_points(scene.portrait)
            half = cap[cap[:, 0] * side > 0.25]
            scene.paint(closed_curve(silhouette(scene.view.project(half))), scene.hair_fill)
        return
    outline = silhouette(scene.view.project(_cap_points(scene.portrait)))
    path = closed_curve(outline)
    if scene.portrait.hair_style == "buzz":
        scene.canvas.fill(path, colors.mix(scene.portrait.hair, scene.portrait.skin, 0.22))
        return
    if cut.curl:
        centers, radii = _curl_points(scene.portrait)
        curls = circles(scene.view.project(centers), radii * scene.view.unit)
        scene.ink(curls, weight=2.0)
        scene.canvas.fill(curls, scene.hair_fill)
        scene.canvas.fill(path, scene.hair_fill)
        _draw_curl_marks(scene)
        return
    scene.paint(path, scene.hair_fill)
    _draw_cap_strands(scene, cut)


def _draw_sheen(scene: Scene, cut: Cut) -> None:
    """A soft band of light across smooth hair."""
    volume = scene.portrait.hair_volume
    middle = 34.0 * scene.portrait.light_side
    angles = middle + np.linspace(-26, 26, 7)
    heights = -0.96 - 0.75 * cut.top * volume + 0.06 * np.linspace(-1, 1, 7) ** 2
    lift = (0.35 * cut.top + cut.side) * volume
    path = open_curve(scene.shell(angles, heights, lift=lift))
    color = colors.light(scene.portrait.hair, 0.55)
    scene.canvas.stroke(path, color, width=scene.size(0.09), opacity=0.13 * scene.style.contrast)
    scene.canvas.stroke(path, color, width=scene.size(0.04), opacity=0.22 * scene.style.contrast)


def _draw_curl_marks(scene: Scene) -> None:
    """Small arcs of light and shadow that make curls of a silhouette."""
    centers, radii = _curl_points(scene.portrait)
    turned = (centers - (0.0, 0.0, -0.2)) @ scene.view.rotation.T
    seen = turned[:, 2] > -0.25
    places, radii = scene.view.project(centers[seen]), radii[seen] * scene.view.unit
    lit = colors.light(scene.portrait.hair, 0.2)
    dark = colors.shadow(scene.portrait.hair, 0.5)
    arc = np.array([[-0.75, 0.15], [-0.4, -0.5], [0.35, -0.55], [0.7, 0.05]])
    for index, (place, radius) in enumerate(zip(places, radii, strict=True)):
        color, flip = (lit, 1) if index % 2 else (dark, -1)
        path = open_curve(place + radius * arc * (1, flip))
        scene.canvas.stroke(path, color, width=scene.size(0.022), opacity=0.5)


def _draw_cap_strands(scene: Scene, cut: Cut) -> None:
    portrait = scene.portrait
    rng = np.random.default_rng(portrait.detail_seed)
    part_deg = 55.0 * portrait.hair_part
    lift = cut.side * portrait.hair_volume * 0.9
    start_y = 0.96 * CROWN_Y - 0.7 * cut.top * portrait.hair_volume
    for angle in np.linspace(-84, 84, scene.style.strands) + rng.normal(0, 2, scene.style.strands):
        if abs(angle + scene.view.yaw_deg) > 78:
            continue
        share = np.linspace(0.0, 1.0, 5)
        end_y = hairline(angle) - 0.02
        angles = part_deg * (1 - share) * 0.7 + angle * np.maximum(share, 0.3)
        heights = start_y + (end_y - start_y) * share**1.4
        points = scene.shell(angles, heights, lift=lift + 0.3 * cut.top * (1 - share))
        _strand(scene, rng, points)


def _strand(scene: Scene, rng: np.random.Generator, points: np.ndarray) -> None:
    hair = scene.portrait.hair
    color = colors.light(hair, 0.26) if rng.random() < 0.5 else colors.shadow(hair, 0.5)
    width = scene.size(rng.uniform(0.012, 0.03)) * scene.style.contrast
    scene.canvas.stroke(open_curve(points), color, width=width, opacity=0.4)


def draw_front_hair(scene: Scene) -> None:
    """Fringe and locks over the forehead and beside the face."""
    cut = CUTS.get(scene.portrait.hair_style)
    if cut is None:
        return
    if cut.fringe == "curls":
        _draw_front_curls(scene, cut)
    elif cut.fringe != "none":
        for roots, tips in _locks(scene.portrait, cut.fringe):
            _draw_lock(scene, cut, roots, tips)
    if cut.top > 0.05 and not cut.curl:
        _draw_sheen(scene, cut)


def _locks(portrait: Portrait, fringe: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bands of hair, each as roots [M, 2] and tips [M, 2] in (angle, height)."""
    side = 1.0 if portrait.hair_part > 0 else -1.0

    def mirrored(table: list[tuple[float, float, float, float]]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array(table) * (side, 1, side, 1)
        return rows[:, :2], rows[:, 2:]

    if fringe == "swept":
        return [
            mirrored(
                [
                    (40, -1.0, 66, -0.42), (34, -1.06, 54, -0.60), (26, -1.1, 40, -0.66),
                    (10, -1.1, 14, -0.60), (-15, -1.1, -16, -0.52), (-40, -1.05, -46, -0.44),
                    (-62, -0.95, -70, -0.28), (-80, -0.8, -82, -0.02),
                ]
            )
        ]  # fmt: skip
    if fringe == "long_swept":
        return [
            mirrored(
                [
                    (42, -1.0, 74, -0.2), (36, -1.06, 62, -0.48), (28, -1.1, 44, -0.62),
                    (10, -1.12, 8, -0.48), (-15, -1.12, -30, -0.36), (-40, -1.06, -55, -0.22),
                    (-62, -0.98, -72, 0.10), (-80, -0.8, -84, 0.42),
                ]
            )
        ]  # fmt: skip
    if fringe == "jagged":
        table = []
        for index, angle in enumerate(np.linspace(-72, 72, 13)):
            edge = -0.60 - 0.10 * (index % 2) + 0.16 * (abs(angle) / 72) ** 2
            table.append((angle * 0.85, -1.08, angle + 3, edge))
        return [mirrored(table)]
    if fringe == "straight":
        table = []
        for index, angle in enumerate(np.linspace(-82, 82, 15)):
            outward = (abs(angle) / 82) ** 4
            edge = -0.40 + 0.02 * (index % 2) + 0.34 * outward**2
            table.append((angle * (0.8 + 0.22 * outward), -1.08 + 0.45 * outward, angle, edge))
        return [mirrored(table)]
    if fringe == "quiff":
        return [
            mirrored(
                [
                    (62, -0.8, 66, -0.50), (45, -0.95, 44, -0.70), (25, -1.05, 22, -0.80),
                    (5, -1.12, 0, -0.86), (-20, -1.12, -22, -0.90), (-42, -1.02, -42, -0.80),
                    (-62, -0.85, -66, -0.52),
                ]
            )
        ]  # fmt: skip
    reach = 0.42 if fringe == "curtain" else 0.12
    half = [
        (0, -1.2, 0, -0.86), (10, -1.16, 12, -0.74), (25, -1.1, 34, -0.60),
        (45, -1.02, 56, -0.36), (62, -0.95, 72, 0.02), (80, -0.8, 86, reach),
    ]  # fmt: skip
    shift = 14.0 * portrait.hair_part
    right = np.array(half) + (shift, 0, shift, 0)
    left = np.array(half) * (-1, 1, -1, 1) + (shift, 0, shift, 0)
    return [(left[:, :2], left[:, 2:]), (right[:, :2], right[:, 2:])]


def _draw_lock(scene: Scene, cut: Cut, roots: np.ndarray, tips: np.ndarray) -> None:
    canvas, portrait = scene.canvas, scene.portrait
    volume = portrait.hair_volume
    top_lift = (0.35 * cut.top + cut.side) * volume
    top_rise = 0.75 * cut.top * volume
    upper = scene.shell(roots[:, 0], roots[:, 1] - top_rise, lift=top_lift)
    lower = scene.shell(tips[:, 0], tips[:, 1], lift=0.05 + 0.6 * cut.side)
    shade = colors.skin_shadow(portrait.skin, 0.95)
    cast = lower + scene.size(1) * np.array([0.02 * -portrait.light_side, 0.055])
    canvas.fill(closed_curve(np.concatenate([upper, cast[::-1]])), shade, opacity=0.34)
    canvas.fill(closed_curve(np.concatenate([upper, lower[::-1]])), scene.hair_fill)
    scene.ink(open_curve(lower))
    rng = np.random.default_rng(portrait.detail_seed + 1)
    place = np.linspace(0, len(roots) - 1, max(scene.style.strands * 2 // 3, 4))
    index = np.minimum(place.astype(int), len(roots) - 2)
    share = (place - index)[:, None]
    starts = upper[index] + share * (upper[index + 1] - upper[index])
    ends = lower[index] + share * (lower[index + 1] - lower[index])
    bend = scene.size(0.05) * np.sign(ends[:, :1] - starts[:, :1]) * np.array([1.0, -1.0])
    for start, end, curve in zip(starts, ends, bend, strict=True):
        middle = 0.45 * start + 0.55 * end + curve
        _strand(scene, rng, np.stack([start * 0.75 + end * 0.25, middle, end]))


def _draw_front_curls(scene: Scene, cut: Cut) -> None:
    rng = np.random.default_rng(scene.portrait.detail_seed + 2)
    angles = np.linspace(-70, 70, 13) + rng.normal(0, 3, 13)
    heights = hairline(angles) - 0.12 + rng.uniform(-0.05, 0.08, 13)
    radii = cut.curl * rng.uniform(0.75, 1.05, 13) * scene.view.unit
    places = scene.shell(angles, heights, lift=0.08)
    shade = colors.skin_shadow(scene.portrait.skin, 0.95)
    offset = scene.size(1) * np.array([0.02 * -scene.portrait.light_side, 0.05])
    scene.canvas.fill(circles(places + offset, radii), shade, opacity=0.34)
    scene.ink(circles(places, radii), weight=2.0)
    scene.canvas.fill(circles(places, radii), scene.hair_fill)
    lit = colors.light(scene.portrait.hair, 0.22)
    arc = np.array([[-0.7, 0.2], [-0.3, -0.5], [0.4, -0.4], [0.6, 0.2]])
    for place, radius in zip(places, radii, strict=True):
        path = open_curve(place + radius * arc)
        scene.canvas.stroke(path, lit, width=scene.size(0.022), opacity=0.5)
