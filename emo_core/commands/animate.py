"""`animate`: a portrait and a voice to a film."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from ..evaluation.likeness import reference_net_features
from ..evaluation.meters import FilmMeters
from ..files.replace import explaining_os_errors, replacing
from ..preflight.disk import check_room
from ..preflight.plan import FilmPlan
from ..sampling.clip_plan import plan_clips
from ..store.clips import ClipStore
from ..video.stills import contact_sheet, save_image
from ..video.writer import Mp4Writer
from .film_options import FilmToMake, add_film_options, gather_film, is_mp4

logger = logging.getLogger(__name__)

SHEET_FRAMES = 40
SHEET_COLUMNS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_film_options(parser)


def run(options: argparse.Namespace) -> None:
    made = gather_film(options)
    film, plan = made.film, made.plan()
    check_room(plan, options.out, store=options.store, is_mp4=is_mp4(options.out))
    store = None if options.store is None else ClipStore(options.store)
    sheet = _Sheet(film.num_frames) if options.contact_sheet else None
    meters = None if options.meters is None else _meters(made)
    with made.open_output(options.out, num_frames=film.num_frames) as writer:
        if isinstance(writer, Mp4Writer):
            logger.info("%s: can be watched while the film is made", writer.partial_path)
        for frames in _with_progress(made, plan, store):
            if made.colours is not None:
                frames = made.colours.push(frames)
            writer.write(frames)
            if sheet is not None:
                sheet.add(frames)
            if meters is not None:
                meters.push(frames)
    if sheet is not None:
        save_image(contact_sheet(sheet.frames(), columns=SHEET_COLUMNS), options.contact_sheet)
    if meters is not None:
        reading = meters.finish()
        with replacing(options.meters) as path, explaining_os_errors(path):
            path.write_text(reading.to_json(), encoding="utf-8")
        logger.info("%s", reading.text())
    logger.info("%s: %d frames, %dx%d", options.out, film.num_frames, film.width, film.height)


def _meters(made: FilmToMake) -> FilmMeters:
    networks = made.animator.networks
    sampling = networks.config.sampling
    return FilmMeters(
        made.portrait_HW3,
        clips=plan_clips(
            made.film.num_frames,
            clip_frames=sampling.clip_frames,
            overlap=sampling.clip_overlap,
        ),
        fps=made.length.fps,
        read_features=reference_net_features(networks.reference_net, made.animator.vae.encode),
        # Checkpoints with a front end of their own are those that learned from drawn faces.
        voice=None if networks.front_end is None else made.voice,
    )


def _with_progress(made: FilmToMake, plan: FilmPlan, store: ClipStore | None) -> Iterator[Tensor]:
    """Yield the film's frames under one bar over all clips and steps."""
    with tqdm(total=plan.num_steps, desc="animate", unit="step") as progress:

        def on_step(clip_index: int, step_index: int, latents: Tensor) -> None:
            progress.update(clip_index * plan.steps + step_index + 1 - progress.n)

        yield from made.animator.animate(
            made.film,
            settings=made.settings,
            retakes=made.retakes,
            on_step=on_step,
            store=store,
        )


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
                # Not a view that keeps all frames of its part alive.
                self.picked.append(frame.clone())
            self.seen += 1

    def frames(self) -> Tensor:
        return torch.stack(self.picked)
