"""A checkpoint of any family before its tensors are read: config, files, and whose is what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import InputError
from ..files.read import TensorFile, read_converted

NETWORKS = ("backbone", "reference_net", "front_end")
"""Our names of tensors begin with the network's."""


@dataclass(frozen=True)
class Part:
    """What is taken from one file."""

    file: TensorFile
    names: dict[str, str]
    """Name in the file -> name of ours, such as `backbone.conv_in.weight`."""

    def of_network(self, network: str) -> dict[str, str]:
        """Name in the file -> name inside the network."""
        prefix = f"{network}."
        return {
            name: ours.removeprefix(prefix)
            for name, ours in self.names.items()
            if ours.startswith(prefix)
        }


@dataclass(frozen=True)
class Checkpoint:
    """Config and tensors of all networks, from one file or several."""

    path: Path
    """The file that was asked for."""
    config: ModelConfig
    parts: tuple[Part, ...]

    def views(self, network: str) -> dict[str, Tensor]:
        """A network's tensors where the files have them, mapped into memory and not yet read.

        Raises:
            InputError: two files hold the same tensor.
        """
        views: dict[str, Tensor] = {}
        for part in self.parts:
            for name, ours in part.of_network(network).items():
                if ours in views:
                    raise InputError(
                        f"{part.file.path}: {name} is in another file of this checkpoint as well. "
                        "Files of different checkpoints are mixed in one folder; give each its own."
                    )
                views[ours] = part.file.tensors[name]
        return views

    def read(self, network: str, *, dtype: torch.dtype) -> dict[str, Tensor]:
        """A network's tensors, read one by one into memory of their own."""
        state: dict[str, Tensor] = {}
        for part in self.parts:
            state |= read_converted(part.file, part.of_network(network), dtype=dtype)
        return state
