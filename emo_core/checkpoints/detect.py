"""Which kind a file is of: from the names and shapes of its tensors, never from its own name."""

from __future__ import annotations

from collections.abc import Callable

from ..files.read import TensorFile
from .families import FAMILIES
from .kl import is_kl
from .upstream import Shapes, shapes_of


def _is_taesd(shapes: Shapes) -> bool:
    return "taesd_decoder.1.weight" in shapes and "taesd_encoder.0.weight" in shapes


VAES: dict[str, Callable[[Shapes], bool]] = {"taesd": _is_taesd, "kl": is_kl}
SIGNATURES = {name: family.is_main_file for name, family in FAMILIES.items()} | VAES
"""At most one fits a file."""


def vae_kind(file: TensorFile) -> str | None:
    """Return a key of `VAES`; None where the file is no VAE."""
    shapes = shapes_of(file)
    return next((kind for kind, is_kind in VAES.items() if is_kind(shapes)), None)
