"""The family `emo`: this project's own checkpoints.

One safetensors file. Keys begin with the network they belong to: `backbone.`, `reference_net.`
and, where the checkpoint brings its own audio encoder, `front_end.`. Metadata: `emo_config` (the
`ModelConfig` as JSON), `license`, `description`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..audio.front_end import FrontEnd
from ..config import ModelConfig, config_from_json, config_to_json
from ..errors import InputError
from ..models.backbone import Backbone
from ..models.reference import ReferenceNet
from .read import TensorFile

CONFIG_KEY = "emo_config"
LICENSE = "Apache-2.0"
PARTS = ("backbone", "reference_net", "front_end")


@dataclass(frozen=True)
class Networks:
    """What a checkpoint holds, ready to run."""

    config: ModelConfig
    backbone: Backbone
    reference_net: ReferenceNet
    front_end: FrontEnd | None

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


def load_emo(file: TensorFile, *, dtype: torch.dtype) -> Networks:
    """Build the networks of a file and fill them; every key must fit.

    Raises:
        InputError: no or unknown config, keys missing or left over, or a tensor of another shape.
    """
    config = read_config(file)
    with torch.device("meta"):
        networks = build_networks(config)
    parts = split_parts(file)
    for prefix, network in networks.parts().items():
        state = {key: value.to(dtype) for key, value in parts.get(prefix, {}).items()}
        check_fits(network, state, name=f"{file.path}: {prefix}")
        network.load_state_dict(state, assign=True)
        network.requires_grad_(False).eval()
    return networks


def save_emo(networks: Networks, path: Path, *, dtype: torch.dtype, description: str = "") -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {
        f"{prefix}.{key}": value.detach().to(dtype).contiguous()
        for prefix, network in networks.parts().items()
        for key, value in network.state_dict().items()
    }
    metadata = {
        CONFIG_KEY: config_to_json(networks.config),
        "license": LICENSE,
        "description": description,
        "format": "pt",
    }
    partial_path = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial_path, metadata=metadata)
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)


def split_parts(file: TensorFile) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each network under its prefix, without the prefix in their keys.

    Raises:
        InputError: a key belongs to no network.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in file.tensors.items():
        prefix, _, name = key.partition(".")
        parts.setdefault(prefix, {})[name] = value
    extra = sorted(set(parts) - set(PARTS))
    if extra:
        raise InputError(
            f"{file.path}: its keys begin with {extra}, which no network of its config does; "
            f"expected {', '.join(PARTS)}. The file was changed after it was saved: fetch it again."
        )
    return parts


def read_config(file: TensorFile) -> ModelConfig:
    """Return the config in a file's metadata."""
    if CONFIG_KEY not in file.metadata:
        raise InputError(
            f"{file.path}: has the keys of an emo checkpoint but no '{CONFIG_KEY}' in its "
            "metadata. A converter dropped it: use the original file."
        )
    return config_from_json(file.metadata[CONFIG_KEY], source=str(file.path))


def check_fits(network: nn.Module, state: dict[str, Tensor], *, name: str) -> None:
    """Compare keys and shapes with a network's.

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
            f"{len(extra)} left over {extra[:3]}, {len(other)} of another shape {other[:3]}. "
            "The file is damaged or was edited: fetch it again."
        )
