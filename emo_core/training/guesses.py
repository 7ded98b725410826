"""What a network makes of true frames, as lessons for the decoder of its VAE.

A decoder that has seen only what the encoder makes paints a network's small errors as they are. It
can mend many of them, since it knows what eyes and lips look like; for that it needs latents with
such errors, and the frames that they should have become. They come from the last steps of a
sampler, which begin with true frames under noise, so that pose and mouth are those of the truth.

Letters: K guesses, B clips, F frames, C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import SchedulerMixin
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.emo import Networks
from ..errors import InputError
from ..precision import is_half_slow
from ..sampling.schedule import make_scheduler, set_steps
from .adversary import adversarial_stage
from .feeding import Feeder
from .latents import Batch, LatentClips

NUM_GUESSED_STEPS = 2
"""Of the sampler's last ones."""
CLIPS_OF_A_BATCH = 4


@dataclass(frozen=True)
class Guesses:
    """Latents that a network made."""

    latents: Tensor
    """float16 [K, C, h, w], as the VAE itself knows them."""
    clip: Tensor
    """int64 [K]: which clips of the data,"""
    frame: Tensor
    """int64 [K]: and which of their frames they should be."""

    def save(self, path: Path) -> None:
        save_file({name: value.contiguous() for name, value in vars(self).items()}, path)

    @classmethod
    def load(cls, path: Path) -> Guesses:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file. Make it with 'python -m emo_core train guess'."
            )
        return cls(**load_file(path))


@torch.no_grad()
def guess_frames(
    networks: Networks, data: LatentClips, generator: torch.Generator, *, num_batches: int
) -> Guesses:
    """Have clips guessed by the last of the checkpoint's own steps, with its own guidance."""
    feeder = Feeder(networks, adversarial_stage(networks), data)
    sampling = networks.config.sampling
    scheduler = make_scheduler(networks.config.diffusion, solver=sampling.solver)
    set_steps(scheduler, sampling.steps)
    device = networks.like.device
    autocast = torch.autocast(
        device.type, torch.bfloat16, enabled=not is_half_slow(torch.bfloat16, device)
    )
    latents, clips, frames = [], [], []
    for _ in tqdm(range(num_batches), desc="guess", unit="batch"):
        batch = feeder.draw(generator, num_clips=CLIPS_OF_A_BATCH)
        with autocast:
            clean = _guess(networks, batch, feeder, scheduler, generator)
        latents.append((clean / data.latent_scale).half().cpu())
        clips.append(batch.clip_B.repeat_interleave(batch.frames.shape[1]).cpu())
        frames.append(batch.frame_BF.flatten().cpu())
    return Guesses(torch.cat(latents), torch.cat(clips), torch.cat(frames))


def _guess(
    networks: Networks,
    batch: Batch,
    feeder: Feeder,
    scheduler: SchedulerMixin,
    generator: torch.Generator,
) -> Tensor:
    """Return the clean frames (B * F, C, h, w) that the last steps end with."""
    backbone, guidance = networks.backbone, networks.config.sampling.guidance
    reading = feeder.read(batch, generator, is_dropping=False)
    halves = [
        feeder.prepare(backbone, batch, reading, is_conditional=is_conditional)
        for is_conditional in (True, False)
    ]
    clean = batch.frames.flatten(0, 1)
    for level in scheduler.timesteps[-NUM_GUESSED_STEPS:].long():
        alpha = scheduler.alphas_cumprod[level].float()
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        noisy = signal * clean + spread * noise
        known, unknown = (
            backbone(noisy, level.expand(CLIPS_OF_A_BATCH), half).float() for half in halves
        )
        clean = signal * noisy - spread * (unknown + guidance * (known - unknown))
    return clean
