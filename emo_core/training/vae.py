"""Train the demo's VAE on crops of drawn frames.

TAESD's networks from scratch, without its teacher: absolute error of pixels, of their local means
and of their gradients, and noise on the latents so that the decoder forgives what a small backbone
gets wrong.
Convolutions do not care where they are, so crops of 64 pixels train networks for any size. A VAE
that goes on learns from a critic (`critic.py`) too, for edges as sharp as drawn ones, and its
decoder may learn to mend a network's errors from what it guessed (`guesses.py`). Its encoder rests,
or learns too and holds its latents near those of before, so that a network made for these follows
after few lessons.

Letters: N crops, H and W rows and columns.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn
from tqdm import tqdm

from ..config import PIXELS_PER_LATENT
from ..errors import InputError
from ..models.vae import KLVAE, VAE
from ..video.stills import contact_sheet, save_image
from .balance import Sight, balance, gradient_length
from .clips import clip_paths, load_clip
from .critic import Critic, hinge_losses
from .guesses import Guesses
from .presets import LATENT_CHANNELS

logger = logging.getLogger(__name__)

CROP = 64
LATENT_NOISE = 0.06
HELD_LATENT_NOISE = 0.1
"""The same where latents are held: what is new in them has to be large enough for a network."""
HOLD = 0.03
"""Weight of the absolute change of held latents: few large changes rather than many small ones."""
GRADIENT_WEIGHT = 0.5
COLOR_GAIN = 3.0
"""Latents per unit of colour at the beginning: local means of 0..1 become -1.5..1.5."""
MEAN_SIZES = (4, 16)
"""Pixels over which local means are compared: colour is learned from these."""
MOUTH_SHARE = 0.4
"""Share of crops that hold the mouth, where the reader's eye rests."""
LATER_MOUTH_SHARE = 0.75
"""The same where a VAE goes on; eyes lie within such a crop as well."""
CRITIC_WEIGHT = 0.3
"""Length of a seeing critic's gradient in the decoder's last layer, over that of the other
errors."""
CRITIC_FACTOR = 0.5
"""Rate of the critic's learning over the decoder's."""
CRITIC_WIDTHS, CRITIC_STRIDES = (48, 96, 128), (2, 2, 1)
GUESSED_SHARE = 0.5
"""Share of a batch's crops whose latents a network made, where there are such."""
HELD_GUESSED_SHARE = 0.25
"""The same where the encoder learns too."""


