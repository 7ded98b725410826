"""Guesses at clean frames, as a network that learns to sample in few steps is asked for them.

Frames are noised to one of the levels that the sampler visits, or to any. At times what is noised
is not the truth but what the network itself made in the steps before, so that it learns to mend
what it got wrong there; some of these films began from pure noise and go another way than the data.

Source: the backward simulation of DMD2 (Yin et al., arXiv 2405.14867).

Letters: B clips, F frames, N images (clips * frames), C channels, h and w of latents.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..config import DiffusionConfig
from ..errors import InputError
from ..sampling.schedule import make_scheduler, set_steps
from .adversary import Adversary
from .batches import Batch
from .feeding import Predictor

SOLVER = "lcm"
PACE_SEED = 1


class Guess(NamedTuple):
    """What the network takes for the clean frames of a batch."""

    frames: Tensor
    """[N, C, h, w]."""
    signal_N111: Tensor
    """Factor on the true frames in what was guessed from; 0 where nothing of them was left."""
    is_tied: bool
    """Whether all of the film follows the data's: it did not begin from pure noise by itself."""


class Guesser:
    """Noises the frames of batches and has a network guess the clean ones."""

    def __init__(self, diffusion: DiffusionConfig, adversary: Adversary) -> None:
        self.adversary = adversary
        scheduler = make_scheduler(diffusion, solver=SOLVER)
        self.alpha_bar = scheduler.alphas_cumprod.float()
        set_steps(scheduler, adversary.steps)
        self.levels = scheduler.timesteps.long()
        self.pace = torch.Generator().manual_seed(PACE_SEED)
        """Chance of how many own steps a batch begins with: the same in processes that learn as
        one, so that none waits for another that takes more."""

    def guess(self, predict: Predictor, batch: Batch, generator: torch.Generator) -> Guess:
        """Return the guess at a batch's frames, from noise and levels drawn by chance."""
        chance, of_noise = torch.rand(2, generator=self.pace).tolist()
        is_own = chance < self.adversary.own_share
        is_from_noise = is_own and of_noise < self.adversary.from_noise_share
        clean = batch.frames.flatten(0, 1)
        if is_own:
            levels_B, clean = self._own_steps(
                predict, batch, generator, is_from_noise=is_from_noise
            )
        else:
            levels_B = self._any_levels(batch, generator)
        alpha_N111 = self._alpha_bar_of_frames(levels_B, batch)
        signal_N111 = alpha_N111.sqrt()
        made = guess_clean(predict, clean, levels_B, alpha_N111, generator)
        return Guess(
            frames=made,
            signal_N111=torch.zeros_like(signal_N111) if is_from_noise else signal_N111,
            is_tied=not is_from_noise,
        )

    def _any_levels(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Draw levels (B,) for true frames: of the sampler's few, or any."""
        num_clips = len(batch.frames)
        grid = self.levels[torch.randint(len(self.levels), (num_clips,), generator=generator)]
        free = torch.randint(len(self.alpha_bar), (num_clips,), generator=generator)
        is_free = torch.rand(num_clips, generator=generator) < self.adversary.free_share
        return torch.where(is_free, free, grid).to(batch.frames.device)

    def _own_steps(
        self, predict: Predictor, batch: Batch, generator: torch.Generator, *, is_from_noise: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the levels (B,) that come next, and what the network made in the steps before:
        all of them, or the one before from true frames."""
        num_clips = len(batch.frames)
        if is_from_noise:
            num_steps = int(torch.randint(1, len(self.levels), (1,), generator=self.pace))
            place_B = torch.full((num_clips,), num_steps)
        else:
            num_steps = 1
            place_B = torch.randint(2, len(self.levels), (num_clips,), generator=generator)
        clean = batch.frames.flatten(0, 1)
        with torch.no_grad():
            for step in range(num_steps, 0, -1):
                before_B = self.levels[place_B - step].to(clean.device)
                alpha_N111 = self._alpha_bar_of_frames(before_B, batch)
                clean = guess_clean(predict, clean, before_B, alpha_N111, generator)
        return self.levels[place_B].to(clean.device), clean

    def _alpha_bar_of_frames(self, levels_B: Tensor, batch: Batch) -> Tensor:
        """The share of the frames' variance at levels, one per frame (N, 1, 1, 1)."""
        alpha_B = self.alpha_bar.to(levels_B.device)[levels_B]
        return alpha_B.repeat_interleave(batch.frames.shape[1])[:, None, None, None]


def guess_clean(
    predict: Predictor,
    clean_NChw: Tensor,
    levels_B: Tensor,
    alpha_bar: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Noise frames to their levels and return what the network takes for the clean ones.

    Args:
        alpha_bar: the frames' share of the variance there, a scalar or (N, 1, 1, 1).
    """
    noise = torch.randn(clean_NChw.shape, generator=generator).to(clean_NChw)
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = signal * clean_NChw + spread * noise
    return signal * noisy - spread * predict(noisy, levels_B)


def check_predicts_v(diffusion: DiffusionConfig, *, training: str) -> None:
    """See whether clean frames follow from what a network predicts, at pure noise too.

    Args:
        training: what asks, for the message.

    Raises:
        InputError: the network predicts something else than v.
    """
    if diffusion.prediction_type != "v_prediction":
        raise InputError(
            f"{training}: the checkpoint predicts {diffusion.prediction_type!r}; expected "
            "v_prediction, from which clean frames follow at pure noise too. Give another "
            "checkpoint."
        )
