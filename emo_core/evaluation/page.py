"""One picture that shows an evaluation: numbers, films and curves.

Top to bottom: the nine numbers with their targets; one row per talk film with the portrait, frames
and the mouth as it was (grey) and as it was read (orange); the three plots; the long film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..video.frame_bytes import frames_as_bytes
from .films import Film
from .measures import MAX_LAG_FRAMES, correlation
from .plots import (
    CONTROL_COLOR,
    FAINT,
    PANEL,
    PAPER,
    READ_COLOR,
    TEXT,
    TRUE_COLOR,
    Color,
    Curve,
    Plot,
    draw_plot,
    font,
)
from .results import Results

WIDTH = 1400
GAP = 12
TILE_HEIGHT = 74
PICTURE = 104
PLOT_HEIGHT = 190
GREATEST_NUM_ROWS = 8
MET_COLOR: Color = (120, 208, 132)
MISSED_COLOR: Color = (240, 112, 104)


@dataclass(frozen=True)
class Tile:
    """How a number is shown, and which values meet the target."""

    name: str
    caption: str
    form: str
    low: float
    high: float


TILES = {
    "lip_sync_correlation": Tile("lip sync", "correlation, target 0.5", "{:.2f}", 0.5, 1),
    "lip_sync_lag_frames": Tile("lag", "frames, target -1 to 1", "{:+.0f}", -1, 1),
    "lip_sync_shuffled": Tile("other voice", "control, under 0.2", "{:.2f}", -1, 0.2),
    "identity_top1": Tile("identity", "first of 50, target 80 %", "{:.0%}", 0.8, 1),
    "speed_rank_correlation": Tile("head speed", "rank order, target 0.6", "{:.2f}", 0.6, 1),
    "region_share": Tile("region", "in the mask, target 95 %", "{:.1%}", 0.95, 1),
    "seam_ratio": Tile("seams", "border / inside, to 1.5", "{:.2f}", 0, 1.5),
    "drift_identity": Tile("identity drift", "likeness, end - start", "{:+.3f}", -0.15, 2),
    "drift_colour": Tile("colour drift", "8-bit levels over time", "{:.1f}", 0, 8),
}


def draw_page(results: Results, *, title: str) -> Image.Image:
    """Lay out the page; at most eight talk films are shown, those measured first."""
    long_seconds = results.long.case.num_frames / results.long.case.fps
    bands = [
        _head(results, title=title),
        _tiles(results),
        *(_talk_row(film) for film in results.talk[:GREATEST_NUM_ROWS]),
        _beside([_lag_plot(results), _speed_plot(results), _drift_plot(results)]),
        _strip(results.long, caption=f"{long_seconds:g} seconds in one go"),
    ]
    height = sum(band.height for band in bands) + GAP * (len(bands) + 1)
    page = Image.new("RGB", (WIDTH, height), PAPER)
    y = GAP
    for band in bands:
        page.paste(band, (GAP, y))
        y += band.height + GAP
    return page


def _head(results: Results, *, title: str) -> Image.Image:
    band = Image.new("RGB", (WIDTH - 2 * GAP, 40), PAPER)
    draw = ImageDraw.Draw(band)
    draw.text((0, 0), title, fill=TEXT, font=font(20))
    text = (
        f"{len(results.talk)} talk films, {len(results.speed)} at set speeds, one long; "
        f"portraits and voices from the test split, {results.num_identities} identities"
    )
    draw.text((0, 26), text, fill=FAINT, font=font())
    return band


def _tiles(results: Results) -> Image.Image:
    panels = []
    width = (WIDTH - 2 * GAP - GAP * (len(TILES) - 1)) // len(TILES)
    for key, tile in TILES.items():
        value = results.metrics[key]
        is_met = tile.low <= value <= tile.high
        panel = Image.new("RGB", (width, TILE_HEIGHT), PANEL)
        draw = ImageDraw.Draw(panel)
        draw.text((8, 6), tile.name, fill=FAINT, font=font(12))
        color = MET_COLOR if is_met else MISSED_COLOR
        draw.text((8, 22), tile.form.format(value), fill=color, font=font(24))
        draw.text((8, 56), tile.caption, fill=FAINT, font=font(11))
        panels.append(panel)
    return _beside(panels)


def _talk_row(film: Film) -> Image.Image:
    case = film.case
    time_s = (np.arange(case.num_frames) + 0.5) / case.fps
    pictures = [_picture(case.picture), *(_picture(frame) for frame in film.key_frames)]
    left = _beside(pictures, gap=4)
    voice = f"{case.utterance.kind} {case.utterance.language}".strip()
    plot = Plot(
        title=f"{case.name}, {voice}, r = {correlation(film.mouth_open_F, case.mouth_open):.2f}",
        curves=[
            Curve(time_s, case.mouth_open, TRUE_COLOR, style="area", name="true"),
            Curve(time_s, film.mouth_open_F, READ_COLOR, name="read mouth"),
        ],
        x_range=(0.0, case.num_frames / case.fps),
        y_range=(0.0, 1.0),
        x_ticks=range(int(case.num_frames / case.fps) + 1),
        y_ticks=(0, 0.5, 1),
    )
    right = draw_plot(plot, width=WIDTH - 3 * GAP - left.width, height=PICTURE)
    return _beside([left, right])


def _lag_plot(results: Results) -> Image.Image:
    lags = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1)
    plot = Plot(
        title="lip sync by lag in frames",
        curves=[
            Curve(lags, results.synced.curve_L, READ_COLOR, name="own voice"),
            Curve(lags, results.shuffled.curve_L, CONTROL_COLOR, name="other voices"),
        ],
        x_range=(-MAX_LAG_FRAMES, MAX_LAG_FRAMES),
        y_range=(-0.25, 1.0),
        x_ticks=lags[::2].tolist(),
        y_ticks=(0, 0.5, 1),
    )
    return draw_plot(plot, width=_third(), height=PLOT_HEIGHT)


def _speed_plot(results: Results) -> Image.Image:
    wanted = np.array([film.case.speed_deg_s for film in results.speed])
    measured = np.array([film.mean_speed for film in results.speed])
    limit = 10.0 * np.ceil(max(60.0, measured.max()) / 10.0)
    plot = Plot(
        title="head speed, asked and measured, degrees per second",
        curves=[Curve(wanted, measured, READ_COLOR, style="points")],
        x_range=(0.0, 60.0),
        y_range=(0.0, limit),
        x_ticks=range(0, 61, 10),
        y_ticks=range(0, int(limit) + 1, 20),
        has_diagonal=True,
    )
    return draw_plot(plot, width=_third(), height=PLOT_HEIGHT)


def _drift_plot(results: Results) -> Image.Image:
    film = results.long
    time_s = np.arange(film.case.num_frames) / film.case.fps
    seconds = film.case.num_frames / film.case.fps
    brightness = film.color_F3.mean(axis=1)
    plot = Plot(
        title="long film",
        curves=[
            Curve(time_s, results.likeness_F, READ_COLOR, name="likeness to portrait"),
            Curve(time_s, brightness, CONTROL_COLOR, name="mean brightness"),
        ],
        x_range=(0.0, seconds),
        y_range=(0.0, 1.0),
        x_ticks=np.linspace(0.0, seconds, 7).round(1).tolist(),
        y_ticks=(0, 0.5, 1),
    )
    return draw_plot(plot, width=_third(), height=PLOT_HEIGHT)


def _strip(film: Film, *, caption: str) -> Image.Image:
    strip = _beside(
        [_picture(film.case.picture), *(_picture(frame) for frame in film.key_frames)], gap=4
    )
    band = Image.new("RGB", (WIDTH - 2 * GAP, PICTURE), PAPER)
    band.paste(strip, (0, 0))
    draw = ImageDraw.Draw(band)
    x = strip.width + GAP
    draw.text((x, 8), film.case.name, fill=TEXT, font=font(14))
    draw.text((x, 30), caption, fill=FAINT, font=font())
    times = ", ".join(f"{index / film.case.fps:.1f}" for index in film.key_indices)
    draw.text((x, 48), f"portrait, then frames at {times} s", fill=FAINT, font=font())
    return band


def _picture(pixels_HW3: Tensor) -> Image.Image:
    image = Image.fromarray(frames_as_bytes(pixels_HW3[None], first_index=0)[0].numpy())
    return image.resize((PICTURE, PICTURE), Image.Resampling.LANCZOS)


def _beside(panels: list[Image.Image], *, gap: int = GAP) -> Image.Image:
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    band = Image.new("RGB", (width, max(panel.height for panel in panels)), PAPER)
    x = 0
    for panel in panels:
        band.paste(panel, (x, 0))
        x += panel.width + gap
    return band


def _third() -> int:
    return (WIDTH - 4 * GAP) // 3
