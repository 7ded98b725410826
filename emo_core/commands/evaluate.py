"""`evaluate`: measure a checkpoint on portraits and voices that it has never met."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import torch

from ..errors import InputError
from ..evaluation.cases import Case
from ..evaluation.run import Made, evaluate
from ..face.placement import placement_of_drawing
from ..pipeline import USUAL_SOLVER, AnimateSettings, Animator
from .options import add_model_options, add_sampling_options, load_animator, read_settings

SWITCHES = ("reference", "audio", "motion", "speed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clips",
        type=int,
        default=20,
        help="talking films of 4 seconds, for each seed: speech in seven languages, song, fast "
        "rhythm and silence in turn (default: 20)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="NUMBER",
        help="measure so many seeds, from --seed on, and give mean and spread (default: 1)",
    )
    parser.add_argument(
        "--long",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="length of the film in which drift is measured (default: 30)",
    )
    parser.add_argument(
        "--switch-off",
        action="append",
        choices=SWITCHES,
        default=[],
        help="leave a part of the model out, to see what it is for: reference-attention, "
        "audio-attention, motion frames or speed layers; may be given several times",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_sampling_options(parser)
    add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    settings = read_settings(options)
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: expected at least 1.")
    if options.speed is not None:
        raise InputError(
            f"--speed {options.speed:g}: every film of an evaluation asks for a speed of its own. "
            "Leave it out."
        )
    animator = load_animator(options)
    sampling = animator.networks.config.sampling
    width, height = animator.size(settings)
    if width != height:
        raise InputError(f"evaluate: size {width}x{height}; the drawn portraits are square.")
    switched_off = [part for part in SWITCHES if part in options.switch_off]
    config = animator.networks.config
    if config.backbone.speed is None and "speed" not in switched_off:
        raise InputError(
            f"{options.checkpoint}: this checkpoint, of family {config.family}, has no speed "
            "layers; films are asked for head speeds. Give --switch-off speed."
        )

    def animate(case: Case) -> Made:
        chosen = dataclasses.replace(settings, speed_deg_s=case.speed_deg_s, seed=case.seed)
        return animate_case(animator, case, settings=chosen, switched_off=switched_off)

    title = str(options.checkpoint.name)
    if switched_off:
        title += f", without {' and '.join(switched_off)}"
    evaluate(
        animate,
        num_clips=options.clips,
        seeds=range(options.seed, options.seed + options.seeds),
        out_folder=options.out,
        title=title,
        clip_frames=sampling.clip_frames,
        overlap=sampling.clip_overlap,
        size=width,
        fps=sampling.fps if settings.fps is None else settings.fps,
        long_seconds=options.long,
        switched_off=switched_off,
        about={
            "steps": sampling.steps if settings.steps is None else settings.steps,
            "guidance": sampling.guidance if settings.guidance is None else settings.guidance,
            "solver": settings.solver or sampling.solver or USUAL_SOLVER,
            "dtype": options.dtype,
        },
    )


def animate_case(
    animator: Animator, case: Case, *, settings: AnimateSettings, switched_off: list[str]
) -> Made:
    """Make the film of a case.

    Args:
        switched_off: some of SWITCHES. Reference and audio then weigh nothing in their attention,
            every clip begins like the first, and the speed layers are left out.
    """
    nothing = {part: 0.0 for part in ("reference", "audio") if part in switched_off}
    settings = dataclasses.replace(
        settings,
        weights=dataclasses.replace(settings.weights, **nothing),
        speed_deg_s=None if "speed" in switched_off else settings.speed_deg_s,
    )
    film = animator.film(
        case.picture,
        case.waveform,
        settings=settings,
        face=placement_of_drawing(case.region, mask_HW=case.region),
    )
    film = dataclasses.replace(film, is_led="motion" not in switched_off)
    start_s = time.perf_counter()
    clips = [clip.cpu() for clip in animator.sample(film, settings=settings)]
    sampling_s = time.perf_counter() - start_s
    like = animator.networks.like
    frames = torch.cat(list(animator.decode(clip.to(like.device) for clip in clips)))
    return Made(frames=frames, sampling_s=sampling_s)
