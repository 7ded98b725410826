"""Stable Diffusion's VAE: the numbers of the parity kits, every layout, and what does not fit."""

import json
import re
import runpy
import zlib
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo_core.checkpoints.load import load_networks, load_vae, save_vae
from emo_core.errors import InputError
from emo_core.models.vae import KLVAE, VAE

KITS = Path(__file__).resolve().parents[2] / "parity"
VAE_FILE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
SCALE = 0.18215

weight = runpy.run_path(str(KITS / "weights.py"))["weight"]


def kit_state(kit: Path) -> dict[str, Tensor]:
    """The VAE's weights of a kit, without the rest of it."""
    config = json.loads((kit / "config.json").read_text())
    assert config["salt_by_file"]
    seed = config["seed"] ^ zlib.crc32(VAE_FILE.encode())
    entries = json.loads((kit / "keys.json").read_text())[VAE_FILE]
    return {key: torch.from_numpy(weight(key, shape, seed)) for key, shape in entries}


@pytest.mark.parametrize(
    ("name", "picture"),
    [("echomimic", "face_image_rgb"), ("vexpress", "reference_image_rgb")],
)
@torch.no_grad()
def test_numbers_of_the_upstream_pipelines(name: str, picture: str, tmp_path: Path) -> None:
    kit = KITS / name
    save_file(kit_state(kit), tmp_path / "vae.safetensors")
    vae = load_vae(tmp_path / "vae.safetensors", scale=SCALE)
    tensors = load_file(kit / "inputs.safetensors") | load_file(kit / "expected.safetensors")
    latents = vae.encode(tensors[picture][None] / 255.0)
    assert (latents - tensors["ref_latents"]).abs().max() < 1e-4
    stored = json.loads((kit / "config.json").read_text())["video_frames_stored"]
    frames = vae.decode(tensors["loop_latents_final"][0, :, stored].movedim(1, 0))
    assert (frames - tensors["video_frames"].movedim(1, -1)).abs().max() < 1e-4


@pytest.fixture(scope="module")
def net() -> AutoencoderKL:
    """Blocks of different widths, so that there are shortcuts."""
    torch.manual_seed(0)
    return AutoencoderKL(**NET_CONFIG).requires_grad_(False).eval()


NET_CONFIG = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 64, 64, 96),
    "layers_per_block": 2,
    "latent_channels": 4,
}


def older_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As diffusers named the attention before 0.18."""
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    pattern = re.compile(r"(attentions\.0)\.(to_q|to_k|to_v|to_out\.0)\.")
    return {pattern.sub(lambda m: f"{m[1]}.{older[m[2]]}.", k): v for k, v in state.items()}


def latent_diffusion_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As CompVis named everything; attention weights become 1 x 1 convolutions."""
    attention = {
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    }
    rules = [
        (r"down_blocks\.(\d)\.resnets", lambda m: f"down.{m[1]}.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", lambda m: f"down.{m[1]}.downsample"),
        (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (
            r"mid_block\.attentions\.0\.(group_norm|to_q|to_k|to_v|to_out\.0)",
            lambda m: f"mid.attn_1.{attention[m[1]]}",
        ),
        ("conv_shortcut", lambda m: "nin_shortcut"),
        ("conv_norm_out", lambda m: "norm_out"),
    ]
    renamed = {}
    for key, value in state.items():
        if "attentions.0.to_" in key and value.ndim == 2:
            value = value[:, :, None, None]
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def test_latent_diffusion_names_are_those_that_diffusers_converts(net: AutoencoderKL) -> None:
    state = net.state_dict()
    there = latent_diffusion_names(state)
    assert "decoder.up.3.block.0.nin_shortcut.weight" not in there
    back = convert_ldm_vae_checkpoint(dict(there), NET_CONFIG)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
@pytest.mark.parametrize("names", [dict, older_names, latent_diffusion_names])
@torch.no_grad()
def test_layouts(net: AutoencoderKL, names: object, prefix: str, tmp_path: Path) -> None:
    state = {prefix + key: value for key, value in names(net.state_dict()).items()}
    if prefix:
        state["model.diffusion_model.out.weight"] = torch.zeros(3)
    else:
        state |= {"loss.logvar": torch.zeros(()), "model_ema.num_updates": torch.zeros(1).long()}
    torch.save({"state_dict": state, "global_step": 7}, tmp_path / "vae.ckpt")
    vae = load_vae(tmp_path / "vae.ckpt", scale=SCALE)
    loaded = vae.net.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in vae.parameters())
    latents = vae.encode(torch.rand(2, 16, 24, 3))
    assert latents.shape == (2, 4, 2, 3)
    assert vae.decode(latents).shape == (2, 16, 24, 3)


