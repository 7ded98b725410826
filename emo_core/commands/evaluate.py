"""`evaluate`: measure a checkpoint on portraits and voices that it has never met."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..evaluation.cases import Case
from ..evaluation.run import evaluate
from ..face.placement import placement_of_drawing
from .options import add_model_options, add_sampling_options, load_animator, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=20, help="talking films of 4 seconds")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_sampling_options(parser)
    add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    settings = read_settings(options)
    animator = load_animator(options)
    sampling = animator.networks.config.sampling
    width, height = animator.size(settings)
    if width != height:
        raise InputError(f"evaluate: size {width}x{height}; the drawn portraits are square.")

    def animate(case: Case) -> Tensor:
        chosen = dataclasses.replace(settings, speed_deg_s=case.speed_deg_s)
        film = animator.film(
            case.picture,
            case.waveform,
            settings=chosen,
            face=placement_of_drawing(case.region, mask_HW=case.region),
        )
        return torch.cat(list(animator.animate(film, settings=chosen)))

    evaluate(
        animate,
        num_clips=options.clips,
        seed=options.seed,
        out_folder=options.out,
        title=str(options.checkpoint.name),
        clip_frames=sampling.clip_frames,
        size=width,
        fps=sampling.fps if settings.fps is None else settings.fps,
    )
