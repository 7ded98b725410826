"""`animate`: a portrait and a voice to a film."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio.waveform import Waveform, check_waveform, read_audio
from ..errors import InputError
from ..face.region import box_to_mask
from ..pipeline import AnimateSettings, Animator
from ..sampling.clip_plan import plan_clips
from ..video.images import Fit, read_image, read_mask
from ..video.stills import PngSequenceWriter, contact_sheet, save_image
from ..video.writer import Mp4Writer
from .options import add_model_options, add_sampling_options, load_animator, read_settings

logger = logging.getLogger(__name__)

SHEET_FRAMES = 40
SHEET_COLUMNS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--portrait", type=Path, required=True, metavar="IMAGE")
    parser.add_argument(
        "--audio", type=Path, required=True, metavar="SOUND", help="any sound or film"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="NAME.mp4, or a folder that will hold numbered png pictures",
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds of the sound to skip")
    parser.add_argument("--end", type=float, help="second of the sound at which to end")
    parser.add_argument(
        "--face-region",
        metavar="BOX|MASK",
        help="where the face may move: x0,y0,x1,y1 in fractions of the film's picture, or a mask "
        "image of the portrait, white inside (default: a usual portrait's)",
    )
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="IMAGE", help="also save an overview, .png or .jpg"
    )
    add_sampling_options(parser)
    add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    settings = read_settings(options)
    portrait = read_image(options.portrait)
    sound = read_audio(options.audio, start_s=options.start, end_s=options.end)
    check_waveform(sound, name=str(options.audio))
    animator = load_animator(options)
    width, height = animator.size(settings)
    region = None
    if options.face_region is not None:
        region = read_region(options.face_region, portrait, width=width, height=height)
    num_frames = animator.num_frames(sound, settings)
    sheet = _Sheet(num_frames) if options.contact_sheet else None
    with _open_output(options.out, animator, settings, sound, num_frames) as writer:
        for frames in _with_progress(animator, portrait, sound, settings, region):
            writer.write(frames)
            if sheet is not None:
                sheet.add(frames)
    if sheet is not None:
        save_image(contact_sheet(sheet.frames(), columns=SHEET_COLUMNS), options.contact_sheet)
    logger.info("%s: %d frames, %dx%d", options.out, num_frames, width, height)


def read_region(text: str, portrait_HW3: Tensor, *, width: int, height: int) -> Tensor:
    """Read a face region, given as four numbers or as the path of a mask of the portrait."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 4:
        return box_to_mask(numbers, height=height, width=width)
    if not Path(text).exists():
        raise InputError(
            f"--face-region {text}: neither four numbers x0,y0,x1,y1 nor a file that exists."
        )
    return Fit.of(portrait_HW3, width=width, height=height).mask(read_mask(Path(text)))


def _open_output(
    path: Path,
    animator: Animator,
    settings: AnimateSettings,
    sound: Waveform,
    num_frames: int,
) -> Mp4Writer | PngSequenceWriter:
    comment = f"family {animator.networks.config.family}, seed {settings.seed}"
    if path.suffix == ".mp4":
        width, height = animator.size(settings)
        return Mp4Writer(
            path,
            fps=animator.fps(settings),
            width=width,
            height=height,
            num_frames=num_frames,
            sound=sound,
            comment=comment,
        )
    if path.suffix:
        raise InputError(
            f"--out {path}: films are written as .mp4. Give a name ending in .mp4, or a folder "
            "name without an ending for png pictures."
        )
    return PngSequenceWriter(path, comment=comment)


def _with_progress(
    animator: Animator,
    portrait: Tensor,
    sound: Waveform,
    settings: AnimateSettings,
    region: Tensor | None,
) -> Iterator[Tensor]:
    """Yield the film's clips under one bar over all clips and steps."""
    sampling = animator.networks.config.sampling
    num_clips = len(
        plan_clips(animator.num_frames(sound, settings), clip_frames=sampling.clip_frames)
    )
    steps = sampling.steps if settings.steps is None else settings.steps
    with tqdm(total=num_clips * steps, desc="animate", unit="step") as progress:

        def on_step(clip_index: int, step_index: int, latents: Tensor) -> None:
            progress.update(clip_index * steps + step_index + 1 - progress.n)

        yield from animator.animate(
            portrait, sound, settings=settings, region_HW=region, on_step=on_step
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
                self.picked.append(frame)
            self.seen += 1

    def frames(self) -> Tensor:
        return torch.stack(self.picked)
