"""Checkpoint files: round trip, and everything that may be wrong with one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_networks

from emo_core.checkpoints.emo import CONFIG_KEY, save_emo
from emo_core.checkpoints.load import load_networks, load_vae, save_vae
from emo_core.config_json import config_from_json, config_to_json
from emo_core.errors import InputError
from emo_core.models.vae import VAE


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_emo(tiny_networks(), path, dtype=torch.float32, description="a toy")
    return path


def rewrite(path: Path, *, tensors: dict | None = None, config: dict | None = None) -> None:
    """Save the file again with some tensors or config fields replaced; None removes."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    kept = {k: v for k, v in (load_file(path) | (tensors or {})).items() if v is not None}
    if config is not None:
        metadata[CONFIG_KEY] = json.dumps(json.loads(metadata[CONFIG_KEY]) | config)
    save_file(kept, path, metadata=metadata)


def test_round_trip(checkpoint: Path) -> None:
    networks, original = load_networks(checkpoint), tiny_networks()
    assert networks.config == tiny_config()
    for prefix, network in original.parts().items():
        state = networks.parts()[prefix].state_dict()
        assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert not list(checkpoint.parent.glob(".*")), "a partial file was left"


def test_half_precision_file_loads_as_float32(tmp_path: Path) -> None:
    save_emo(tiny_networks(), tmp_path / "half.safetensors", dtype=torch.float16)
    networks = load_networks(tmp_path / "half.safetensors")
    assert {p.dtype for p in networks.backbone.parameters()} == {torch.float32}


def test_config_survives_json() -> None:
    config = tiny_config()
    assert config_from_json(config_to_json(config), source="test") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flavour": 1}, r"unknown fields \['flavour'\]"),
        ({"latent_scale": "big"}, r"config.latent_scale is 'big'; expected float"),
        ({"backbone": 3}, r"config.backbone is 3; expected the fields of BackboneConfig"),
    ],
)
def test_unfit_config(checkpoint: Path, change: dict, message: str) -> None:
    rewrite(checkpoint, config=change)
    with pytest.raises(InputError, match=message):
        load_networks(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"backbone.conv_out.bias": None}, r"backbone .* 1 keys missing \['conv_out.bias'\]"),
        ({"backbone.extra": torch.zeros(1)}, r"1 left over \['extra'\]"),
        ({"backbone.conv_out.bias": torch.zeros(7)}, r"conv_out.bias \(7,\) instead of \(4,\)"),
        ({"stray.weight": torch.zeros(1)}, r"keys begin with \['stray'\]"),
        ({"backbone.conv_in.weight": None}, r"not a checkpoint this pack can load"),
    ],
)
def test_keys_that_do_not_fit(checkpoint: Path, tensors: dict, message: str) -> None:
    rewrite(checkpoint, tensors=tensors)
    with pytest.raises(InputError, match=message):
        load_networks(checkpoint)


def test_config_dropped_from_the_metadata(checkpoint: Path) -> None:
    save_file(load_file(checkpoint), checkpoint)
    with pytest.raises(InputError, match="no 'emo_config' in its metadata"):
        load_networks(checkpoint)


@pytest.mark.parametrize("size", [0, 5, 2000, -1])
def test_truncated_file(checkpoint: Path, size: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_networks(checkpoint)


def test_missing_file_and_other_endings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_networks(tmp_path / "none.safetensors")
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ends in .png; expected .safetensors"):
        load_networks(tmp_path / "picture.png")


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "was-run"
    path = tmp_path / "model.pth"
    torch.save({"weight": Malicious(target)}, path)
    with pytest.raises(InputError, match="refused. A pickle may run any program"):
        load_networks(path)
    path.write_bytes(pickle.dumps(Malicious(target)))
    with pytest.raises(InputError, match="refused"):
        load_networks(path)
    assert not target.exists()


def test_pickle_of_tensors_of_no_known_family(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.bin")
    with pytest.raises(InputError, match="not a checkpoint this pack can load. It has 1 tensors"):
        load_networks(tmp_path / "model.bin")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds list instead of named tensors"):
        load_networks(tmp_path / "list.pt")


@torch.no_grad()
def test_vae_round_trip_in_taesd_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = VAE(scale=0.5, latent_channels=8)
    save_vae(vae, tmp_path / "vae.safetensors", dtype=torch.float32)
    keys = set(load_file(tmp_path / "vae.safetensors"))
    assert {"taesd_encoder.0.weight", "taesd_decoder.1.weight", "vae_scale", "vae_shift"} <= keys
    loaded = load_vae(tmp_path / "vae.safetensors", scale=0.5)
    images = torch.rand(2, 16, 24, 3)
    latents = loaded.encode(images)
    assert latents.shape == (2, 8, 2, 3)
    assert torch.equal(latents, vae.encode(images))
    assert torch.allclose(loaded.decode(latents, chunk=1), vae.decode(latents), atol=1e-6)


def test_files_in_each_others_place(checkpoint: Path, tmp_path: Path) -> None:
    save_vae(VAE(scale=1.0), tmp_path / "vae.safetensors", dtype=torch.float32)
    with pytest.raises(InputError, match="is a VAE; expected a model"):
        load_networks(tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match="expected a VAE in TAESD's layout"):
        load_vae(checkpoint, scale=1.0)


def test_vae_refuses_sizes_it_cannot_halve() -> None:
    with pytest.raises(InputError, match="20x16 pixels; both sides must be multiples of 8"):
        VAE(scale=1.0).encode(torch.rand(1, 16, 20, 3))
