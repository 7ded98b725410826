"""The VAEs between pixels and latents, with their scale in one place.

`VAE` is TAESD: diffusers' `AutoencoderTiny`, in files with the key names of
github.com/madebyollin/taesd, which ComfyUI's VAE loader knows. TAESD counts the clamp in front of
the decoder as a layer, diffusers does not, hence the shift by one. `KLVAE` is Stable Diffusion's:
diffusers' `AutoencoderKL`, whose key names are in `checkpoints/kl.py`.

Letters: N images, C latent channels, H and W rows and columns of pixels, h and w of latents.
"""

from __future__ import annotations

import re
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from ..config import PIXELS_PER_LATENT
from ..errors import InputError

T = TypeVar("T")


class VAE(nn.Module):
    """Pixels of 0..1 <-> latents as the networks see them."""

    def __init__(
        self, *, scale: float, latent_channels: int = 4, net: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.net = AutoencoderTiny(latent_channels=latent_channels) if net is None else net

    @property
    def latent_channels(self) -> int:
        return self.net.config.latent_channels

    def encode(self, images_NHWC: Tensor, *, chunk: int = 16) -> Tensor:
        """Return (N, channels, H / 8, W / 8), in the dtype of the weights, `chunk` at a time."""
        height, width = images_NHWC.shape[1:3]
        if height % PIXELS_PER_LATENT or width % PIXELS_PER_LATENT:
            raise InputError(
                f"VAE: pictures of {width}x{height} pixels; both sides must be multiples of "
                f"{PIXELS_PER_LATENT}. Choose such a size."
            )
        parts = [
            self._to_latents((part.movedim(-1, 1).float() * 2.0 - 1.0).to(self._dtype()))
            for part in images_NHWC.split(chunk)
        ]
        return torch.cat(parts) * self.scale

    def decode(self, latents_NChw: Tensor, *, chunk: int = 16) -> Tensor:
        """Return (N, H, W, 3) float32 of 0..1, decoding `chunk` images at a time."""
        parts = [
            (self._to_pixels(part.to(self._dtype()) / self.scale).float() * 0.5 + 0.5)
            .clamp(0.0, 1.0)
            .movedim(1, -1)
            for part in latents_NChw.split(chunk)
        ]
        return torch.cat(parts)

    def _to_latents(self, pixels_N3HW: Tensor) -> Tensor:
        return self.net.encoder(pixels_N3HW)

    def _to_pixels(self, latents_NChw: Tensor) -> Tensor:
        return self.net.decoder(latents_NChw)

    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype


class KLVAE(VAE):
    """The VAE of Stable Diffusion; latents are the posterior's mean, so nothing is random.

    Decoding an image of 512 x 512 in float32 takes 1 GB for a moment, four times what TAESD takes:
    images go through one at a time unless a larger chunk is asked for.
    """

    def __init__(self, net: AutoencoderKL, *, scale: float) -> None:
        super().__init__(scale=scale, net=net)

    def decode(self, latents_NChw: Tensor, *, chunk: int = 1) -> Tensor:
        """Return (N, H, W, 3) float32 of 0..1, decoding `chunk` images at a time."""
        return super().decode(latents_NChw, chunk=chunk)

    def _to_latents(self, pixels_N3HW: Tensor) -> Tensor:
        means = [self.net.encode(image).latent_dist.mode() for image in pixels_N3HW.split(1)]
        return torch.cat(means)

    def _to_pixels(self, latents_NChw: Tensor) -> Tensor:
        return self.net.decode(latents_NChw).sample


def to_taesd_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of `VAE.net` to TAESD's."""
    renamed = {}
    for key, value in state.items():
        part, index, rest = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)", key).groups()
        shift = 1 if part == "decoder" else 0
        renamed[f"taesd_{part}.{int(index) + shift}.{rest}"] = value
    return renamed


def from_taesd_keys(state: dict[str, T]) -> dict[str, T]:
    """Rename TAESD's keys to those of `VAE.net`; keys of neither network are left out."""
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"taesd_(encoder|decoder)\.(\d+)\.(.+)", key)
        if match is None:
            continue
        part, index, rest = match.groups()
        shift = 1 if part == "decoder" else 0
        renamed[f"{part}.layers.{int(index) - shift}.{rest}"] = value
    return renamed
