"""A number for everything that shaped a result: the same inputs, the same number, on any day.

Values are hashed whole. Networks are not, since reading gigabytes would take longer than a clip:
of each of their tensors some values are, spread evenly, which any training, merging or conversion
changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..files.write import bytes_of

VALUES_PER_TENSOR = 64
"""Of a network's tensors, that are hashed."""


class Fingerprint:
    """SHA-256 over named values; names and kinds of values cannot be mistaken for each other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, name: str, value: object) -> Fingerprint:
        """Add None, a truth value, a number, a text, a tensor, or a sequence, mapping or dataclass
        of such.

        Raises:
            TypeError: of another kind, which could differ without being seen.
        """
        self._piece(f"name {name}")
        self._add(value)
        return self

    def copy(self) -> Fingerprint:
        """The same so far, to go on with in two ways."""
        other = Fingerprint()
        other._hash = self._hash.copy()
        return other

    def text(self) -> str:
        """64 hexadecimal digits."""
        return self._hash.hexdigest()

    def _add(self, value: object) -> None:
        if value is None or isinstance(value, (bool, int, str)):
            self._piece(f"{type(value).__name__} {value}")
        elif isinstance(value, float):
            self._piece(f"float {value.hex()}")
        elif isinstance(value, Tensor):
            self._add_tensor(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            self._piece(f"fields of {type(value).__name__}")
            for field in dataclasses.fields(value):
                self.add(field.name, getattr(value, field.name))
        elif isinstance(value, Mapping):
            self._piece(f"mapping of {len(value)}")
            for key in sorted(value):
                self.add(key, value[key])
        elif isinstance(value, (tuple, list)):
            self._piece(f"sequence of {len(value)}")
            for item in value:
                self._add(item)
        else:
            raise TypeError(f"{type(value).__name__} cannot be fingerprinted")

    def _add_tensor(self, value: Tensor) -> None:
        self._piece(f"tensor {value.dtype} {tuple(value.shape)}")
        self._hash.update(bytes_of(value))

    def _piece(self, text: str) -> None:
        data = text.encode()
        self._hash.update(len(data).to_bytes(8, "little") + data)


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return the fingerprint of a network's weights; values are read in places."""
    fingerprint = Fingerprint()
    for name, tensor in tensors.items():
        flat = tensor.detach().reshape(-1)
        count = min(len(flat), VALUES_PER_TENSOR)
        # In whole numbers: float32 cannot count to the end of a large tensor.
        places = torch.arange(count) * (len(flat) - 1) // max(count - 1, 1)
        fingerprint.add(name, tuple(tensor.shape))
        fingerprint.add(name, flat[places.to(flat.device)].float())
    return fingerprint.text()
