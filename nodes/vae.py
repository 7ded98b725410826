"""ComfyUI's VAE, checked: one of another kind would give noise or a puzzling error."""

from __future__ import annotations

from comfy.sd import VAE

from ..emo_core.config import PIXELS_PER_LATENT
from ..emo_core.errors import InputError


def check_vae(vae: VAE, *, latent_channels: int, node: str) -> None:
    """Compare a VAE with the latents it is to make or to read.

    Raises:
        InputError: names `node`; a video VAE, another number of channels, another scale.
    """
    cure = "Load the VAE that belongs to the checkpoint; the demo's is emo_demo_vae.safetensors."
    if vae.latent_dim != 2:
        raise InputError(f"{node}: the VAE is for video or sound. Expected one for images. {cure}")
    if vae.latent_channels != latent_channels:
        raise InputError(
            f"{node}: the VAE has {vae.latent_channels} latent channels, expected "
            f"{latent_channels}. {cure}"
        )
    scale = vae.spacial_compression_encode()
    if scale != PIXELS_PER_LATENT:
        raise InputError(
            f"{node}: the VAE makes one latent of {scale}x{scale} pixels, expected "
            f"{PIXELS_PER_LATENT}x{PIXELS_PER_LATENT}. {cure}"
        )
