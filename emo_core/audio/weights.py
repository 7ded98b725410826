"""Weights of a published audio encoder, put into its network without a gap."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import InputError

MOST_LISTED = 20
"""Keys of one kind that a message lists."""


def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, name: str) -> None:
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
