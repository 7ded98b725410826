"""`data`: draw and voice clips for training and measuring."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..training.generate import generate_clips


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("train", "validation", "test"), default="train")
    parser.add_argument("--clips", type=int, default=2400)
    parser.add_argument(
        "--first", type=int, default=0, metavar="NUMBER", help="other numbers are other people"
    )
    parser.add_argument("--frames", type=int, default=24, help="frames of a clip")
    parser.add_argument("--references", type=int, default=4, help="other pictures per person")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(options: argparse.Namespace) -> None:
    generate_clips(
        options.out,
        split=options.split,
        first=options.first,
        num_clips=options.clips,
        num_frames=options.frames,
        num_references=options.references,
        fps=options.fps,
        size=options.size,
        num_workers=options.workers,
    )
