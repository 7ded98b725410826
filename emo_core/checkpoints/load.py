"""Path -> networks: the one door for checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from ..errors import InputError
from ..models.vae import VAE, from_taesd_keys, to_taesd_keys
from .detect import detect_family
from .emo import LICENSE, Networks, load_emo
from .read import read_tensors


def load_networks(path: Path, *, dtype: torch.dtype = torch.float32) -> Networks:
    """Load a model checkpoint."""
    file = read_tensors(path)
    family = detect_family(file)
    if family != "emo":
        raise InputError(
            f"{path}: is of family {family}; expected a model checkpoint. Give that as --vae, "
            "and a model as --checkpoint."
        )
    return load_emo(file, dtype=dtype)


def load_vae(path: Path, *, scale: float, dtype: torch.dtype = torch.float32) -> VAE:
    """Load a VAE in TAESD's layout."""
    file = read_tensors(path)
    family = detect_family(file)
    if family != "taesd":
        raise InputError(
            f"{path}: is of family {family}; expected a VAE in TAESD's layout (keys "
            "taesd_encoder.*, taesd_decoder.*). Give the VAE that belongs to the checkpoint."
        )
    latent_channels = file.tensors["taesd_decoder.1.weight"].shape[1]
    vae = VAE(scale=scale, latent_channels=latent_channels).to(dtype)
    vae.net.load_state_dict(from_taesd_keys(file.tensors))
    return vae.requires_grad_(False).eval()


def save_vae(vae: VAE, path: Path, *, dtype: torch.dtype, description: str = "") -> None:
    """Write a VAE in TAESD's layout, as ComfyUI's VAE loader reads it."""
    tensors = {
        key: value.detach().to(dtype).contiguous()
        for key, value in to_taesd_keys(vae.net.state_dict()).items()
    }
    # ComfyUI divides by vae_scale and adds vae_shift; the model's own scale is in its config.
    tensors["vae_scale"] = torch.tensor(1.0, dtype=dtype)
    tensors["vae_shift"] = torch.tensor(0.0, dtype=dtype)
    metadata = {"license": LICENSE, "description": description, "format": "pt"}
    partial_path = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial_path, metadata=metadata)
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)
