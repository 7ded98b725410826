"""The noise that a film begins with, and that which some solvers add on the way.

Letters: F frames of a clip, C channels, h and w of latents.
"""

from __future__ import annotations

import torch
from torch import Tensor

NUM_CLIP_SEEDS = 2**64 - 1
"""ComfyUI counts a film's seeds on from clip to clip and begins again here."""


class FilmNoise:
    """The noise of a film, drawn clip by clip from one seed on the CPU.

    Drawing it piecewise gives the numbers of `torch.randn(all frames)` with the same seed where a
    frame holds a multiple of 16 values, as at sizes that 32 divides; the last clip is drawn whole.
    Frames that two clips share have one noise.
    """

    def __init__(
        self, seed: int, *, clip_frames: int, shape: tuple[int, int, int], overlap: int = 0
    ) -> None:
        self.seed = seed
        self.clip_frames = clip_frames
        self.overlap = overlap
        self.shape = shape
        self._begin()

    def clip(self, index: int) -> Tensor:
        """Return clip `index`'s [F, C, h, w]; in order they cost nothing more."""
        if index < self._next:
            self._begin()
        while True:
            num_new = self.clip_frames - len(self._shared)
            new = torch.randn((num_new, *self.shape), generator=self._generator)
            noise = torch.cat([self._shared, new])
            self._shared = noise[self.clip_frames - self.overlap :]
            self._next += 1
            if self._next > index:
                return noise

    def _begin(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._shared = torch.empty(0, *self.shape)
        self._next = 0


def clip_seed(seed: int, index: int) -> int:
    """Return what samplers of clip `index` are given as their seed: each another."""
    return (seed + index) % NUM_CLIP_SEEDS


def step_generator(clip_seed: int) -> torch.Generator:
    """Return the source, on the CPU, of the noise that a clip is given on its way.

    One further than the seed, or a film's first clip would get the noise again that it began with.
    Source: ComfyUI, `comfy/k_diffusion/sampling.py`, default_noise_sampler.
    """
    return torch.Generator().manual_seed(clip_seed + 1)


def limited(noise: Tensor, limit: float | None) -> Tensor:
    """The noise, clamped on both sides where a family clamps it (EchoMimic)."""
    return noise if limit is None else noise.clamp(-limit, limit)
