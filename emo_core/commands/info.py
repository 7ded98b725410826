"""`info`: what a checkpoint is, from its names and shapes alone."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.detect import vae_kind
from ..checkpoints.families import open_checkpoint
from ..files.read import TensorFile, read_tensors
from .convert import LICENSES

MOST_PLACES = 4
"""Of unread tensors of one kind that are listed one by one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE|FOLDER",
        help="a VAE, a model checkpoint, or the folder with its files",
    )


def run(options: argparse.Namespace) -> None:
    path: Path = options.file
    if path.is_dir():
        lines = _about_model(open_checkpoint(path))
    else:
        file = read_tensors(path)
        kind = vae_kind(file)
        lines = _about_model(open_checkpoint(path)) if kind is None else _about_vae(file, kind)
    sys.stdout.write("\n".join(lines) + "\n")


def _about_vae(file: TensorFile, family: str) -> list[str]:
    groups: dict[str, list[Tensor]] = {}
    for name, tensor in file.tensors.items():
        groups.setdefault(name.partition(".")[0], []).append(tensor)
    return [
        *_about_files([file], family=family, family_license=None),
        *(f"part      {name}: {_size(groups[name])}" for name in sorted(groups)),
    ]


def _about_model(checkpoint: Checkpoint) -> list[str]:
    config = checkpoint.config
    files = {part.file.path: part.file for part in checkpoint.parts}
    networks: dict[str, list[Tensor]] = {}
    for part in checkpoint.parts:
        for name, ours in part.names.items():
            networks.setdefault(ours.partition(".")[0], []).append(part.file.tensors[name])
    text = json.dumps(dataclasses.asdict(config), indent=2)
    return [
        *_about_files(
            files.values(), family=config.family, family_license=LICENSES.get(config.family)
        ),
        *(f"part      {name}: {_size(networks[name])}" for name in sorted(networks)),
        *(line for file in files.values() for line in _about_unread(checkpoint, file)),
        "config    " + text.replace("\n", "\n          "),
    ]


def _about_files(
    files: Iterable[TensorFile], *, family: str, family_license: str | None
) -> list[str]:
    """Lines on all files of a checkpoint.

    Args:
        family_license: for files that state none; None: it is not known.
    """
    files = list(files)
    lines = [f"file      {file.path} ({file.path.stat().st_size / 1e6:.1f} MB)" for file in files]
    lines.append(f"family    {family}")
    stated = files[0].metadata.get("license")
    if stated is None and family_license is not None:
        stated = f"{family_license}, as its authors published it; the file does not say"
    lines.append(f"licence   {stated or 'not stated in the file'}")
    if files[0].metadata.get("description"):
        lines.append(f"about     {files[0].metadata['description']}")
    dtypes = {
        str(tensor.dtype).removeprefix("torch.")
        for file in files
        for tensor in file.tensors.values()
    }
    lines.append(f"numbers   {', '.join(sorted(dtypes))}")
    return lines


def _about_unread(checkpoint: Checkpoint, file: TensorFile) -> list[str]:
    """Lines on the tensors of a file that no network gets; many places of one kind are one line."""
    read = {name for part in checkpoint.parts if part.file is file for name in part.names}
    kinds: dict[str, dict[str, list[Tensor]]] = {}
    for place, tensors in _unread_places(file.tensors, read).items():
        kinds.setdefault(place.rpartition(".")[2], {})[place] = tensors
    lines = []
    for kind, places in kinds.items():
        if len(places) > MOST_PLACES:
            every = [tensor for tensors in places.values() for tensor in tensors]
            places = {f"{kind} in {len(places)} places": every}
        lines += [f"unread    {file.path.name}: {p}: {_size(t)}" for p, t in places.items()]
    return lines


def _unread_places(tensors: Mapping[str, Tensor], read: set[str]) -> dict[str, list[Tensor]]:
    """Gather unread tensors under the shortest beginnings of names that no read one has."""
    begun = {name[:end] for name in read for end in _ends(name)}
    places: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        if name not in read:
            place = next(name[:end] for end in _ends(name) if name[:end] not in begun)
            places.setdefault(place, []).append(tensor)
    return places


def _ends(name: str) -> list[int]:
    """Where the beginnings of a dotted name end, the whole of it last."""
    return [place for place, letter in enumerate(name) if letter == "."] + [len(name)]


def _size(tensors: list[Tensor]) -> str:
    """Counts of tensors, values and bytes."""
    elements = sum(tensor.numel() for tensor in tensors)
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return f"{len(tensors)} tensors, {elements / 1e6:.3f} M values, {num_bytes / 1e6:.2f} MB"
