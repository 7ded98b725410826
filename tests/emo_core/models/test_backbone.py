"""What the backbone promises about its conditions, at toy size."""

import dataclasses

import pytest
import torch
from tiny import tiny_networks

from emo_core.checkpoints.emo import Networks
from emo_core.models.backbone import Weights
from emo_core.models.unet import Conditions

FRAMES = 4


def inputs(batch: int, *, size: tuple[int, int] = (8, 8), seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "latents": randn(batch, FRAMES, 4, *size),
        "reference": randn(batch, 4, *size),
        "motion": randn(batch, 2, 4, *size),
        "audio": randn(batch, FRAMES, 5, 2, 16),
        "speed": 60 * torch.rand(batch, FRAMES, 5, generator=generator),
        "region": torch.rand(batch, 1, 8 * size[0], 8 * size[1], generator=generator).round(),
    }


def prepare(networks: Networks, values: dict[str, torch.Tensor], **changes: object) -> Conditions:
    shared = {
        "reference": networks.reference_net(values["reference"]),
        "region_BCHW": values["region"],
    }
    arguments = {
        "num_frames": FRAMES,
        "like": values["latents"],
        "num_conditions": len(values["latents"]),
        "motion": networks.reference_net(values["motion"].flatten(0, 1)),
        "audio_windows_BFWLD": values["audio"],
        "speed_windows_BFW": values["speed"],
    }
    shared |= {name: changes.pop(name) for name in shared if name in changes}
    backbone = networks.backbone
    return backbone.prepare(backbone.share(**shared), **(arguments | changes))


def predict(networks: Networks, values: dict[str, torch.Tensor], **changes: object) -> torch.Tensor:
    conditions = prepare(networks, values, **changes)
    return networks.backbone(values["latents"].flatten(0, 1), torch.tensor(500), conditions)


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (7, 5)])
@torch.no_grad()
def test_batch_of_two_is_two_of_one(size: tuple[int, int]) -> None:
    networks = tiny_networks()
    both = inputs(2, size=size)
    whole = predict(networks, both).unflatten(0, (2, FRAMES))
    for row in range(2):
        one = {name: value[row : row + 1] for name, value in both.items()}
        assert torch.allclose(predict(networks, one), whole[row], atol=1e-5)


@pytest.mark.parametrize("name", ["reference", "motion", "audio", "speed", "region"])
@torch.no_grad()
def test_every_condition_matters(name: str) -> None:
    networks = tiny_networks()
    values = inputs(1)
    changed = values | {name: inputs(1, seed=2)[name]}
    assert (predict(networks, values) - predict(networks, changed)).abs().max() > 1e-4


@torch.no_grad()
def test_conditions_serve_every_step_unchanged() -> None:
    """Prepared once and used for many steps equals prepared afresh for each."""
    networks = tiny_networks()
    values = inputs(1)
    conditions = prepare(networks, values)
    for timestep in (999, 400, 0):
        latents = values["latents"].flatten(0, 1) * (timestep / 1000 + 0.1)
        kept = networks.backbone(latents, torch.tensor(timestep), conditions)
        fresh = networks.backbone(latents, torch.tensor(timestep), prepare(networks, values))
        assert torch.equal(kept, fresh)


@torch.no_grad()
def test_dropped_conditions_equal_zero_contexts() -> None:
    """The constant of a dropped condition is what attention over zeros computes."""
    networks = tiny_networks()
    values = inputs(2)
    nothing = torch.zeros(2, dtype=torch.bool)
    by_rows = predict(networks, values, is_reference_kept_B=nothing, is_audio_kept_B=nothing)
    unconditional = prepare(networks, values, reference=None, audio_windows_BFWLD=None)
    left_out = networks.backbone(values["latents"].flatten(0, 1), torch.tensor(500), unconditional)
    assert torch.allclose(by_rows, left_out, atol=1e-5)
    assert (left_out - predict(networks, values)).abs().max() > 1e-3


@torch.no_grad()
def test_dropping_one_row_leaves_the_other() -> None:
    networks = tiny_networks()
    values = inputs(2)
    kept = torch.tensor([True, False])
    whole = predict(networks, values).unflatten(0, (2, FRAMES))
    dropped = predict(networks, values, is_audio_kept_B=kept).unflatten(0, (2, FRAMES))
    assert torch.allclose(whole[0], dropped[0], atol=1e-6)
    assert (whole[1] - dropped[1]).abs().max() > 1e-4


@torch.no_grad()
def test_speed_weight_of_zero_is_the_model_without_speed() -> None:
    networks = tiny_networks()
    values = inputs(1)
    without = predict(networks, values, speed_windows_BFW=None)
    assert torch.equal(predict(networks, values, weights=Weights(speed=0.0)), without)


@torch.no_grad()
def test_no_motion_is_motion_of_zero_maps() -> None:
    networks = tiny_networks()
    values = inputs(1)
    features = networks.reference_net(values["motion"].flatten(0, 1))
    zeros = {name: torch.zeros_like(value) for name, value in features.items()}
    led_by_zeros = predict(networks, values, motion=zeros)
    assert torch.allclose(led_by_zeros, predict(networks, values, motion=None), atol=1e-5)


@torch.no_grad()
def test_single_images_know_nothing_of_each_other() -> None:
    networks = tiny_networks()
    values = inputs(1)
    changed = values | {"latents": values["latents"].clone()}
    changed["latents"][:, 1:] += 1.0
    still = {"motion": None, "speed_windows_BFW": None, "is_temporal": False}
    first = predict(networks, values, **still)[0]
    assert torch.allclose(first, predict(networks, changed, **still)[0], atol=1e-6)
    assert not torch.allclose(predict(networks, values)[0], predict(networks, changed)[0])


@torch.no_grad()
def test_bfloat16_stays_near_float32() -> None:
    networks = tiny_networks()
    values = inputs(1)
    exact = predict(networks, values)
    halved = dataclasses.replace(
        networks,
        backbone=networks.backbone.bfloat16(),
        reference_net=networks.reference_net.bfloat16(),
    )
    rough = predict(halved, {name: value.bfloat16() for name, value in values.items()})
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


def test_conditions_of_another_length_are_refused() -> None:
    networks = tiny_networks()
    values = inputs(1)
    values["audio"] = values["audio"][:, :3]
    with pytest.raises(ValueError, match="expected 1 conditions of 4 frames"):
        prepare(networks, values)


def test_conditions_move_as_a_whole() -> None:
    def tensors(value: object) -> list[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return [value]
        if dataclasses.is_dataclass(value):
            return tensors([getattr(value, f.name) for f in dataclasses.fields(value)])
        if isinstance(value, dict):
            return tensors(list(value.values()))
        if isinstance(value, (list, tuple)):
            return [found for part in value for found in tensors(part)]
        return []

    conditions = prepare(tiny_networks(), inputs(1))
    moved = tensors(conditions.to(torch.device("meta")))
    assert len(moved) == len(tensors(conditions)) > 30
    assert all(tensor.is_meta for tensor in moved)
    assert not any(tensor.is_meta for tensor in tensors(conditions))
    assert conditions.to(torch.device("meta")).num_frames == FRAMES
