"""`convert`: a checkpoint of any family as one safetensors file of this pack's layout.

The file loads faster and safer than pickles do, its config travels with it, and what nothing reads
is left out of it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.emo import CONFIG_KEY, build_networks, check_fits
from ..checkpoints.families import open_checkpoint
from ..config_json import config_to_json
from ..errors import InputError
from ..files.write import TensorSpec, write_safetensors

logger = logging.getLogger(__name__)

LICENSES = {
    "hallo": "MIT",
    "echomimic": "Apache-2.0",
    "v_express": "non-commercial research only",
}
"""Of the weights as their authors publish them; none of their files says so."""
_ORIGINS = {
    "hallo": "Hallo (fudan-generative-ai/hallo)",
    "echomimic": "EchoMimic (BadToBest/EchoMimic)",
    "v_express": "V-Express (tk93/V-Express)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE|FOLDER",
        help="model checkpoint, or the folder with its files",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="NAME.safetensors")
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        help="number format in the new file (default: that of the checkpoint)",
    )
    parser.add_argument("--force", action="store_true", help="replace a file of that name")


def run(options: argparse.Namespace) -> None:
    out: Path = options.out
    checkpoint = open_checkpoint(options.checkpoint)
    _check_out(out, checkpoint, is_forced=options.force)
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    specs = _checked_specs(checkpoint, dtype=dtype)
    tensors = _tensors(checkpoint, set(specs), dtype=dtype)
    write_safetensors(
        out,
        tqdm(tensors, total=len(specs), desc="convert", unit="tensor"),
        specs=specs,
        metadata=_metadata(checkpoint),
    )
    logger.info("%s: %d tensors, %.1f MB", out, len(specs), out.stat().st_size / 1e6)


def _checked_specs(checkpoint: Checkpoint, *, dtype: torch.dtype | None) -> dict[str, TensorSpec]:
    """Return what a converted file will hold, by our names.

    Args:
        dtype: of floating-point tensors; None keeps what the checkpoint has.

    Raises:
        InputError: the checkpoint's tensors do not fit its config.
    """
    with torch.device("meta"):
        networks = build_networks(checkpoint.config)
    specs = {}
    for prefix, network in networks.parts().items():
        views = checkpoint.views(prefix)
        check_fits(network, views, name=f"{checkpoint.path}: {prefix}")
        for name, tensor in views.items():
            is_converted = dtype is not None and tensor.is_floating_point()
            specs[f"{prefix}.{name}"] = TensorSpec(
                tuple(tensor.shape), dtype if is_converted else tensor.dtype
            )
    return specs


def _tensors(
    checkpoint: Checkpoint, names: set[str], *, dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield our names and tensors, one at a time.

    Raises:
        InputError: a value is too large for `dtype`, or no number.
    """
    for part in checkpoint.parts:
        wanted = [name for name, ours in part.names.items() if ours in names]
        for name, tensor in part.file.stream(wanted, dtype=dtype):
            if dtype == torch.float16 and not tensor.isfinite().all():
                raise InputError(
                    f"{part.file.path}: {name} has values that float16 cannot hold; expected "
                    "numbers up to 65504. Use --dtype bfloat16 or float32; if films are then black "
                    "or noise, the file is damaged: fetch it again."
                )
            yield part.names[name], tensor


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Config, licence and origin; of a file of ours, what it says itself."""
    config = checkpoint.config
    stated = checkpoint.parts[0].file.metadata
    if CONFIG_KEY not in stated:
        origin = f"Family {_ORIGINS[config.family]}, converted from {checkpoint.path.name}"
        stated = {"license": LICENSES[config.family], "description": origin}
    kept = {key: stated[key] for key in ("license", "description") if key in stated}
    return kept | {CONFIG_KEY: config_to_json(config), "format": "pt"}


def _check_out(out: Path, checkpoint: Checkpoint, *, is_forced: bool) -> None:
    if out.suffix != ".safetensors":
        raise InputError(
            f"--out {out}: ends in {out.suffix or 'nothing'}; checkpoints are written as "
            ".safetensors. Give a name that ends so."
        )
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; expected a new file. Give another name.")
    if not out.exists():
        return
    if any(out.samefile(part.file.path) for part in checkpoint.parts):
        raise InputError(
            f"--out {out}: is a file of the checkpoint itself, which would be lost; expected "
            "another one. Give another name."
        )
    if not is_forced:
        raise InputError(
            f"--out {out}: there is such a file already; expected a new one. Give another name, or "
            "--force to replace it."
        )
