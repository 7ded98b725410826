"""This project's own files: checkpoints of family `emo`, and converted ones of any other.

One safetensors file. Keys begin with the network they belong to: `backbone.`, `reference_net.`
and, where the checkpoint brings its own audio encoder, `front_end.`. Metadata: `emo_config` (the
`ModelConfig` as JSON, the family in it), `license`, `description`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from ..audio.front_end import FrontEnd
from ..config import ModelConfig
from ..config_json import config_from_json, config_to_json
from ..errors import InputError
from ..files.read import TensorFile
from ..files.write import TensorSpec, write_safetensors
from ..models.backbone import Backbone
from ..models.reference import ReferenceNet
from .checkpoint import NETWORKS, Checkpoint, Part

CONFIG_KEY = "emo_config"
LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class Networks:
    """What a checkpoint holds, ready to run."""

    config: ModelConfig
    backbone: Backbone
    reference_net: ReferenceNet
    front_end: FrontEnd | None

    @property
    def like(self) -> Tensor:
        """An empty tensor on the backbone's device and in its dtype, to bring others to."""
        return next(self.backbone.parameters()).new_empty(0)

    def parts(self) -> dict[str, nn.Module]:
        """The networks under the prefixes of their keys."""
        parts = {"backbone": self.backbone, "reference_net": self.reference_net}
        if self.front_end is not None:
            parts["front_end"] = self.front_end
        return parts


def build_networks(config: ModelConfig, *, ops: ModuleType = nn) -> Networks:
    """Make the networks of a config, with fresh weights."""
    return Networks(
        config=config,
        backbone=Backbone(config.backbone, ops=ops),
        reference_net=ReferenceNet(config.reference_net, ops=ops),
        front_end=None if config.front_end is None else FrontEnd(config.front_end),
    )


def is_emo(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether these are the tensors of one of our own files."""
    return "backbone.conv_in.weight" in shapes and "reference_net.conv_in.weight" in shapes


def open_emo(file: TensorFile) -> Checkpoint:
    """Describe one of our own files.

    Raises:
        InputError: no or unknown config, or a key belongs to no network.
    """
    extra = sorted({key.partition(".")[0] for key in file.tensors} - set(NETWORKS))
    if extra:
        raise InputError(
            f"{file.path}: its keys begin with {extra}, which no network of its config does; "
            f"expected {', '.join(NETWORKS)}. The file was changed after it was saved: fetch it "
            "again."
        )
    part = Part(file=file, names={key: key for key in file.tensors})
    return Checkpoint(path=file.path, config=read_config(file), parts=(part,))


def save_emo(networks: Networks, path: Path, *, dtype: torch.dtype, description: str = "") -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {
        f"{prefix}.{key}": value
        for prefix, network in networks.parts().items()
        for key, value in network.state_dict().items()
    }
    metadata = {
        CONFIG_KEY: config_to_json(networks.config),
        "license": LICENSE,
        "description": description,
        "format": "pt",
    }
    write_safetensors(
        path,
        ((key, value.to(dtype)) for key, value in tensors.items()),
        specs={key: TensorSpec(tuple(value.shape), dtype) for key, value in tensors.items()},
        metadata=metadata,
    )


def read_config(file: TensorFile) -> ModelConfig:
    """Return the config in a file's metadata."""
    if CONFIG_KEY not in file.metadata:
        raise InputError(
            f"{file.path}: has the keys of an emo checkpoint but no '{CONFIG_KEY}' in its "
            "metadata. A converter dropped it: use the original file."
        )
    return config_from_json(file.metadata[CONFIG_KEY], source=str(file.path))


def check_fits(
    network: nn.Module,
    state: dict[str, Tensor],
    *,
    name: str,
    cure: str = "The file is damaged or was edited: fetch it again.",
) -> None:
    """Compare keys and shapes with a network's.

    Args:
        cure: what to do if they differ.

    Raises:
        InputError: keys missing or left over, or a tensor of another shape.
    """
    wanted = network.state_dict()
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    other = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if missing or extra or other:
        raise InputError(
            f"{name} does not fit its config: {len(missing)} keys missing {missing[:3]}, "
            f"{len(extra)} left over {extra[:3]}, {len(other)} of another shape {other[:3]}. {cure}"
        )