class VAETask:
    """Reconstruct crops.

    Args:
        frames_per_clip: that are kept in memory; with guesses all are.
        begin: a VAE to go on with.
        is_encoder_resting: that of `begin`: what was encoded by it stays valid. Otherwise it learns
            too, and its latents are held near those of before.
        guesses: of the same clips, what a network made in latents of `begin`.
    """

    def __init__(
        self,
        clips_folder: Path,
        *,
        batch: int,
        frames_per_clip: int = 8,
        begin: VAE | None = None,
        is_encoder_resting: bool = True,
        guesses: Guesses | None = None,
    ) -> None:
        self.is_new = begin is None
        self.is_encoder_learning = self.is_new or not is_encoder_resting
        if self.is_new and guesses is not None:
            raise InputError(
                "train vae: --guesses are latents of a VAE that exists; expected it too. Give it "
                "as --decoder-of or --begin."
            )
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
        self.critic = self.encoder_before = None
        if not self.is_new:
            if self.is_encoder_learning:
                self.encoder_before = copy.deepcopy(begin.net.encoder).requires_grad_(False)
            self.sight = Sight()
            self.critic = Critic(3, widths=CRITIC_WIDTHS, strides=CRITIC_STRIDES)
            parts["critic"] = self.critic
        # Without group norms, which channels last would slow down on a processor.
        self.network: nn.Module = nn.ModuleDict(parts).to(memory_format=torch.channels_last)
        self.batch = batch
        frames, boxes = [], []
        for path in tqdm(clip_paths(clips_folder), desc="frames", unit="clip"):
            clip = load_clip(path)
            step = 1 if guesses is not None else max(1, len(clip.frames) // frames_per_clip)
            frames.append(clip.frames[::step])
            boxes.append(clip.mouth_boxes[::step])
        self.frames_NHWC = torch.cat(frames)
        self.mouth_boxes_N4 = torch.cat(boxes)
        self.num_guessed = 0
        if guesses is not None:
            self.num_guessed = round(
                (HELD_GUESSED_SHARE if self.is_encoder_learning else GUESSED_SHARE) * batch
            )
            num_clips = int(guesses.clip.max()) + 1
            if len(frames) < num_clips:
                raise InputError(
                    f"{clips_folder}: {len(frames)} clips; the guesses are of at least "
                    f"{num_clips}. Give the clips that they were made from."
                )
            self.guessed_KChw = guesses.latents.float()
            self.guessed_frame_K = guesses.clip * len(frames[0]) + guesses.frame

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
        target = self._crops(generator, num=self.batch - self.num_guessed).to(device) * 2.0 - 1.0
        latents = self.vae.net.encoder(target)
        scalars, of_latents = {}, 0.0
        if self.is_new:
            # The decoder's clamp holds latents within 3; a standard deviation of 1 uses that range.
            scalars["spread"] = latents.float().std()
            of_latents = 0.02 * (scalars["spread"] - 1.0).square()
        elif self.encoder_before is not None:
            with torch.no_grad():
                before = self.encoder_before.to(device)(target)
            scalars["moved"] = (latents.float() - before.float()).abs().mean()
            of_latents = HOLD * scalars["moved"]
        if self.num_guessed:
            guessed, meant = self._guessed_crops(generator)
            latents = torch.cat([latents, guessed.to(latents)])
            target = torch.cat([target, meant.to(target) * 2.0 - 1.0])
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        amount = LATENT_NOISE if self.encoder_before is None else HELD_LATENT_NOISE
        decoded = self.vae.net.decoder(latents + amount * noise).float()
        error = decoded - target
        scalars["pixel"] = error.abs().mean()
        gradient = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        scalars["means"] = sum(F.avg_pool2d(error, size).abs().mean() for size in MEAN_SIZES)
        loss = scalars["pixel"] + scalars["means"] + GRADIENT_WEIGHT * gradient
        if self.critic is None:
            return {"loss": loss + of_latents, **scalars}
        of_critic, of_maker = hinge_losses(self.critic, target, decoded)
        last_weight = self.vae.net.decoder.layers[-1].weight
        lengths = (gradient_length(part, last_weight) for part in (loss, of_maker))
        factor = self.sight.after(of_critic) * CRITIC_WEIGHT * balance(*lengths)
        total = loss + factor * of_maker + of_critic + of_latents
        return {"loss": total, **scalars, "critic": of_critic, "factor": factor}

    def show(self, folder: Path, name: str) -> None:
        frames = self.frames_NHWC[:: max(1, len(self.frames_NHWC) // 8)][:8].float() / 255.0
        decoded = self.vae.decode(
            self.vae.encode(frames.to(next(self.network.parameters()).device))
        ).cpu()
        error = (decoded - frames).square().mean()
        logger.info("step %s: %.2f dB", name, float(-10.0 * error.log10()))
        save_image(contact_sheet(torch.cat([frames, decoded]), columns=8), folder / f"{name}.png")

    def _crops(self, generator: torch.Generator, *, num: int) -> Tensor:
        """Draw (N, 3, CROP, CROP) of 0..1."""
        crops = []
        for index in torch.randint(len(self.frames_NHWC), (num,), generator=generator).tolist():
            top, left = self._place(index, generator)
            crop = self.frames_NHWC[index, top : top + CROP, left : left + CROP]
            if float(torch.rand(1, generator=generator)) < 0.5:
                crop = crop.flip(1)
            crops.append(crop)
        return torch.stack(crops).movedim(-1, 1).float() / 255.0

    def _guessed_crops(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw latents (N, C, h, w) that a network made, and the crops that they mean."""
        pick = torch.randint(len(self.guessed_KChw), (self.num_guessed,), generator=generator)
        size = CROP // PIXELS_PER_LATENT
        latents, crops = [], []
        for guess in pick.tolist():
            index = int(self.guessed_frame_K[guess])
            row, column = (place // PIXELS_PER_LATENT for place in self._place(index, generator))
            latents.append(self.guessed_KChw[guess, :, row : row + size, column : column + size])
            top, left = row * PIXELS_PER_LATENT, column * PIXELS_PER_LATENT
            crops.append(self.frames_NHWC[index, top : top + CROP, left : left + CROP])
        return torch.stack(latents), torch.stack(crops).movedim(-1, 1).float() / 255.0

    def _place(self, index: int, generator: torch.Generator) -> tuple[int, int]:
        """Draw the upper left corner of a crop of a frame, often one that holds the mouth."""
        height, width = self.frames_NHWC.shape[1:3]
        top = int(torch.randint(height - CROP + 1, (1,), generator=generator))
        left = int(torch.randint(width - CROP + 1, (1,), generator=generator))
        mouth_share = MOUTH_SHARE if self.is_new else LATER_MOUTH_SHARE
        if float(torch.rand(1, generator=generator)) < mouth_share:
            x0, y0, x1, y1 = self.mouth_boxes_N4[index].tolist()
            left = round((x0 + x1) / 2 * width - CROP / 2) + left // 4 - width // 16
            top = round((y0 + y1) / 2 * height - CROP / 2) + top // 4 - height // 16
            left = min(max(left, 0), width - CROP)
            top = min(max(top, 0), height - CROP)
        return top, left


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
