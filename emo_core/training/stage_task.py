"""One stage as a task of the training loop: noise the frames, predict, compare.

Letters: N images (clips * frames), C channels, h and w of latents.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.emo import Networks
from ..models.vae import VAE
from ..sampling.schedule import make_scheduler
from ..video.stills import contact_sheet, save_image
from .feeding import Feeder, errors_of, film_rows, sample_frames
from .latents import LatentClips
from .stages import Stage, learning_parameters, rate_factor

SHOWN_CLIPS = 8
SHOWN_STEPS = 12


class StageTask:
    """Denoise clips of a data set under the conditions that a stage feeds."""

    def __init__(
        self, networks: Networks, stage: Stage, data: LatentClips, *, vae: VAE, num_clips: int
    ) -> None:
        self.networks = networks
        self.stage = stage
        self.feeder = Feeder(networks, stage, data)
        self.vae = vae
        self.num_clips = num_clips
        self.network: nn.Module = nn.ModuleDict(networks.parts())
        scheduler = make_scheduler(networks.config.diffusion, solver="ddim")
        self.alpha_bar = scheduler.alphas_cumprod.float()

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(learning_parameters(self.networks.parts(), self.stage))

    def rate_factor(self, name: str) -> float:
        return rate_factor(name, self.stage)

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.feeder.draw(generator, num_clips=self.num_clips)
        reading = self.feeder.read(batch, generator, is_dropping=True)
        conditions = self.feeder.prepare(self.networks.backbone, batch, reading)
        frames = batch.frames.flatten(0, 1)
        # Frames of a film share their noise level, single images do not.
        num_levels = len(batch.frames) if self.stage.is_temporal else len(frames)
        levels = torch.randint(len(self.alpha_bar), (num_levels,), generator=generator)
        levels = levels.to(frames.device)
        alpha_N = self.alpha_bar.to(frames.device)[levels].repeat_interleave(
            len(frames) // num_levels
        )
        signal, spread = (
            alpha_N.sqrt()[:, None, None, None],
            (1 - alpha_N).sqrt()[:, None, None, None],
        )
        noise = torch.randn(frames.shape, generator=generator).to(frames.device)
        noisy = signal * frames + spread * noise
        prediction = self.networks.backbone(noisy, levels, conditions).float()
        error = (prediction - (signal * noise - spread * frames)).square()
        return errors_of(
            error,
            batch,
            mouth_weight=self.stage.mouth_weight,
            face_weight=self.stage.face_weight,
        )

    def show(self, folder: Path, name: str) -> None:
        """Generate a few clips of the data set: reference, then true and generated frames."""
        generator = torch.Generator().manual_seed(1)
        batch = self.feeder.draw(generator, num_clips=SHOWN_CLIPS)
        reading = self.feeder.read(batch, generator, is_dropping=False)
        conditions = self.feeder.prepare(self.networks.backbone, batch, reading)
        frames = batch.frames.flatten(0, 1)
        made = sample_frames(
            self.networks, batch, conditions, generator, solver="dpm++2m", steps=SHOWN_STEPS
        )
        pictures = self.vae.decode(film_rows(batch, frames, made).cpu())
        save_image(contact_sheet(pictures, columns=9), folder / f"{name}.png")
