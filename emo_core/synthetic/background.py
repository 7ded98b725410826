"""What lies behind the person: walls, lights, windows, hills.

Coordinates are thousandths of the picture; the background never moves.
"""

import numpy as np

from . import colors
from .portrait import Portrait
from .svg import Canvas, circles, closed_curve, open_curve, polygon

_WHOLE = "M0 0H1000V1000H0Z"


def draw_background(canvas: Canvas, portrait: Portrait) -> None:
    """Fill the picture behind the person."""
    base, accent = portrait.background_color, portrait.background_accent
    rng = np.random.default_rng(portrait.detail_seed + 3)
    if portrait.background == "plain":
        canvas.fill(_WHOLE, base)
        return
    if portrait.background == "glow":
        center = np.array([500.0 + 160 * portrait.light_side, 380.0])
        stops = [
            (0, colors.light(base, 0.55), 1),
            (0.55, base, 1),
            (1, colors.shadow(base, 0.3), 1),
        ]
        canvas.fill(_WHOLE, canvas.radial_gradient(center, 820.0, stops=stops))
        return
    top = base if portrait.background != "bokeh" else colors.shadow(base, 0.35)
    low = colors.mix(base, accent, 0.7 if portrait.background == "gradient" else 0.25)
    stops = [(0, top, 1), (1, low, 1)]
    canvas.fill(
        _WHOLE, canvas.linear_gradient(np.array([0.0, 0.0]), np.array([160.0, 1000.0]), stops=stops)
    )
    if portrait.background in _SHAPES:
        _SHAPES[portrait.background](canvas, portrait, rng)


def _draw_bokeh(canvas: Canvas, portrait: Portrait, rng: np.random.Generator) -> None:
    """Discs of light out of focus."""
    for index in range(9):
        center, radius = rng.uniform(0, 1000, (1, 2)), rng.uniform(45, 140, 1)
        tint = portrait.background_accent if index % 2 else "#fff0d0"
        canvas.fill(
            circles(center, radius), colors.light(tint, 0.3), opacity=rng.uniform(0.15, 0.4)
        )


def _draw_window(canvas: Canvas, portrait: Portrait, rng: np.random.Generator) -> None:
    """A bright window with bars on the side of the light."""
    left = 40.0 if portrait.light_side < 0 else 600.0
    left += rng.uniform(-30, 30)
    pane = np.array([[left, 60], [left + 360, 60], [left + 360, 620], [left, 620]], dtype=float)
    glass = canvas.linear_gradient(
        pane[0],
        pane[2],
        stops=[(0, "#fdf6e3", 1), (1, colors.light(portrait.background_accent, 0.45), 1)],
    )
    frame = colors.shadow(portrait.background_color, 0.35)
    canvas.fill(polygon(pane), glass)
    canvas.stroke(polygon(pane), frame, width=22)
    cross = f"M{left + 180:.0f} 60V620M{left:.0f} 330H{left + 360:.0f}"
    canvas.stroke(cross, frame, width=14)


def _draw_blocks(canvas: Canvas, portrait: Portrait, rng: np.random.Generator) -> None:
    """Large flat shapes, as on a poster."""
    tints = (portrait.background_accent, colors.light(portrait.background_color, 0.4))
    radius = rng.uniform(330, 430, 1)
    canvas.fill(circles(rng.uniform(330, 670, (1, 2)), radius), tints[0], opacity=0.85)
    slope = rng.uniform(300, 800, 2)
    shape = np.array([[0, slope[0]], [1000, slope[1]], [1000, 1000], [0, 1000]], dtype=float)
    canvas.fill(polygon(shape), tints[1], opacity=0.5)


def _draw_hills(canvas: Canvas, portrait: Portrait, rng: np.random.Generator) -> None:
    """A pale sun and three ranges."""
    sun = np.array([[500 + 330 * portrait.light_side, 210.0]])
    canvas.fill(circles(sun, np.array([85.0])), "#fff3cf", opacity=0.85)
    x = np.linspace(-100, 1100, 7)
    for step, share in enumerate((0.35, 0.6, 0.9)):
        y = 470 + 130 * step + rng.uniform(-55, 55, 7)
        ridge = np.stack([x, y], 1)
        edge = np.concatenate([ridge, [[1100, 1100], [-100, 1100]]])
        tint = colors.mix(
            colors.light(portrait.background_color, 0.3), portrait.background_accent, share
        )
        canvas.fill(closed_curve(edge), colors.shadow(tint, 0.12 * step))


def _draw_strokes(canvas: Canvas, portrait: Portrait, rng: np.random.Generator) -> None:
    """Broad brush strokes."""
    for _ in range(11):
        start = rng.uniform(-100, 1000, 2)
        line = start + np.array([[0, 0], [150, -60], [330, -70]]) * rng.uniform(0.6, 1.3)
        tint = colors.mix(
            portrait.background_color, portrait.background_accent, rng.uniform(0, 0.8)
        )
        canvas.stroke(open_curve(line), tint, width=rng.uniform(60, 130), opacity=0.4)


_SHAPES = {
    "bokeh": _draw_bokeh,
    "window": _draw_window,
    "blocks": _draw_blocks,
    "hills": _draw_hills,
    "strokes": _draw_strokes,
}
