"""One picture that shows an evaluation: numbers, films and curves.

Top to bottom: the numbers with their targets; one row per talk film with the portrait, frames and
the mouth as it was (grey) and as it was read (orange); the plots; the long film. Films are those of
the first seed, numbers and curves are means over all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..video.frame_bytes import frames_as_bytes
from .films import Film
from .measures import MAX_LAG_FRAMES, at_rest_share, correlation
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
from .seeds import Summary

WIDTH = 1400
GAP = 12
TILE_HEIGHT = 74
PICTURE = 104
PLOT_HEIGHT = 190
BARS_WIDTH = 470
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


LOWEST_GROUP = 0.75
"""Lip sync that every kind of voice and every language should reach."""
VOICE_TILES = {
    "lip_sync_correlation": Tile("lip sync", "correlation, from 0.85", "{:.2f}", 0.85, 1),
    "lip_sync_lag_frames": Tile("lag", "frames, -1 to 1", "{:+.1f}", -1, 1),
    "lip_sync_shuffled": Tile("other voice", "control, under 0.2", "{:.2f}", -1, 0.2),
    "lip_sync_speech": Tile("speech", "lip sync, from 0.75", "{:.2f}", LOWEST_GROUP, 1),
    "lip_sync_song": Tile("song", "lip sync, from 0.75", "{:.2f}", LOWEST_GROUP, 1),
    "lip_sync_rhythm": Tile("fast rhythm", "lip sync, from 0.75", "{:.2f}", LOWEST_GROUP, 1),
    "lip_sync_worst_language": Tile("worst language", "from 0.75", "{:.2f}", LOWEST_GROUP, 1),
    "silence_at_rest": Tile("silence", "mouth at rest, from 95 %", "{:.1%}", 0.95, 1),
}
PICTURE_TILES = {
    "identity_top1": Tile("identity", "first of 50, from 99 %", "{:.1%}", 0.99, 1),
    "speed_rank_correlation": Tile("head speed", "rank order, from 0.95", "{:.2f}", 0.95, 1),
    "speed_error_middle": Tile("speed error", "10 to 35 deg/s, to 25 %", "{:.0%}", 0, 0.25),
    "region_share": Tile("region", "in the mask, from 99 %", "{:.1%}", 0.99, 1),
    "seam_ratio": Tile("seams", "border / inside, to 1.1", "{:.2f}", 0, 1.1),
    "drift_identity_share": Tile("identity kept", "end / start, from 98 %", "{:.1%}", 0.98, 9),
    "drift_colour_share": Tile("colour drift", "of the range, to 0.01", "{:.3f}", 0, 0.01),
    "sampling_seconds_per_second": Tile("sampling", "s per s of film", "{:.1f}", 0, np.inf),
}


def draw_page(summary: Summary, *, title: str, about: Mapping[str, object]) -> Image.Image:
    """Lay out the page; at most eight talk films are shown, those measured first.

    Args:
        about: how the model was run, for the page's head.
    """
    first = summary.by_seed[0]
    long_seconds = first.long.case.num_frames / first.long.case.fps
    bands = [
        _head(summary, title=title, about=about),
        _tiles(summary, VOICE_TILES),
        _tiles(summary, PICTURE_TILES),
        *(_talk_row(film) for film in first.talk[:GREATEST_NUM_ROWS]),
        _beside(
            [_lag_plot(summary), _group_plot(summary), _speed_plot(summary), _drift_plot(first)]
        ),
        _strip(first.long, caption=f"{long_seconds:g} seconds in one go"),
    ]
    height = sum(band.height for band in bands) + GAP * (len(bands) + 1)
    page = Image.new("RGB", (WIDTH, height), PAPER)
    y = GAP
    for band in bands:
        page.paste(band, (GAP, y))
        y += band.height + GAP
    return page


def _head(summary: Summary, *, title: str, about: Mapping[str, object]) -> Image.Image:
    band = Image.new("RGB", (WIDTH - 2 * GAP, 40), PAPER)
    draw = ImageDraw.Draw(band)
    draw.text((0, 0), title, fill=TEXT, font=font(20))
    first, seeds = summary.by_seed[0], [results.seed for results in summary.by_seed]
    text = (
        f"{len(seeds)} x {len(first.talk)} talk films, {len(first.speed)} at set speeds, one long; "
        f"seed {', '.join(map(str, seeds))}; portraits and voices from the test split, "
        f"{first.num_identities} identities"
    )
    draw.text((0, 26), text, fill=FAINT, font=font())
    how = ", ".join(f"{name} {value}" for name, value in about.items())
    draw.text((band.width, 26), how, fill=FAINT, font=font(), anchor="ra")
    return band


def _tiles(summary: Summary, tiles: Mapping[str, Tile]) -> Image.Image:
    """Means; of several seeds also how far they lie apart."""
    panels = []
    width = (WIDTH - 2 * GAP - GAP * (len(tiles) - 1)) // len(tiles)
    for key, tile in tiles.items():
        value, spread = summary.metrics[key], summary.spread[key]
        panel = Image.new("RGB", (width, TILE_HEIGHT), PANEL)
        draw = ImageDraw.Draw(panel)
        draw.text((8, 6), tile.name, fill=FAINT, font=font(12))
        text, color = "-", FAINT
        if value is not None:
            is_met = tile.low <= value <= tile.high
            text, color = tile.form.format(value), MET_COLOR if is_met else MISSED_COLOR
        if tile.high == np.inf:
            color = TEXT  # Nothing is asked of it.
        draw.text((8, 22), text, fill=color, font=font(24))
        draw.text((8, 56), tile.caption, fill=FAINT, font=font(11))
        if spread is not None and len(summary.by_seed) > 1:
            apart = f"{tile.form.format(spread).lstrip('+')} apart"
            draw.text((width - 8, 6), apart, fill=FAINT, font=font(11), anchor="ra")
        panels.append(panel)
    return _beside(panels)


def _talk_row(film: Film) -> Image.Image:
    case = film.case
    time_s = (np.arange(case.num_frames) + 0.5) / case.fps
    pictures = [_picture(case.picture), *(_picture(frame) for frame in film.key_frames)]
    left = _beside(pictures, gap=4)
    voice = f"{case.utterance.kind} {case.utterance.language}".strip()
    if case.utterance.kind == "silence":
        score = f"at rest {at_rest_share([film.mouth_open_F], [case.is_silent]):.0%}"
    else:
        score = f"r = {correlation(film.mouth_open_F, case.mouth_open):.2f}"
    plot = Plot(
        title=f"{case.name}, {voice}, {score}",
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


def _lag_plot(summary: Summary) -> Image.Image:
    lags = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1)
    heard = [results.listening for results in summary.by_seed]
    own = np.mean([one.synced.curve_L for one in heard], axis=0)
    others = np.mean([one.shuffled.curve_L for one in heard], axis=0)
    plot = Plot(
        title="lip sync by lag",
        curves=[
            Curve(lags, own, READ_COLOR, name="own voice"),
            Curve(lags, others, CONTROL_COLOR, name="others"),
        ],
        x_range=(-MAX_LAG_FRAMES, MAX_LAG_FRAMES),
        y_range=(-0.25, 1.0),
        x_ticks=lags[::2].tolist(),
        y_ticks=(0, 0.5, 1),
    )
    return draw_plot(plot, width=_plot_width(), height=PLOT_HEIGHT)


def _group_plot(summary: Summary) -> Image.Image:
    """Kinds of voice, then the languages of speech; a line at LOWEST_GROUP."""
    kinds, languages = summary.lip_sync_by_kind, summary.lip_sync_by_language
    places = np.arange(len(kinds) + len(languages))
    ends = (-0.5, len(places) - 0.5)
    plot = Plot(
        title="lip sync by kind of voice, and of speech by language",
        curves=[
            Curve(
                places[: len(kinds)], np.array(list(kinds.values())), CONTROL_COLOR, style="bars"
            ),
            Curve(
                places[len(kinds) :], np.array(list(languages.values())), READ_COLOR, style="bars"
            ),
            Curve(np.array(ends), np.full(2, LOWEST_GROUP), FAINT),
        ],
        x_range=ends,
        y_range=(0.0, 1.0),
        x_ticks=places.tolist(),
        y_ticks=(0, 0.5, 1),
        x_names=[*kinds, *languages],
    )
    return draw_plot(plot, width=BARS_WIDTH, height=PLOT_HEIGHT)


def _speed_plot(summary: Summary) -> Image.Image:
    films = [film for results in summary.by_seed for film in results.speed]
    wanted = np.array([film.case.speed_deg_s for film in films])
    measured = np.array([film.mean_speed for film in films])
    drawn = np.concatenate([results.drawn_speeds for results in summary.by_seed])
    limit = 10.0 * np.ceil(max(60.0, measured.max()) / 10.0)
    plot = Plot(
        title="head, deg/s asked",
        curves=[
            Curve(wanted, drawn, TRUE_COLOR, style="points", name="drawn"),
            Curve(wanted, measured, READ_COLOR, style="points", name="measured"),
        ],
        x_range=(0.0, 60.0),
        y_range=(0.0, limit),
        x_ticks=range(0, 61, 10),
        y_ticks=range(0, int(limit) + 1, 20),
        has_diagonal=True,
    )
    return draw_plot(plot, width=_plot_width(), height=PLOT_HEIGHT)


def _drift_plot(results: Results) -> Image.Image:
    film = results.long
    time_s = np.arange(film.case.num_frames) / film.case.fps
    seconds = film.case.num_frames / film.case.fps
    brightness = film.color_F3.mean(axis=1)
    plot = Plot(
        title="long film",
        curves=[
            Curve(time_s, results.likeness_F, READ_COLOR, name="likeness"),
            Curve(time_s, brightness, CONTROL_COLOR, name="brightness"),
        ],
        x_range=(0.0, seconds),
        y_range=(0.0, 1.0),
        x_ticks=np.linspace(0.0, seconds, 6).round(1).tolist(),
        y_ticks=(0, 0.5, 1),
    )
    return draw_plot(plot, width=_plot_width(), height=PLOT_HEIGHT)


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


def _plot_width() -> int:
    """Of the three plots beside the bars."""
    return (WIDTH - 5 * GAP - BARS_WIDTH) // 3
