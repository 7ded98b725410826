"""One stage as a task of the training loop: noise the frames, predict, compare.

Letters: B clips, F frames, N images (B * F), M motion frames, h and w of latents.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.emo import Networks
from ..errors import InputError
from ..models.unet import Conditions
from ..models.vae import VAE
from ..sampling.schedule import make_scheduler, set_steps
from ..video.stills import contact_sheet, save_image
from .latents import Batch, LatentClips, draw_batch
from .stages import Stage, learning_parameters, rate_factor

SHOWN_CLIPS = 8
SHOWN_STEPS = 12


class StageTask:
    """Denoise clips of a data set under the conditions that a stage feeds."""

    def __init__(
        self, networks: Networks, stage: Stage, data: LatentClips, *, vae: VAE, num_clips: int
    ) -> None:
        temporal = networks.config.backbone.temporal
        self.num_motion = temporal.num_motion_frames if stage.is_temporal else 0
        needed, found = stage.num_frames + self.num_motion, data.latents.shape[1]
        if found < needed:
            raise InputError(
                f"stage {stage.name!r}: the data's clips have {found} frames; it needs {needed} "
                f"({self.num_motion} motion frames, {stage.num_frames} new ones). Make longer "
                "clips."
            )
        self.networks = networks
        self.stage = stage
        self.data = data
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
        batch = self._draw(generator, num_clips=self.num_clips)
        conditions = self._prepare(batch, generator, is_dropping=True)
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
        noisy = _packed(signal * frames + spread * noise)
        prediction = self.networks.backbone(noisy, levels, conditions).float()
        error = (prediction - (signal * noise - spread * frames)).square()
        weight = 1.0 + self.stage.mouth_weight * batch.mouth.flatten(0, 1)
        return {
            "loss": (error * weight).mean() / weight.mean(),
            "plain": error.mean(),
            "mouth": (error * batch.mouth.flatten(0, 1)).sum()
            / (batch.mouth.sum() * error.shape[1]).clamp(min=1.0),
        }

    def show(self, folder: Path, name: str) -> None:
        """Generate a few clips of the data set: reference, then true and generated frames."""
        generator = torch.Generator().manual_seed(1)
        batch = self._draw(generator, num_clips=SHOWN_CLIPS)
        conditions = self._prepare(batch, generator, is_dropping=False)
        scheduler = make_scheduler(self.networks.config.diffusion, solver="dpm++2m")
        set_steps(scheduler, SHOWN_STEPS)
        latents = torch.randn(batch.frames.flatten(0, 1).shape, generator=generator)
        latents = latents.to(batch.frames.device)
        for timestep in scheduler.timesteps:
            timestep = timestep.to(latents.device)
            prediction = self.networks.backbone(latents, timestep, conditions)
            latents = scheduler.step(prediction.float(), timestep, latents).prev_sample
        rows = []
        made = latents.unflatten(0, batch.frames.shape[:2])
        step = max(1, batch.frames.shape[1] // 4)
        for index in range(SHOWN_CLIPS):
            picked = [batch.reference[index, None], batch.frames[index, ::step][:4]]
            rows.append(torch.cat([*picked, made[index, ::step][:4]]))
        pictures = self.vae.decode(torch.cat(rows).cpu())
        save_image(contact_sheet(pictures, columns=9), folder / f"{name}.png")

    def _draw(self, generator: torch.Generator, *, num_clips: int) -> Batch:
        batch = draw_batch(
            self.data,
            generator,
            num_clips=num_clips,
            num_frames=self.stage.num_frames,
            num_motion=self.num_motion,
            is_consecutive=self.stage.is_temporal,
            window_margin=self.networks.config.backbone.audio.window_margin,
        )
        return batch.to(next(self.network.parameters()).device)

    def _prepare(
        self, batch: Batch, generator: torch.Generator, *, is_dropping: bool
    ) -> Conditions:
        stage = self.stage
        num_clips, num_frames = batch.frames.shape[:2]
        keeps_reference = keeps_audio = None
        speed_windows = batch.speed_windows if stage.is_speed_fed else None
        if is_dropping:
            if float(torch.rand(1, generator=generator)) < stage.speed_dropout:
                speed_windows = None
            chance = torch.rand(num_clips, generator=generator).to(batch.frames.device)
            keeps_reference = chance >= stage.reference_dropout
            keeps_audio = chance >= stage.reference_dropout + stage.audio_dropout
        reference = self.networks.reference_net(_packed(batch.reference))
        motion = None
        if stage.is_temporal:
            noise = torch.randn(batch.motion.shape, generator=generator).to(batch.motion)
            seen = batch.motion + (stage.motion_noise if is_dropping else 0.0) * noise
            motion = self.networks.reference_net(_packed(seen.flatten(0, 1)))
            begins_film = torch.rand(num_clips, generator=generator) < stage.motion_dropout
            keep = (~begins_film).to(noise).repeat_interleave(batch.motion.shape[1])
            motion = {name: value * keep[:, None, None] for name, value in motion.items()}
        backbone = self.networks.backbone
        return backbone.prepare(
            backbone.share(reference=reference, region_BCHW=batch.region),
            num_frames=num_frames,
            like=batch.frames,
            num_conditions=num_clips,
            motion=motion,
            audio_windows_BFWLD=batch.audio_windows if stage.is_audio_fed else None,
            speed_windows_BFW=speed_windows,
            is_temporal=stage.is_temporal,
            is_reference_kept_B=keeps_reference,
            is_audio_kept_B=keeps_audio,
        )


def _packed(images_NCHW: Tensor) -> Tensor:
    """Channels last, which convolutions on a CPU prefer."""
    return images_NCHW.contiguous(memory_format=torch.channels_last)
