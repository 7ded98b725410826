"""Train the demo's VAE on crops of drawn frames.

TAESD's networks from scratch, without its teacher: absolute error of pixels and of their
gradients, and noise on the latents so that the decoder forgives what a small backbone gets wrong.
Convolutions do not care where they are, so crops of 64 pixels train networks for any size.

Letters: N crops, H and W rows and columns.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..models.vae import VAE
from ..video.stills import contact_sheet, save_image
from .clips import clip_paths, load_clip

logger = logging.getLogger(__name__)

CROP = 64
LATENT_NOISE = 0.06
GRADIENT_WEIGHT = 1.0
MOUTH_SHARE = 0.4
"""Share of crops that hold the mouth, where the reader's eye rests."""


class VAETask:
    """Reconstruct crops."""

    def __init__(self, clips_folder: Path, *, batch: int, frames_per_clip: int = 6) -> None:
        self.vae = VAE(scale=1.0)
        self.network: nn.Module = self.vae
        self.batch = batch
        frames, boxes = [], []
        for path in tqdm(clip_paths(clips_folder), desc="frames", unit="clip"):
            clip = load_clip(path)
            step = max(1, len(clip.frames) // frames_per_clip)
            frames.append(clip.frames[::step])
            boxes.append(clip.mouth_boxes[::step])
        self.frames_NHWC = torch.cat(frames)
        self.mouth_boxes_N4 = torch.cat(boxes)

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        target = self._crops(generator) * 2.0 - 1.0
        latents = self.vae.net.encoder(target)
        spread = latents.float().std()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.vae.net.decoder(latents + LATENT_NOISE * noise).float()
        error = decoded - target
        pixel = error.abs().mean()
        gradient = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        # The decoder's clamp holds latents within 3; a standard deviation of 1 uses that range.
        loss = pixel + GRADIENT_WEIGHT * gradient + 0.02 * (spread - 1.0).square()
        return {"loss": loss, "pixel": pixel, "gradient": gradient, "spread": spread}

    def show(self, folder: Path, name: str) -> None:
        frames = self.frames_NHWC[:: max(1, len(self.frames_NHWC) // 8)][:8].float() / 255.0
        with torch.no_grad():
            decoded = self.vae.decode(self.vae.encode(frames))
        error = (decoded - frames).square().mean()
        logger.info("step %s: %.2f dB", name, float(-10.0 * error.log10()))
        save_image(contact_sheet(torch.cat([frames, decoded]), columns=8), folder / f"{name}.png")

    def _crops(self, generator: torch.Generator) -> Tensor:
        """Draw (N, 3, CROP, CROP) of 0..1."""
        pick = torch.randint(len(self.frames_NHWC), (self.batch,), generator=generator)
        height, width = self.frames_NHWC.shape[1:3]
        crops = []
        for index in pick.tolist():
            top = int(torch.randint(height - CROP + 1, (1,), generator=generator))
            left = int(torch.randint(width - CROP + 1, (1,), generator=generator))
            if float(torch.rand(1, generator=generator)) < MOUTH_SHARE:
                x0, y0, x1, y1 = self.mouth_boxes_N4[index].tolist()
                left = round((x0 + x1) / 2 * width - CROP / 2) + left // 4 - width // 16
                top = round((y0 + y1) / 2 * height - CROP / 2) + top // 4 - height // 16
                left = min(max(left, 0), width - CROP)
                top = min(max(top, 0), height - CROP)
            crop = self.frames_NHWC[index, top : top + CROP, left : left + CROP]
            if float(torch.rand(1, generator=generator)) < 0.5:
                crop = crop.flip(1)
            crops.append(crop)
        return torch.stack(crops).movedim(-1, 1).float() / 255.0
