"""`preflight`: what a film will cost and whether it fits, measured on its first clips."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from ..errors import is_out_of_memory
from ..preflight.costs import Costs
from ..preflight.disk import DISK_ADVICE, disk_uses, least_frame_bytes
from ..preflight.findings import REFUSED, Finding, judge_disks, judge_memory
from ..preflight.measure import measure
from ..preflight.memory import ram, vram
from ..preflight.plan import FilmPlan
from ..preflight.report import Report
from ..video.stills import PngSequenceWriter
from ..video.writer import Mp4Writer
from .film_options import FilmToMake, add_film_options, gather_film, is_mp4

MEMORY_ADVICE = "Choose a smaller --width and --height, or --dtype bfloat16"
RAM_ADVICE = f"{MEMORY_ADVICE}, or end other programs."
VRAM_ADVICE = f"{MEMORY_ADVICE}, or end other programs that use the card, or --device cpu."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_film_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for programs, not a table")


def run(options: argparse.Namespace) -> int:
    """Print the report; return 1 where the film is refused."""
    begun_s = time.perf_counter()
    made = gather_film(options)
    prepare_s = time.perf_counter() - begun_s
    plan = made.plan()

    def open_scratch(path: Path, num_frames: int) -> Mp4Writer | PngSequenceWriter:
        return made.open_output(path.with_suffix(options.out.suffix), num_frames=num_frames)

    try:
        costs = measure(
            made.animator,
            made.film,
            settings=made.settings,
            prepare_s=prepare_s,
            open_scratch=open_scratch,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        costs = None
    report = Report(plan=plan, costs=costs, findings=_findings(options, made, plan, costs))
    sys.stdout.write((report.to_json() if options.json else report.text()) + "\n")
    return int(report.verdict == REFUSED)


def _findings(
    options: argparse.Namespace, made: FilmToMake, plan: FilmPlan, costs: Costs | None
) -> list[Finding]:
    device = made.animator.networks.like.device
    frame_bytes = None if costs is None else costs.frame_bytes
    if frame_bytes is None:
        frame_bytes = least_frame_bytes(plan, is_mp4=is_mp4(options.out))
    uses = disk_uses(
        plan,
        options.out,
        store=options.store,
        frame_bytes=frame_bytes,
        is_mp4=is_mp4(options.out),
    )
    return [
        *_memory_findings(device, plan, has_run_out=costs is None),
        *judge_disks(uses, advice=DISK_ADVICE),
    ]


def _memory_findings(device: torch.device, plan: FilmPlan, *, has_run_out: bool) -> list[Finding]:
    found = []
    card, machine = vram(device), ram()
    for name, memory, advice in (("VRAM", card, VRAM_ADVICE), ("RAM", machine, RAM_ADVICE)):
        if memory is None:
            continue
        is_device = memory is card or card is None
        growing = plan.growing_bytes if is_device else 0
        needed, parts = memory.peak + growing, "peak of the first clips"
        if growing:
            parts += ", and latents of the whole film"
        if has_run_out and is_device:
            needed, parts = max(needed, memory.total + 1), "the first clips ran out of it"
        found.append(
            judge_memory(
                name,
                needed_bytes=needed,
                available_bytes=memory.available,
                total_bytes=memory.total,
                parts=parts,
                advice=advice,
            )
        )
    return found
