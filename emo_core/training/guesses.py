"""What a network makes of true frames, as lessons for the decoder of its VAE.

A decoder that has seen only what the encoder makes paints a network's small errors as they are. It
can mend many of them, since it knows what eyes and lips look like; for that it needs latents with
such errors, and the frames that they should have become. They come from the last steps of a
sampler, which begin with true frames under noise, so that pose and mouth are those of the truth.

Letters: K guesses, B clips, F frames, C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from diffusers import SchedulerMixin
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.emo import Networks
from ..files.write import write_tensors
from ..pipeline import USUAL_SOLVER
from ..precision import is_half_slow
from ..sampling.schedule import make_scheduler, set_steps
from .adversary import adversarial_stage
from .batches import Batch
from .feeding import Feeder
from .guessing import check_predicts_v, guess_clean
from .handover import read_made
from .latents import LatentClips

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
        write_tensors(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> Guesses:
        return cls(**read_made(path, [f.name for f in fields(cls)], made_by="train guess"))


@torch.no_grad()
def guess_frames(
    networks: Networks, data: LatentClips, generator: torch.Generator, *, num_batches: int
) -> Guesses:
    """Have clips guessed by the last of the checkpoint's own steps, with its own guidance.

    Raises:
        InputError: the checkpoint does not predict v.
    """
    check_predicts_v(networks.config.diffusion, training="train guess")
    feeder = Feeder(networks, adversarial_stage(networks), data)
    sampling = networks.config.sampling
    scheduler = make_scheduler(networks.config.diffusion, solver=sampling.solver or USUAL_SOLVER)
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
    predict = feeder.predictor(backbone, batch, reading, guidance=guidance)
    clean = batch.frames.flatten(0, 1)
    for level in scheduler.timesteps[-NUM_GUESSED_STEPS:].long():
        alpha_bar = scheduler.alphas_cumprod[level].float()
        levels_B = level.expand(CLIPS_OF_A_BATCH)
        clean = guess_clean(predict, clean, levels_B, alpha_bar, generator)
    return clean
