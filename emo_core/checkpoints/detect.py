"""Which family a checkpoint is of: from its keys, never from its name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..errors import InputError
from .read import TensorFile

Signature = Callable[[dict[str, Tensor]], bool]


def _is_emo(tensors: dict[str, Tensor]) -> bool:
    return "backbone.conv_in.weight" in tensors and "reference_net.conv_in.weight" in tensors


def _is_tiny_vae(tensors: dict[str, Tensor]) -> bool:
    return "taesd_decoder.1.weight" in tensors and "taesd_encoder.0.weight" in tensors


SIGNATURES: dict[str, Signature] = {"emo": _is_emo, "taesd": _is_tiny_vae}


def detect_family(file: TensorFile) -> str:
    """Return a name of `SIGNATURES`.

    Raises:
        InputError: no signature fits.
    """
    for family, is_family in SIGNATURES.items():
        if is_family(file.tensors):
            return family
    raise InputError(
        f"{file.path}: not a checkpoint this pack can load. It has {len(file.tensors)} tensors, "
        f"such as {sorted(file.tensors)[:2]}; known families are {', '.join(SIGNATURES)}. "
        "Check that it is the file you meant."
    )
