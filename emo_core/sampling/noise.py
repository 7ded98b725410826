"""The noise that a film begins with.

Letters: F frames of a clip, C channels, h and w of latents.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_SEED = 2**64 - 1


class FilmNoise:
    """The noise of a film, drawn clip by clip from one seed on the CPU.

    Drawing it piecewise gives the numbers of `torch.randn(all frames)` with the same seed where a
    frame holds a multiple of 16 values, as at sizes that 32 divides; the last clip is drawn whole.
    """

    def __init__(self, seed: int, *, clip_frames: int, shape: tuple[int, int, int]) -> None:
        self.seed = seed
        self.clip_shape = (clip_frames, *shape)
        self._begin()

    def clip(self, index: int) -> Tensor:
        """Return clip `index`'s [F, C, h, w]; in order they cost nothing more."""
        if index < self._next:
            self._begin()
        while True:
            noise = torch.randn(self.clip_shape, generator=self._generator)
            self._next += 1
            if self._next > index:
                return noise

    def _begin(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._next = 0


def step_generator(seed: int, index: int) -> torch.Generator:
    """Return the source of the noise that clip `index` of a film is given on its way.

    Never that of `FilmNoise`: by one further, as ComfyUI's samplers have it.
    """
    return torch.Generator().manual_seed((seed + index) % MOST_SEED + 1)


def limited(noise: Tensor, limit: float | None) -> Tensor:
    """The noise, clamped on both sides where a family clamps it (EchoMimic)."""
    return noise if limit is None else noise.clamp(-limit, limit)
