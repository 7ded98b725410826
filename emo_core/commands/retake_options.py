"""`--retake`: parts of a film that are made again, with what differs in them."""

from __future__ import annotations

import argparse
import dataclasses

from ..errors import InputError
from ..models.backbone import Weights
from ..pipeline import RetakeSettings
from ..sampling.retake import USUAL_BLEND_FRAMES

CHANGES = {
    "seed": int,
    "speed": float,
    "guidance": float,
    "reference-weight": float,
    "audio-weight": float,
    "blend": int,
}
EXAMPLE = "--retake 28.5 32 seed=7 speed=20"


def add_retake_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retake",
        nargs="+",
        action="append",
        default=[],
        metavar=("START", "END"),
        help="make the film's part between two seconds again, such as 28.5 32 seed=7; may follow: "
        "seed, speed, guidance, reference-weight, audio-weight, and blend, the frames behind it in "
        "which the new take becomes the old one. With --store only this part is made. May be given "
        "several times",
    )


def read_retakes(options: argparse.Namespace, weights: Weights) -> tuple[RetakeSettings, ...]:
    """Read what `add_retake_options` asks for.

    Args:
        weights: of the film.

    Raises:
        InputError: a word that is no number, or names nothing that can change.
    """
    another_seed = (options.seed + 1) % 2**64
    return tuple(_read(words, weights, another_seed) for words in options.retake)


def _read(words: list[str], weights: Weights, another_seed: int) -> RetakeSettings:
    given = " ".join(words)
    if len(words) < 2:
        raise InputError(f"--retake {given}: expected start and end in seconds; {EXAMPLE}.")
    changes = {}
    for word in words[2:]:
        name, _, value = word.partition("=")
        if name not in CHANGES or name in changes:
            raise InputError(
                f"--retake {given}: {word!r} is not one of {', '.join(CHANGES)}, or comes twice. "
                f"Expected NAME=VALUE, as in {EXAMPLE}."
            )
        changes[name] = _number(value, CHANGES[name], given)
    for name in ("reference", "audio"):
        if (weight := changes.get(f"{name}-weight")) is not None:
            weights = dataclasses.replace(weights, **{name: weight})
    return RetakeSettings(
        start_s=_number(words[0], float, given),
        end_s=_number(words[1], float, given),
        seed=changes.get("seed", another_seed),
        guidance=changes.get("guidance"),
        speed_deg_s=changes.get("speed"),
        weights=weights,
        blend_frames=changes.get("blend", USUAL_BLEND_FRAMES),
    )


def _number(text: str, kind: type, given: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise InputError(
            f"--retake {given}: {text!r} is not a number of 0 or more. Expected such as {EXAMPLE}."
        )
    return value
