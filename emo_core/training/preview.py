"""Latents -> rough colours: what a sampler shows while it works.

A latent pixel covers 8x8 pixels of the picture; their mean colour is, to a good part, a linear
function of the latent's channels, which least squares finds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..config import PIXELS_PER_LATENT, LatentPreview
from ..models.vae import VAE
from .latents import LatentClips


@torch.no_grad()
def fit_preview(data: LatentClips, vae: VAE, *, num_frames: int = 96) -> LatentPreview:
    """Fit colours of -1..1 to latents, on frames spread over the data."""
    indices = torch.linspace(0, len(data.latents) - 1, num_frames).long()
    latents = data.latents[indices, 0].float()
    pictures = vae.decode(latents).movedim(-1, 1) * 2.0 - 1.0
    colours = functional.avg_pool2d(pictures, PIXELS_PER_LATENT)
    known = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)
    solution = torch.linalg.lstsq(_rows(known), _rows(colours)).solution
    *factors, bias = (tuple(round(v, 5) for v in row) for row in solution.tolist())
    return LatentPreview(factors=tuple(factors), bias=bias)


def _rows(images_NCHW: Tensor) -> Tensor:
    """One row per pixel, in float64."""
    return images_NCHW.movedim(1, -1).flatten(0, 2).double()
