"""The published checkpoints at full size, without their numbers.

`tests/parity/keys` lists the names and shapes that upstream's own classes save. Files are made of
them in which one stored number stands for all of a tensor's, so nothing needs the gigabytes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from emo_core.checkpoints.checkpoint import Checkpoint
from emo_core.checkpoints.emo import Networks, build_networks

KEYS = Path(__file__).resolve().parents[1] / "parity" / "keys"
FAMILIES = ("hallo", "echomimic", "v_express")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Section:
    """What one upstream network saves."""

    file: str
    network: str
    """Upstream's name, without the ending of its file."""
    num_tensors: int
    """As the list's header says, as `num_elements`."""
    num_elements: int
    shapes: Shapes


def read_key_list(family: str) -> list[Section]:
    """Read `# FILE[ NETWORK][ (REMARK)]: N tensors, N elements` and the lines below each."""
    sections = []
    for block in re.split(r"^# ", (KEYS / f"keys_{family}.txt").read_text(), flags=re.M)[1:]:
        header, *lines = block.splitlines()
        match = re.fullmatch(
            r"(\S+?)(?: (\w+))?(?: \(.*\))?: (\d+) tensors, (\d+) elements", header
        )
        file, network, num_tensors, num_elements = match.groups()
        names = [line.partition(" ") for line in lines if line]
        sections.append(
            Section(
                file=file,
                network=network or Path(file).stem,
                num_tensors=int(num_tensors),
                num_elements=int(num_elements),
                shapes={
                    name: tuple(int(size) for size in re.findall(r"\d+", shape))
                    for name, _, shape in names
                },
            )
        )
    return sections


def save_hollow(path: Path, shapes: Shapes) -> None:
    """Write a file with tensors of these shapes; all numbers of a tensor are one in the file."""
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, path)


def save_family(family: str, folder: Path) -> None:
    """Write all files of a checkpoint at full size."""
    files: dict[str, Shapes] = {}
    for section in read_key_list(family):
        files.setdefault(section.file, {}).update(section.shapes)
    for name, shapes in files.items():
        save_hollow(folder / name, shapes)


def meta_networks(checkpoint: Checkpoint) -> Networks:
    """A checkpoint's networks, without numbers."""
    with torch.device("meta"):
        networks = build_networks(checkpoint.config)
    for network in networks.parts().values():
        network.requires_grad_(False).eval()
    return networks


def num_elements(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)
