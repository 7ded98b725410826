"""What the meters of a film read: as data, as JSON and as a table for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

MOST_ROWS = 100
"""Clips of a table; of a longer film evenly spread ones are shown, and the worst."""
WORST = "*"
COLUMNS: dict[str, tuple[str, str, Callable]] = {
    "identity": ("identity", ".3f", min),
    "colour_drift": ("colour", ".1f", max),
    "contrast_drift": ("contrast", ".1f", max),
    "seam_ratio": ("seam", ".2f", max),
    "lip_sync": ("lip sync", ".2f", min),
}
"""Field -> its head in the table, its format, and which of several values is the worst."""


@dataclass(frozen=True, kw_only=True)
class MeterReading:
    """One clip."""

    first_frame: int
    last_frame: int
    """The clip's own last one."""
    identity: float
    """Likeness to the portrait, -1..1, mean of up to three frames; by what, the film's reading
    says."""
    colour_drift: float
    """Change of the mean colour against the film's first clip, as `measures.color_drift`: in 8-bit
    levels, of the channel that changes most."""
    contrast_drift: float
    """The same of the standard deviation of the pixels of a frame."""
    seam_ratio: float | None
    """Change across the border to the clip before, the greatest where it has several, over the
    mean change within clips; about 1 is no seam. None for the first clip."""
    lip_sync: float | None
    """Correlation of mouth opening and loudness of the voice over two seconds round the clip,
    -1..1. None where it was not asked for, where the voice is silent and in films below one
    second."""


@dataclass(frozen=True, kw_only=True)
class FilmReading:
    """A whole film. What is None could not be read, as in a film without frames."""

    clips: tuple[MeterReading, ...]
    num_frames: int
    fps: float
    identity_by: str
    """What compares: the ReferenceNet, or pixels, which stand in for it."""
    identity_meaning: str
    identity: float | None
    """Mean of the clips."""
    identity_drift: float | None
    """Of the last clip minus that of the first: below 0 is a loss."""
    colour_drift: float | None
    """Of the last clip."""
    contrast_drift: float | None
    """Of the last clip."""
    seam_ratio: float | None
    """As `measures.seam_ratio`."""
    lip_sync: float | None
    """Of the whole film, at the lag where it is highest."""
    lip_sync_lag_frames: int | None
    """That lag; positive when the mouth comes after the sound."""

    def to_json(self) -> str:
        """Return all fields as a JSON object, clips as a list of objects."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def text(self) -> str:
        """Return a table: a row per clip, the film below, and what the numbers mean.

        The worst clip of every column bears a star; there is one in a good film, too.
        """
        if not self.clips:
            return "no frames"
        worst = {name: self._worst(name) for name in COLUMNS}
        step = -(-len(self.clips) // MOST_ROWS)
        shown = set(range(0, len(self.clips), step)) | set(worst.values()) - {None}
        heads = "".join(f"{head:>10}" for head, _, _ in COLUMNS.values())
        lines = [f"{'clip':>4} {'seconds':>17}{heads}"]
        for index in sorted(shown):
            clip = self.clips[index]
            starred = {name for name, worst_index in worst.items() if worst_index == index}
            lines.append(
                f"{index:4} {self._span(clip.first_frame, clip.last_frame)}{_row(clip, starred)}"
            )
        lines.append(f"film {self._span(0, self.num_frames - 1)}{_row(self, set())}")
        return "\n".join(lines + self._notes())

    def _span(self, first_frame: int, last_frame: int) -> str:
        return f"{first_frame / self.fps:7.2f} - {(last_frame + 1) / self.fps:7.2f}"

    def _worst(self, name: str) -> int | None:
        """Index of the worst clip; None where fewer than two clips have a value, or all alike."""
        values = {i: getattr(clip, name) for i, clip in enumerate(self.clips)}
        values = {i: value for i, value in values.items() if value is not None}
        if len(set(values.values())) < 2:
            return None
        choose = COLUMNS[name][2]
        return choose(values, key=values.__getitem__)

    def _notes(self) -> list[str]:
        notes = [
            f"{WORST} worst clip of the column; the film's colour and contrast are those of the "
            "last clip",
            f"identity: by {self.identity_by}; {self.identity_meaning}",
            "colour, contrast: change against the first clip, of 255 levels",
            "seam: change across the border to the clip before, about 1 is no seam",
        ]
        if self.lip_sync is not None:
            notes.append(
                "lip sync: for drawn faces only; mouth against loudness of the voice over 2 "
                "seconds, about 0.8 where the mouth is right; best where the mouth is "
                f"{self.lip_sync_lag_frames:+d} frames late"
            )
        return notes


def _row(values: MeterReading | FilmReading, starred: set[str]) -> str:
    cells = []
    for name, (_, form, _) in COLUMNS.items():
        value = getattr(values, name)
        shown = "-" if value is None else f"{value:{form}}"
        cells.append(f"{(WORST if name in starred else '') + shown:>10}")
    return "".join(cells)
