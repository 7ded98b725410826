"""Which kind a file is of: from the names and shapes of its tensors, never from its own name."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InputError
from ..files.read import TensorFile
from .families import FAMILIES
from .kl import is_kl
from .upstream import Shapes, shapes_of


def _is_taesd(shapes: Shapes) -> bool:
    return "taesd_decoder.1.weight" in shapes and "taesd_encoder.0.weight" in shapes


VAES: dict[str, Callable[[Shapes], bool]] = {"taesd": _is_taesd, "kl": is_kl}
SIGNATURES = {name: family.is_main_file for name, family in FAMILIES.items()} | VAES
"""At most one fits a file."""


def detect_family(file: TensorFile) -> str:
    """Return a name of `SIGNATURES`.

    Raises:
        InputError: no signature fits.
    """
    shapes = shapes_of(file)
    for family, is_family in SIGNATURES.items():
        if is_family(shapes):
            return family
    raise InputError(
        f"{file.path}: not a file this pack can load. It has {len(file.tensors)} tensors, "
        f"such as {sorted(file.tensors)[:2]}; known are models of {', '.join(FAMILIES)} and VAEs "
        f"({', '.join(VAES)}). Check that it is the file you meant."
    )
