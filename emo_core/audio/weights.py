"""Weights of a published audio encoder: read without running anything, loaded without a gap."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import InputError

OPENAI_STATE = "model_state_dict"
"""Where OpenAI's Whisper files, `{"dims": ..., "model_state_dict": ...}`, hold their tensors."""
MOST_LISTED = 20
"""Keys of one kind that a message lists."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a pickle of named tensors (plain, or as OpenAI wraps it).

    Raises:
        InputError: missing, truncated, no named tensors in it, or a pickle with code in it.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Expected the weights of an audio encoder "
            "(.safetensors, .pt or .bin); check the path."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_pickle(path)


def fill(network: nn.Module, tensors: dict[str, Tensor], *, name: str) -> None:
    """Put tensors into a network, in float32; every key must be there, and no other.

    Args:
        network: may lie on the meta device; its parameters are replaced.
        name: what a message calls the weights.

    Raises:
        InputError: keys missing, left over, or of another shape; they are listed.
    """
    wanted = network.state_dict()
    problems = {
        "missing": [key for key in wanted if key not in tensors],
        "left over": [key for key in tensors if key not in wanted],
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in wanted
            if key in tensors and tensors[key].shape != wanted[key].shape
        ],
    }
    found = [
        f"{len(keys)} {kind}: {', '.join(keys[:MOST_LISTED])}{', ...' * (len(keys) > MOST_LISTED)}"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise InputError(
            f"{name}: its keys are not those of {type(network).__name__}; {'; '.join(found)}. "
            "Expected exactly the keys of the published model; fetch the file again."
        )
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}). The download or copy probably broke "
            "off: fetch the file again."
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: refused. A pickle may run any program when it is opened, and this one holds "
            f"more than tensors or is damaged ({reason}). Get the safetensors version of it."
        ) from error
    if isinstance(contents, dict):
        contents = contents.get(OPENAI_STATE, contents)
    if not isinstance(contents, dict) or not all(
        isinstance(value, Tensor) for value in contents.values()
    ):
        raise InputError(
            f"{path}: holds {type(contents).__name__} instead of named tensors. Expected the "
            "weights of an audio encoder; give a file that holds them and nothing else."
        )
    return contents
