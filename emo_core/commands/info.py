"""`info`: what a checkpoint file is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from ..checkpoints.detect import detect_family
from ..checkpoints.emo import CONFIG_KEY, read_config
from ..checkpoints.read import read_tensors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> None:
    file = read_tensors(options.file)
    family = detect_family(file)
    groups: dict[str, list[int]] = {}
    for key, tensor in file.tensors.items():
        count, elements, size = groups.setdefault(key.split(".")[0], [0, 0, 0])
        groups[key.split(".")[0]] = [
            count + 1,
            elements + tensor.numel(),
            size + tensor.numel() * tensor.element_size(),
        ]
    lines = [f"file      {options.file} ({options.file.stat().st_size / 1e6:.1f} MB)"]
    lines.append(f"family    {family}")
    lines.append(f"licence   {file.metadata.get('license', 'not stated in the file')}")
    if file.metadata.get("description"):
        lines.append(f"about     {file.metadata['description']}")
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in file.tensors.values()})
    lines.append(f"numbers   {', '.join(dtypes)}")
    for name, (count, elements, size) in sorted(groups.items()):
        lines.append(
            f"part      {name}: {count} tensors, {elements / 1e6:.3f} M values, {size / 1e6:.2f} MB"
        )
    if CONFIG_KEY in file.metadata:
        config = dataclasses.asdict(read_config(file))
        lines.append("config    " + json.dumps(config, indent=2).replace("\n", "\n          "))
    sys.stdout.write("\n".join(lines) + "\n")
