"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..assets import DEMO_CHECKPOINT, DEMO_VAE
from ..errors import InputError
from ..models.backbone import NUM_AREAS, Weights
from ..pipeline import AnimateSettings, Animator
from ..precision import warn_of_slow_half
from ..sampling.anchor import USUAL_ANCHOR_SHARE
from ..sampling.schedule import SOLVERS


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        type=Path,
        default=DEMO_CHECKPOINT,
        metavar="FILE|FOLDER",
        help="model checkpoint, or the folder with its files (default: the bundled demo)",
    )
    group.add_argument(
        "--vae",
        type=Path,
        default=DEMO_VAE,
        metavar="FILE",
        help="VAE: the demo's, or Stable Diffusion's for the published families",
    )
    group.add_argument(
        "--audio-encoder",
        type=Path,
        metavar="FILE|FOLDER",
        help="wav2vec2 or Whisper model, for checkpoints that bring no audio encoder",
    )
    group.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="number format of the networks (default: float32; the others are slow on many "
        "processors)",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """How a film is sampled."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--width", type=int, help="pixels, a multiple of 8")
    group.add_argument("--height", type=int, help="pixels, a multiple of 8")
    group.add_argument("--fps", type=float, help="frames per second (default: the checkpoint's)")
    group.add_argument("--steps", type=int, help="denoising steps per clip")
    group.add_argument("--guidance", type=float, help="1 is none; higher follows voice and face")
    group.add_argument("--solver", choices=SOLVERS, help="default: the checkpoint's")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument(
        "--anchor-every",
        type=int,
        default=0,
        metavar="CLIPS",
        help="against drift in long films: lean back to the portrait every so many clips (default: "
        "never)",
    )
    group.add_argument(
        "--anchor-share",
        type=float,
        help=f"how far then, 0 to 1 (default: {USUAL_ANCHOR_SHARE})",
    )
    group.add_argument(
        "--reference-weight", type=float, default=1.0, help="how much the portrait counts"
    )
    group.add_argument("--audio-weight", type=float, default=1.0, help="how much the voice counts")
    group.add_argument(
        "--area-weights",
        default="1,1,1",
        metavar="BACKGROUND,FACE,LIPS",
        help="how much the voice counts there (default: 1,1,1)",
    )
    group.add_argument(
        "--speed",
        type=float,
        metavar="DEG_PER_S",
        help="speed of the head: 12 is calm, 30 lively (default: left to the model)",
    )


def load_animator(options: argparse.Namespace) -> Animator:
    """Load what `add_model_options` names."""
    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {options.device!r}: cannot be used ({str(error).splitlines()[0]}). Use cpu, "
            "or a device that this PyTorch was built for."
        ) from error
    dtype = getattr(torch, options.dtype)
    warn_of_slow_half(dtype, device)
    return Animator.load(
        options.checkpoint,
        options.vae,
        audio_encoder=options.audio_encoder,
        device=device,
        dtype=dtype,
    )


def read_settings(options: argparse.Namespace) -> AnimateSettings:
    """Gather what `add_sampling_options` asks for."""
    for name, value, least in (
        ("steps", options.steps, 1),
        ("fps", options.fps, 1),
        ("guidance", options.guidance, 0),
        ("anchor-every", options.anchor_every, 0),
        ("reference-weight", options.reference_weight, 0),
        ("audio-weight", options.audio_weight, 0),
    ):
        if value is not None and not value >= least:
            raise InputError(f"--{name} {value}: expected at least {least}.")
    share = options.anchor_share
    if share is not None and not options.anchor_every:
        raise InputError(
            f"--anchor-share {share:g}: does nothing by itself. Give --anchor-every too."
        )
    if share is not None and not 0.0 <= share <= 1.0:
        raise InputError(f"--anchor-share {share:g}: expected 0 to 1.")
    return AnimateSettings(
        width=options.width,
        height=options.height,
        fps=options.fps,
        steps=options.steps,
        guidance=options.guidance,
        solver=options.solver,
        seed=options.seed,
        speed_deg_s=options.speed,
        anchor_every=options.anchor_every,
        anchor_share=USUAL_ANCHOR_SHARE if share is None else share,
        weights=Weights(
            reference=options.reference_weight,
            audio=options.audio_weight,
            areas=_read_area_weights(options.area_weights),
        ),
    )


def _read_area_weights(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != NUM_AREAS or not all(0.0 <= weight <= 10.0 for weight in weights):
        raise InputError(
            f"--area-weights {text}: expected three numbers of 0 to 10, for background, face and "
            "lips, such as 0.8,1,1.3."
        )
    return weights
