"""`animate`: a portrait and a voice to a film."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio.gate import USUAL_ATTACK_MS, USUAL_RELEASE_MS, gate
from ..audio.timing import FilmLength
from ..audio.waveform import Waveform, check_waveform, read_audio
from ..errors import InputError
from ..evaluation.likeness import reference_net_features
from ..evaluation.meters import FilmMeters
from ..files.replace import explaining_os_errors, replacing
from ..film import Film
from ..pipeline import AnimateSettings, Animator
from ..store.clips import ClipStore
from ..video.images import Fit, read_image
from ..video.stills import PngSequenceWriter, contact_sheet, save_image
from ..video.writer import Mp4Writer
from .face import PlacedPortrait, add_face_options, place_portrait, read_identity
from .options import add_model_options, add_sampling_options, load_animator, read_settings

logger = logging.getLogger(__name__)

SHEET_FRAMES = 40
SHEET_COLUMNS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--portrait", type=Path, required=True, metavar="IMAGE")
    parser.add_argument(
        "--audio", type=Path, required=True, metavar="SOUND", help="the voice: any sound or film"
    )
    parser.add_argument(
        "--soundtrack",
        type=Path,
        metavar="SOUND",
        help="what the film sounds like, such as the voice with its music (default: the voice); it "
        "starts where the voice does, is cut at the film's end or followed by silence",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="NAME.mp4, or a folder that will hold numbered png pictures",
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds of the voice to skip")
    parser.add_argument("--end", type=float, help="second of the voice at which to end")
    parser.add_argument(
        "--gate",
        type=float,
        metavar="DB",
        help="what is quieter than this, in dB below full scale, is silence to the face; -45 is "
        "usual (default: no gate)",
    )
    parser.add_argument("--gate-attack", type=float, default=USUAL_ATTACK_MS, metavar="MS")
    parser.add_argument("--gate-release", type=float, default=USUAL_RELEASE_MS, metavar="MS")
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="IMAGE", help="also save an overview, .png or .jpg"
    )
    parser.add_argument(
        "--meters",
        type=Path,
        metavar="FILE",
        help="also measure every clip, show a table, and write the numbers as json: likeness to "
        "the portrait, drift of colours, seams, and lip sync where the checkpoint draws faces",
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="keep every finished clip there; the same call again, after an interruption or with a "
        "change in a later part, makes only what is missing",
    )
    add_face_options(parser)
    add_sampling_options(parser)
    add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    settings = read_settings(options)
    portrait = read_image(options.portrait)
    sound = read_audio(options.audio, start_s=options.start, end_s=options.end)
    check_waveform(sound, name=str(options.audio))
    soundtrack = sound
    if options.soundtrack is not None:
        soundtrack = read_audio(options.soundtrack, start_s=options.start)
    voice = _gated(sound, options)
    animator = load_animator(options)
    width, height = animator.size(settings)
    placed = place_portrait(options, portrait, width=width, height=height)
    length = animator.length(sound, settings)
    film = animator.film(
        placed.picture_HW3,
        voice,
        settings=settings,
        face=placed.face,
        identity_E=read_identity(options.identity),
        is_stretched=placed.is_stretched,
    )
    store = None if options.store is None else ClipStore(options.store)
    sheet = _Sheet(length.num_frames) if options.contact_sheet else None
    meters = None
    if options.meters is not None:
        meters = _meters(animator, settings, placed, voice)
    with _open_output(options.out, animator, settings, soundtrack, length) as writer:
        for frames in _with_progress(animator, film, length, settings, store):
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
    logger.info("%s: %d frames, %dx%d", options.out, length.num_frames, width, height)


def _gated(sound: Waveform, options: argparse.Namespace) -> Waveform:
    """The voice that drives the face."""
    if options.gate is None:
        return sound
    voice = gate(
        sound,
        threshold_db=options.gate,
        attack_ms=options.gate_attack,
        release_ms=options.gate_release,
    )
    check_waveform(voice, name=f"{options.audio} behind a gate of {options.gate:g} dB")
    return voice


def _meters(
    animator: Animator, settings: AnimateSettings, placed: PlacedPortrait, voice: Waveform
) -> FilmMeters:
    width, height = animator.size(settings)
    picture = placed.picture_HW3
    fit = Fit.of(picture, width=width, height=height, is_stretched=placed.is_stretched)
    return FilmMeters(
        fit.portrait(picture),
        clip_frames=animator.networks.config.sampling.clip_frames,
        fps=animator.length(voice, settings).fps,
        read_features=reference_net_features(animator),
        # Checkpoints with a front end of their own are those that learned from drawn faces.
        voice=None if animator.networks.front_end is None else voice,
    )


def _open_output(
    path: Path,
    animator: Animator,
    settings: AnimateSettings,
    sound: Waveform,
    length: FilmLength,
) -> Mp4Writer | PngSequenceWriter:
    comment = f"family {animator.networks.config.family}, seed {settings.seed}"
    if path.suffix == ".mp4":
        width, height = animator.size(settings)
        return Mp4Writer(
            path,
            fps=length.fps,
            width=width,
            height=height,
            num_frames=length.num_frames,
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
    film: Film,
    length: FilmLength,
    settings: AnimateSettings,
    store: ClipStore | None,
) -> Iterator[Tensor]:
    """Yield the film's frames under one bar over all clips and steps."""
    num_clips, steps = animator.num_steps(length, settings)
    with tqdm(total=num_clips * steps, desc="animate", unit="step") as progress:

        def on_step(clip_index: int, step_index: int, latents: Tensor) -> None:
            progress.update(clip_index * steps + step_index + 1 - progress.n)

        yield from animator.animate(film, settings=settings, on_step=on_step, store=store)


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
