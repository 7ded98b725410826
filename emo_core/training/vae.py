"""Train the demo's VAE on crops of drawn frames.

TAESD's networks from scratch, without its teacher: absolute error of pixels, of their local means
and of their gradients, and noise on the latents so that the decoder forgives what a small backbone
gets wrong.
Convolutions do not care where they are, so crops of 64 pixels train networks for any size. A
decoder that goes on alone learns from a critic (`critic.py`) too, for edges as sharp as drawn ones.

Letters: N crops, H and W rows and columns.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import InputError
from ..models.vae import KLVAE, VAE
from ..video.stills import contact_sheet, save_image
from .clips import clip_paths, load_clip
from .critic import Critic, balance, gradient_length, hinge_losses
from .presets import LATENT_CHANNELS

logger = logging.getLogger(__name__)

CROP = 64
LATENT_NOISE = 0.06
GRADIENT_WEIGHT = 0.5
COLOR_GAIN = 3.0
"""Latents per unit of colour at the beginning: local means of 0..1 become -1.5..1.5."""
MEAN_SIZES = (4, 16)
"""Pixels over which local means are compared: colour is learned from these."""
MOUTH_SHARE = 0.4
"""Share of crops that hold the mouth, where the reader's eye rests."""
DECODER_MOUTH_SHARE = 0.75
"""The same while the decoder goes on alone; eyes lie within such a crop as well."""
CRITIC_WEIGHT = 0.3
"""Length of the critic's gradient in the decoder's last layer, over that of the other errors."""
CRITIC_FACTOR = 0.5
"""Rate of the critic's learning over the decoder's."""
CRITIC_WIDTHS, CRITIC_STRIDES = (48, 96, 128), (2, 2, 1)


class VAETask:
    """Reconstruct crops.

    Given a VAE to begin with, its encoder rests: the stages' data stay valid while the decoder
    goes on learning.
    """

    def __init__(
        self,
        clips_folder: Path,
        *,
        batch: int,
        frames_per_clip: int = 8,
        begin: VAE | None = None,
    ) -> None:
        self.is_encoder_learning = begin is None
        if begin is None:
            torch.manual_seed(0)
            begin = VAE(scale=1.0, latent_channels=LATENT_CHANNELS)
            initialise(begin)
        elif isinstance(begin, KLVAE):
            raise InputError(
                "train vae: the VAE to begin with is Stable Diffusion's. Expected one in TAESD's "
                "layout, such as this command makes; give that."
            )
        self.vae = begin
        parts: dict[str, nn.Module] = {"vae": self.vae}
        self.critic = None
        if not self.is_encoder_learning:
            self.critic = Critic(3, widths=CRITIC_WIDTHS, strides=CRITIC_STRIDES)
            parts["critic"] = self.critic
        self.network: nn.Module = nn.ModuleDict(parts)
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
        return {
            name: parameter
            for name, parameter in self.network.named_parameters()
            if self.is_encoder_learning or not name.startswith("vae.net.encoder.")
        }

    def rate_factor(self, name: str) -> float:
        return CRITIC_FACTOR if name.startswith("critic.") else 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        device = next(self.network.parameters()).device
        target = self._crops(generator).to(device) * 2.0 - 1.0
        latents = self.vae.net.encoder(target)
        spread = latents.float().std()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.vae.net.decoder(latents + LATENT_NOISE * noise).float()
        error = decoded - target
        pixel = error.abs().mean()
        gradient = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        means = sum(F.avg_pool2d(error, size).abs().mean() for size in MEAN_SIZES)
        # The decoder's clamp holds latents within 3; a standard deviation of 1 uses that range.
        loss = pixel + means + GRADIENT_WEIGHT * gradient + 0.02 * (spread - 1.0).square()
        scalars = {"pixel": pixel, "means": means, "spread": spread}
        if self.critic is None:
            return {"loss": loss, **scalars}
        of_critic, of_maker = hinge_losses(self.critic, target, decoded)
        last_weight = self.vae.net.decoder.layers[-1].weight
        lengths = (gradient_length(part, last_weight) for part in (loss, of_maker))
        factor = CRITIC_WEIGHT * balance(*lengths)
        total = loss + factor * of_maker + of_critic
        return {"loss": total, **scalars, "critic": of_critic, "factor": factor}

    def show(self, folder: Path, name: str) -> None:
        frames = self.frames_NHWC[:: max(1, len(self.frames_NHWC) // 8)][:8].float() / 255.0
        decoded = self.vae.decode(
            self.vae.encode(frames.to(next(self.network.parameters()).device))
        ).cpu()
        error = (decoded - frames).square().mean()
        logger.info("step %s: %.2f dB", name, float(-10.0 * error.log10()))
        save_image(contact_sheet(torch.cat([frames, decoded]), columns=8), folder / f"{name}.png")

    def _crops(self, generator: torch.Generator) -> Tensor:
        """Draw (N, 3, CROP, CROP) of 0..1."""
        pick = torch.randint(len(self.frames_NHWC), (self.batch,), generator=generator)
        height, width = self.frames_NHWC.shape[1:3]
        mouth_share = MOUTH_SHARE if self.is_encoder_learning else DECODER_MOUTH_SHARE
        crops = []
        for index in pick.tolist():
            top = int(torch.randint(height - CROP + 1, (1,), generator=generator))
            left = int(torch.randint(width - CROP + 1, (1,), generator=generator))
            if float(torch.rand(1, generator=generator)) < mouth_share:
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


def initialise(vae: VAE) -> None:
    """Begin as an autoencoder of local mean colours.

    Convolutions get He's initialisation, which keeps the size of signals through networks without
    norms, and the last one of a residual block next to nothing, so that every block begins as the
    identity. Along that path the first three channels carry red, green and blue, smoothed at
    every change of size, through the first three latents. So training begins with the colours in
    place and spends its time on shapes.
    """
    layers = [*vae.net.encoder.layers, *vae.net.decoder.layers]
    blocks = [layer for layer in layers if isinstance(layer, AutoencoderTinyBlock)]
    for conv in (module for module in vae.net.modules() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    for block in blocks:
        nn.init.normal_(block.conv[-1].weight, std=1e-3)
    path = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    into_latents = [layer for layer in vae.net.encoder.layers if isinstance(layer, nn.Conv2d)][-1]
    from_latents = vae.net.decoder.layers[0]
    smooth = torch.tensor([0.25, 0.5, 0.25])
    with torch.no_grad():
        path[-1].weight.mul_(0.1)
        for conv in path:
            conv.weight[:3] = 0.0
            for color in range(3):
                if conv.bias is None:
                    conv.weight[color, color] = torch.outer(smooth, smooth)
                else:
                    conv.weight[color, color, 1, 1] = 1.0
        into_latents.weight[:3] *= COLOR_GAIN
        into_latents.bias[:3] = -0.5 * COLOR_GAIN
        from_latents.weight[:3] /= COLOR_GAIN
        from_latents.bias[:3] = 0.5
