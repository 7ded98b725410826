"""Path -> networks: the one door for checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from ..errors import InputError
from ..files.read import read_converted, read_tensors
from ..files.write import TensorSpec, write_safetensors
from ..models.vae import KLVAE, VAE, from_taesd_keys, to_taesd_keys
from .detect import vae_kind
from .emo import LICENSE, Networks, build_networks, check_fits
from .families import open_checkpoint
from .kl import kl_config, kl_names, with_linear_attention


def load_networks(path: Path, *, dtype: torch.dtype = torch.float32) -> Networks:
    """Load a model checkpoint of any family; every tensor must fit.

    Args:
        path: see `open_checkpoint`.
        dtype: of the weights in memory, whatever the file has.

    Raises:
        InputError: no such checkpoint, tensors missing or left over, or one of another shape.
    """
    checkpoint = open_checkpoint(path)
    with torch.device("meta"):
        networks = build_networks(checkpoint.config)
    for name, network in networks.parts().items():
        check_fits(network, checkpoint.views(name), name=f"{path}: {name}")
        network.load_state_dict(checkpoint.read(name, dtype=dtype), assign=True)
        network.requires_grad_(False).eval()
    return networks


def load_vae(path: Path, *, scale: float, dtype: torch.dtype = torch.float32) -> VAE:
    """Load a VAE: TAESD, or Stable Diffusion's in diffusers' or latent-diffusion's layout.

    Args:
        scale: factor from the VAE's latents to the networks'; the model's config has it.

    Raises:
        InputError: not such a VAE, or keys or shapes that do not fit.
    """
    file = read_tensors(path)
    kind = vae_kind(file)
    if kind == "taesd":
        new_names = from_taesd_keys({key: key for key in file.tensors})
        names = {old: new for new, old in new_names.items()}
        latent_channels = file.tensors["taesd_decoder.1.weight"].shape[1]
        with torch.device("meta"):
            vae = VAE(scale=scale, latent_channels=latent_channels)
    elif kind == "kl":
        names = kl_names(file.tensors)
        with torch.device("meta"):
            vae = KLVAE(AutoencoderKL(**kl_config(file, names)), scale=scale)
    else:
        raise InputError(
            f"{path}: not a VAE that this pack can load; expected a VAE in TAESD's layout (keys "
            "taesd_encoder.*, taesd_decoder.*) or Stable Diffusion's. Give the one that belongs to "
            "the checkpoint."
        )
    state = read_converted(file, names, dtype=dtype)
    if kind == "kl":
        state = with_linear_attention(state)
    check_fits(vae.net, state, name=str(path))
    vae.net.load_state_dict(state, assign=True)
    return vae.requires_grad_(False).eval()


def save_vae(vae: VAE, path: Path, *, dtype: torch.dtype, description: str = "") -> None:
    """Write a VAE in TAESD's or diffusers' layout, as ComfyUI's VAE loader reads it."""
    tensors = vae.net.state_dict()
    if not isinstance(vae, KLVAE):
        tensors = to_taesd_keys(tensors)
        # ComfyUI divides by vae_scale and adds vae_shift; the model's own scale is in its config.
        tensors |= {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    write_safetensors(
        path,
        ((key, value.to(dtype)) for key, value in tensors.items()),
        specs={key: TensorSpec(tuple(value.shape), dtype) for key, value in tensors.items()},
        metadata={"license": LICENSE, "description": description, "format": "pt"},
    )
