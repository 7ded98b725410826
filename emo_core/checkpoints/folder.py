"""Checkpoints made of several files: what a folder holds, and which files belong together.

Published files are named role, variant, ending: `denoising_unet_acc.pth` and
`motion_module_acc.pth` are one variant, and `reference_unet.pth` serves all of them.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ..errors import InputError
from ..files.pickles import PICKLE_ENDINGS
from ..files.read import TensorFile, read_tensors

logger = logging.getLogger(__name__)

ENDINGS = (".safetensors", *PICKLE_ENDINGS)


def checkpoint_files(folder: Path) -> list[TensorFile]:
    """Open the checkpoint files that lie directly in a folder, by name.

    A file that holds something else than tensors, or is damaged, is left out with a warning.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the one with the checkpoint's files.")
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in ENDINGS or path.name.startswith(".") or not path.is_file():
            continue
        try:
            files.append(read_tensors(path))
        except InputError as error:
            logger.warning("left out: %s", error)
    return files


def sibling(path: Path, stem: str) -> Path | None:
    """Return the file beside `path` that plays another role in the same checkpoint.

    Of `denoising_unet_pose_acc.pth` and "reference_unet", the first of these that exists:
    reference_unet_pose_acc, reference_unet_pose, reference_unet_acc, reference_unet; each with the
    ending of `path` before others. A number of steps, `denoising_unet-30000.pth`, is a variant too.

    Args:
        stem: the role, as files of it are named.
    """
    _, *words = re.findall(r"^[^_-]+|[_-][^_-]*", path.stem) or [path.stem]
    # Which words are the role's and which the variant's is not known: any run of them may be it.
    runs = [words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    variants = ["".join(run) for run in sorted(runs, key=len, reverse=True)]
    for variant in [*variants, ""]:
        for ending in (path.suffix, *ENDINGS):
            candidate = path.with_name(stem + variant + ending)
            if candidate.is_file():
                return candidate
    return None