@torch.no_grad()
def test_chunks_make_no_difference_and_one_is_the_default(net: AutoencoderKL) -> None:
    vae = KLVAE(net, scale=SCALE)
    seen = []
    hook = net.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    latents = torch.randn(5, 4, 2, 2)
    one, three = vae.decode(latents), vae.decode(latents, chunk=3)
    hook.remove()
    assert seen == [1, 1, 1, 1, 1, 3, 2]
    # Convolutions of another batch may sum in another order.
    assert torch.allclose(one, three, atol=1e-5)
    assert one.dtype == torch.float32 and 0.0 <= one.min() and one.max() <= 1.0


@torch.no_grad()
def test_half_precision_and_what_save_vae_writes(net: AutoencoderKL, tmp_path: Path) -> None:
    save_vae(KLVAE(net, scale=SCALE), tmp_path / "vae.safetensors", dtype=torch.float16)
    assert load_file(tmp_path / "vae.safetensors").keys() == net.state_dict().keys()
    vae = load_vae(tmp_path / "vae.safetensors", scale=SCALE, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in vae.parameters()} == {torch.bfloat16}
    latents = vae.encode(torch.rand(1, 16, 16, 3))
    assert latents.dtype == torch.bfloat16
    assert vae.decode(latents).dtype == torch.float32


@pytest.mark.parametrize("has_convs", [True, False])
@torch.no_grad()
def test_sixteen_channels_without_outer_convolutions(has_convs: bool, tmp_path: Path) -> None:
    config = NET_CONFIG | {"latent_channels": 16, "layers_per_block": 1}
    net = AutoencoderKL(**config, use_quant_conv=has_convs, use_post_quant_conv=has_convs)
    save_file(net.state_dict(), tmp_path / "vae.safetensors")
    vae = load_vae(tmp_path / "vae.safetensors", scale=1.0)
    assert vae.encode(torch.rand(1, 8, 8, 3)).shape == (1, 16, 1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.conv_out.bias": None}, r"1 keys missing \['encoder.conv_out.bias'\]"),
        ({"encoder.extra": torch.zeros(1)}, r"1 left over \['encoder.extra'\]"),
        ({"decoder.conv_out.bias": torch.zeros(5)}, r"conv_out.bias \(5,\) instead of \(3,\)"),
        ({"encoder.conv_in.weight": torch.zeros(32, 4, 3, 3)}, "three colours"),
        ({"decoder.conv_in.weight": torch.zeros(96, 4, 3, 3, 3)}, "not a VAE for pictures"),
        ({"decoder.conv_in.weight": None}, "this pack can load"),
        (
            {"encoder.down_blocks.1.resnets.0.conv1.weight": torch.zeros(40, 32, 3, 3)},
            r"widths \[32, 40, 64, 96\].*expected 8 pixels and multiples of 32",
        ),
        (
            {"encoder.down_blocks.3.resnets.0.conv1.weight": None},
            r"widths \[32, 64, 64\], 4 pixels to a latent",
        ),
        (
            {"encoder.down_blocks.2.resnets.0.conv1.weight": torch.tensor(1.0)},
            "expected 8 pixels and multiples of 32",
        ),
    ],
)
def test_keys_and_shapes_that_do_not_fit(
    net: AutoencoderKL, change: dict, message: str, tmp_path: Path
) -> None:
    state = {k: v for k, v in (net.state_dict() | change).items() if v is not None}
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match=message):
        load_vae(tmp_path / "vae.safetensors", scale=SCALE)


def test_in_place_of_a_model_and_odd_sizes(net: AutoencoderKL, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match="expected a model"):
        load_networks(tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match="20x16 pixels; both sides must be multiples of 8"):
        KLVAE(net, scale=SCALE).encode(torch.rand(1, 16, 20, 3))


def test_taesd_files_are_strict_too(tmp_path: Path) -> None:
    save_vae(VAE(scale=1.0), tmp_path / "vae.safetensors", dtype=torch.float32)
    state = load_file(tmp_path / "vae.safetensors")
    del state["taesd_decoder.1.bias"]
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match=r"1 keys missing \['decoder.layers.0.bias'\]"):
        load_vae(tmp_path / "vae.safetensors", scale=1.0)
