"""`animate`: a portrait and a voice to a film."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from ..preflight.disk import check_room
from ..preflight.plan import FilmPlan
from ..store.clips import ClipStore
from ..video.stills import contact_sheet, save_image
from .film_options import FilmToMake, add_film_options, gather_film, is_mp4

logger = logging.getLogger(__name__)

SHEET_FRAMES = 40
SHEET_COLUMNS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_film_options(parser)


def run(options: argparse.Namespace) -> None:
    made = gather_film(options)
    film, num_frames = made.film, made.length.num_frames
    plan = FilmPlan.of(film, steps=made.animator.num_steps(made.length, made.settings)[1])
    check_room(plan, options.out, store=options.store, is_mp4=is_mp4(options.out))
    store = None if options.store is None else ClipStore(options.store)
    sheet = _Sheet(num_frames) if options.contact_sheet else None
    with made.open_output(options.out, num_frames=num_frames) as writer:
        for frames in _with_progress(made, store):
            writer.write(frames)
            if sheet is not None:
                sheet.add(frames)
    if sheet is not None:
        save_image(contact_sheet(sheet.frames(), columns=SHEET_COLUMNS), options.contact_sheet)
    logger.info("%s: %d frames, %dx%d", options.out, num_frames, film.width, film.height)


def _with_progress(made: FilmToMake, store: ClipStore | None) -> Iterator[Tensor]:
    """Yield the film's frames under one bar over all clips and steps."""
    animator, settings = made.animator, made.settings
    num_clips, steps = animator.num_steps(made.length, settings)
    with tqdm(total=num_clips * steps, desc="animate", unit="step") as progress:

        def on_step(clip_index: int, step_index: int, latents: Tensor) -> None:
            progress.update(clip_index * steps + step_index + 1 - progress.n)

        yield from animator.animate(made.film, settings=settings, on_step=on_step, store=store)


class _Sheet:
    """Evenly spaced frames of a film, picked as it streams by."""

    def __init__(self, num_frames: int) -> None:
        count = min(num_frames, SHEET_FRAMES)
        self.wanted = {round(i * (num_frames - 1) / max(1, count - 1)) for i in range(count)}
        self.seen = 0
        self.picked: list[Tensor] = []

    def add(self, frames: Tensor) -> None:
        for frame in frames:
            if self.seen in self.wanted:
                self.picked.append(frame)
            self.seen += 1

    def frames(self) -> Tensor:
        return torch.stack(self.picked)
