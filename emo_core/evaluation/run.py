"""Evaluate a model: `python -m emo_core evaluate`.

The model is handed in as a function from a case to its film, so the same chain measures a
checkpoint, a drawing of the true answer (the best that can be reached) or anything else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ..assets import FACE_READER
from ..files.replace import explaining_os_errors, replacing
from ..video.stills import save_image
from .cases import Case, make_cases
from .films import read_film
from .page import draw_page
from .reader import load_reader
from .results import details, measure_films

logger = logging.getLogger(__name__)

Animate = Callable[[Case], Tensor]
"""A model: a case -> frames [F, H, W, 3], floats in 0..1, as many as the case asks."""


def evaluate(
    animate: Animate,
    *,
    num_clips: int,
    seed: int,
    out_folder: Path,
    title: str,
    clip_frames: int = 12,
    size: int = 128,
    fps: float = 25.0,
    num_speed_portraits: int = 3,
    speed_seconds: float = 3.0,
    long_seconds: float = 30.0,
    reader_path: Path = FACE_READER,
) -> dict[str, object]:
    """Make all films, measure them, and write `metrics.json` and `page.png` into `out_folder`.

    Args:
        animate: the model.
        num_clips: talk films of 4 seconds, 2 to 50.
        seed: chooses people, voices and speeds.
        out_folder: made if missing; an older result in it is replaced.
        title: what is measured, for the page's head.
        clip_frames: frames per clip of the model, which place the seams.
        size: side of the pictures in pixels.
        num_speed_portraits: people that are filmed at each of five speeds.

    Returns:
        What was written to `metrics.json`.

    Raises:
        InputError: a number is out of range, the model breaks its promise, the folder refuses.
    """
    with explaining_os_errors(out_folder):
        out_folder.mkdir(parents=True, exist_ok=True)
    loaded = load_reader(reader_path)
    cases = make_cases(
        num_clips=num_clips,
        seed=seed,
        size=size,
        fps=fps,
        num_speed_portraits=num_speed_portraits,
        speed_seconds=speed_seconds,
        long_seconds=long_seconds,
    )
    all_cases = [*cases.talk, *cases.speed, cases.long]
    films = []
    with tqdm(total=sum(case.num_frames for case in all_cases), unit="frame") as progress:
        for case in all_cases:
            progress.set_description(case.name)
            films.append(read_film(case, animate(case), reader=loaded.reader))
            progress.update(case.num_frames)
    results = measure_films(films, cases, loaded=loaded, clip_frames=clip_frames)
    report = {
        **results.metrics,
        "details": {
            "title": title,
            "seed": seed,
            "clip_frames": clip_frames,
            "fps": fps,
            "size": size,
            **details(results, loaded=loaded),
        },
    }
    page = draw_page(results, title=title)
    with replacing(out_folder / "metrics.json") as path, explaining_os_errors(path):
        path.write_text(json.dumps(_rounded(report), indent=2) + "\n", encoding="utf-8")
    save_image(page, out_folder / "page.png", comment=f"Evaluation of {title}")
    logger.info("%s: %s", out_folder, results.metrics)
    return report


def _rounded(value: object) -> object:
    """Five digits after the point everywhere, for files that can be read and compared."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value
