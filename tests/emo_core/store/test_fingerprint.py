"""Fingerprints: equal for equal inputs, different for everything else."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from emo_core.store.fingerprint import Fingerprint, tensors_fingerprint


@dataclass
class Pair:
    first: int
    second: object


def of(value: object, name: str = "x") -> str:
    return Fingerprint().add(name, value).text()


VALUES = [
    None,
    False,
    0,
    0.0,
    "0",
    "",
    1,
    True,
    1.0,
    (1, 2),
    (1, (2,)),
    ((1,), 2),
    {"a": 1},
    {"a": 2},
    {"b": 1},
    Pair(1, None),
    Pair(1, 2),
    torch.zeros(2),
    torch.zeros(2, 1),
    torch.zeros(2, dtype=torch.float16),
    torch.tensor([0.0, 1e-30]),
    torch.zeros(0),
    torch.tensor(0.0),
]


def test_every_value_has_its_own() -> None:
    assert len({of(value) for value in VALUES}) == len(VALUES)
    assert of(1, "a") != of(1, "b")
    together = Fingerprint().add("a", "b").add("c", "d").text()
    assert together != Fingerprint().add("a", "bc").add("", "d").text()


def test_equal_inputs_are_equal() -> None:
    tensor = torch.randn(3, 4)
    assert of(tensor) == of(tensor.clone()) == of(tensor.t().contiguous().t())
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1})
    assert of([1, 2]) == of((1, 2))


def test_a_copy_goes_its_own_way() -> None:
    one = Fingerprint().add("a", 1)
    other = one.copy().add("b", 2)
    assert one.text() == of(1, "a") != other.text()


def test_what_could_differ_unseen_is_refused() -> None:
    for value in (object(), {1, 2}, Path("x"), lambda: None):
        with pytest.raises(TypeError, match="cannot be fingerprinted"):
            of(value)


def test_networks() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.LayerNorm(40))
    before = tensors_fingerprint(network.state_dict())
    assert tensors_fingerprint(network.state_dict()) == before
    with torch.no_grad():
        network[0].weight.mul_(1.0001)
    changed = tensors_fingerprint(network.state_dict())
    assert changed != before
    with torch.no_grad():
        network[1].bias.add_(1e-3)
    assert tensors_fingerprint(network.state_dict()) not in (before, changed)


def test_large_tensors_are_read_to_their_last_value() -> None:
    """float32 has no number between 23592958 and 23592960."""
    large = torch.zeros(23592960, dtype=torch.int8)
    before = tensors_fingerprint({"x": large})
    large[-1] = 1
    assert tensors_fingerprint({"x": large}) != before
    for count in (0, 1, 2, 63, 64, 65):
        tensors_fingerprint({"x": torch.zeros(count)})
