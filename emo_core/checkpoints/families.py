"""The families of checkpoints that can be loaded, each with its signature and its loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files.read import TensorFile, read_tensors
from .checkpoint import Checkpoint
from .echomimic import is_echomimic, open_echomimic
from .emo import is_emo, open_emo
from .folder import checkpoint_files
from .hallo import is_hallo, is_hallo_split, open_hallo, open_hallo_split
from .upstream import Shapes, shapes_of
from .v_express import is_v_express, open_v_express


@dataclass(frozen=True)
class Family:
    """How a checkpoint is recognised and opened."""

    is_main_file: Callable[[Shapes], bool]
    """Whether a file with these tensors is the one to give: the whole, or the denoising network."""
    open: Callable[[TensorFile], Checkpoint]


FAMILIES = {
    "emo": Family(is_emo, open_emo),
    "hallo": Family(is_hallo, open_hallo),
    "hallo_split": Family(is_hallo_split, open_hallo_split),
    "v_express": Family(is_v_express, open_v_express),
    "echomimic": Family(is_echomimic, open_echomimic),
}
"""The most specific first; at most one fits a file."""
KNOWN = "emo, hallo, echomimic and v_express"
PART_STEMS = (
    "reference_unet",
    "reference_net",
    "motion_module",
    "face_locator",
    "v_kps_guider",
    "audio_projection",
    "imageproj",
    "audioproj",
)
"""How the other files of a published checkpoint are named; lists to choose from leave them out."""


def family_of(file: TensorFile) -> str | None:
    """Return a key of `FAMILIES`; None where the file is none of their main files."""
    shapes = shapes_of(file)
    return next((name for name, family in FAMILIES.items() if family.is_main_file(shapes)), None)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint without reading its tensors.

    Args:
        path: our own file, an upstream's file (of several: that of the denoising network), or a
            folder that holds one checkpoint.

    Raises:
        InputError: no checkpoint of a known family, or files of it are missing.
    """
    if path.is_dir():
        return _open_folder(path)
    file = read_tensors(path)
    family = family_of(file)
    if family is None:
        raise InputError(_unknown(file))
    return _opened(file, family)


def _opened(file: TensorFile, family: str) -> Checkpoint:
    try:
        return FAMILIES[family].open(file)
    except InputError:
        raise
    except (LookupError, ValueError, TypeError) as error:
        # Sizes are read off tensors by their names, before anything is compared with a network.
        raise InputError(
            f"{file.path}: looks like {family}, but its files do not hold the networks that they "
            f"are named after ({type(error).__name__}: {error}). One of them is damaged, or of "
            "another checkpoint; fetch them again into a folder of their own."
        ) from error


def _open_folder(path: Path) -> Checkpoint:
    found = [(file, family_of(file)) for file in checkpoint_files(path)]
    main = [(file, family) for file, family in found if family is not None]
    if len(main) == 1:
        return _opened(*main[0])
    if not main:
        raise InputError(
            f"{path}: none of its {len(found)} files of tensors is the denoising network of a "
            f"known family ({KNOWN}). Give the folder that the checkpoint's files "
            "are in."
        )
    names = ", ".join(sorted(file.path.name for file, _ in main))
    raise InputError(f"{path}: holds more than one checkpoint. Give one of its files: {names}.")


def _unknown(file: TensorFile) -> str:
    """What is said of a file that is no checkpoint's main file."""
    for is_part, what in PARTS.items():
        if is_part(shapes_of(file)):
            return f"{file.path}: {what}"
    return (
        f"{file.path}: not a checkpoint this pack can load. It has {len(file.tensors)} tensors, "
        f"such as {sorted(file.tensors)[:2]}; known families are {KNOWN}. "
        "Check that it is the file you meant."
    )


def _is_motion_module(shapes: Shapes) -> bool:
    return bool(shapes) and all(".motion_modules." in name for name in shapes)


def _is_other_part(shapes: Shapes) -> bool:
    """A reference network, a face locator or a projection, by what a denoising network lacks."""
    is_reference = "down_blocks.0.resnets.0.conv1.weight" in shapes and (
        "conv_norm_out.weight" not in shapes
    )
    is_locator = "conv_in.weight" in shapes and "blocks.0.weight" in shapes
    return is_reference or is_locator or "proj1.weight" in shapes or "latents" in shapes


def _is_plain_unet(shapes: Shapes) -> bool:
    return "conv_norm_out.weight" in shapes and "down_blocks.0.resnets.0.conv1.weight" in shapes


def _is_vae(shapes: Shapes) -> bool:
    return any("decoder.conv_in." in name or name.startswith("taesd_") for name in shapes)


PARTS: dict[Callable[[Shapes], bool], str] = {
    _is_motion_module: "holds temporal modules alone. Give the denoising network's file of the "
    "checkpoint that they belong to.",
    _is_other_part: "is one of several files of a checkpoint, but not the one to give. Give that "
    "of the denoising network, which lies beside it.",
    _is_plain_unet: "is a UNet without anything for sound, such as Stable Diffusion's or "
    "AniPortrait's. Give a checkpoint of Hallo, EchoMimic or V-Express, or one of this pack.",
    _is_vae: "is a VAE; expected a model. Give that where a VAE is asked for, and a model here.",
}
"""Files that are taken for a checkpoint by mistake -> what to do."""
