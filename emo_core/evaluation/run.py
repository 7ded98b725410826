"""Evaluate a model: `python -m emo_core evaluate`.

The model is handed in as a function from a case to its film, so the same chain measures a
checkpoint, a drawing of the true answer (the best that can be reached) or anything else.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from tqdm import tqdm

from ..assets import FACE_READER
from ..errors import InputError
from ..files.replace import explaining_os_errors, replacing
from ..video.animation import save_animation
from ..video.stills import save_image
from .cases import Case, CaseSet, make_cases
from .films import drawn_speed, read_film
from .page import draw_page
from .reader import LoadedReader, load_reader
from .reel import GREATEST_NUM_FILMS, Shot, draw_reel, shot_of
from .results import Results, Times, details, measure_films
from .seeds import summarise

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """What a model gives for a case."""

    frames: Tensor
    """[F, H, W, 3], floats in 0..1, as many as the case asks."""
    sampling_s: float
    """How long the denoising took, in seconds."""


Animate = Callable[[Case], Made]
"""A model."""


def evaluate(
    animate: Animate,
    *,
    num_clips: int,
    seeds: Sequence[int],
    out_folder: Path,
    title: str,
    clip_frames: int = 12,
    overlap: int = 0,
    size: int = 128,
    fps: float = 25.0,
    num_speed_portraits: int = 3,
    speed_seconds: float = 3.0,
    long_seconds: float = 30.0,
    about: Mapping[str, object] | None = None,
    switched_off: Sequence[str] = (),
    reader_path: Path = FACE_READER,
) -> dict[str, object]:
    """Make all films, measure them, and write the results into `out_folder`.

    These are `metrics.json`, `page.png`, and `films.webp`, the first talk films side by side.

    Args:
        animate: the model.
        num_clips: talk films of 4 seconds for each seed, 2 to 50.
        seeds: each chooses people, voices, speeds and the model's noise.
        out_folder: made if missing; an older result in it is replaced.
        title: what is measured, for the page's head.
        clip_frames: frames per clip of the model, which place the seams.
        overlap: of these, frames that a clip shares with the one before.
        size: side of the pictures in pixels.
        num_speed_portraits: people that are filmed at each of five speeds.
        about: how the model is run, by name; only passed on, to the page's head too.
        switched_off: parts of the model that are left out; only passed on.

    Returns:
        What was written to `metrics.json`.

    Raises:
        InputError: a number is out of range, the model breaks its promise, the folder refuses.
    """
    if not seeds:
        raise InputError("Evaluation: no seed, expected at least one. Give a seed.")
    with explaining_os_errors(out_folder):
        out_folder.mkdir(parents=True, exist_ok=True)
    loaded = load_reader(reader_path)
    by_seed: list[Results] = []
    shots: list[Shot] = []
    for seed in seeds:
        cases = make_cases(
            num_clips=num_clips,
            seed=seed,
            size=size,
            fps=fps,
            num_speed_portraits=num_speed_portraits,
            speed_seconds=speed_seconds,
            long_seconds=long_seconds,
        )
        by_seed.append(
            _measure(
                animate,
                cases,
                loaded=loaded,
                clip_frames=clip_frames,
                overlap=overlap,
                shots=shots,
            )
        )
    summary = summarise(by_seed)
    about = {} if about is None else dict(about)
    report = {
        **summary.metrics,
        "lip_sync_by_language": summary.lip_sync_by_language,
        "spread": {**summary.spread, "lip_sync_by_language": summary.language_spread},
        "details": {
            "title": title,
            "seeds": list(seeds),
            "num_clips": num_clips * len(seeds),
            "num_identities": by_seed[0].num_identities,
            "clip_frames": clip_frames,
            "clip_overlap": overlap,
            "fps": fps,
            "size": size,
            "about": about,
            "switched_off": list(switched_off),
            "reader_errors": dataclasses.asdict(loaded.errors),
            "reader_worn_errors": dataclasses.asdict(loaded.worn_errors),
            "by_seed": [details(results) for results in by_seed],
        },
    }
    page = draw_page(summary, title=title, about=about)
    with replacing(out_folder / "metrics.json") as path, explaining_os_errors(path):
        path.write_text(json.dumps(_rounded(report), indent=2) + "\n", encoding="utf-8")
    save_image(page, out_folder / "page.png", comment=f"Evaluation of {title}")
    comment = f"Films of {title}"
    save_animation(draw_reel(shots), out_folder / "films.webp", fps=fps, comment=comment)
    logger.info("%s: %s", out_folder, summary.metrics)
    return report


def _measure(
    animate: Animate,
    cases: CaseSet,
    *,
    loaded: LoadedReader,
    clip_frames: int,
    overlap: int,
    shots: list[Shot],
) -> Results:
    """Make and read the films of one seed, and fill `shots` with the first films of all."""
    all_cases = [*cases.talk, *cases.speed, cases.long]
    films = []
    sampling_s = making_s = 0.0
    with tqdm(total=sum(case.num_frames for case in all_cases), unit="frame") as progress:
        for case in all_cases:
            progress.set_description(f"seed {case.seed}, {case.name}")
            start_s = time.perf_counter()
            made = animate(case)
            making_s += time.perf_counter() - start_s
            sampling_s += made.sampling_s
            films.append(read_film(case, made.frames, reader=loaded.reader))
            if len(shots) < GREATEST_NUM_FILMS and case in cases.talk:
                shots.append(shot_of(case, made.frames))
            progress.update(case.num_frames)
    return measure_films(
        films,
        cases,
        loaded=loaded,
        clip_frames=clip_frames,
        overlap=overlap,
        drawn_speeds=[drawn_speed(case, reader=loaded.reader) for case in cases.speed],
        times=Times(
            sampling_s=sampling_s,
            making_s=making_s,
            film_s=sum(case.num_frames / case.fps for case in all_cases),
        ),
    )


def _rounded(value: object) -> object:
    """Five digits after the point everywhere, for files that can be read and compared."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value
