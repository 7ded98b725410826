"""Frames that are held, wholly or in part, at what they are to become: how a new take joins an old.

At every step a held frame is set to its known latents under the noise of that step, and the model's
clean estimate of it to these latents; a frame held by a share is mixed. The clip's other frames see
them through the temporal modules and move towards them.

Source: ComfyUI, `comfy/samplers.py`, KSamplerX0Inpaint, whose mask is 1 - share.

Letters: F frames of a clip, C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Held:
    """What the frames of a clip are held at."""

    latents_FChw: Tensor
    """Clean; of frames that are not held at all, anything."""
    share_F: Tensor
    """0 is free, 1 is held."""

    def to(self, device: torch.device) -> Held:
        return Held(self.latents_FChw.to(device), self.share_F.to(device))

    def mixed(self, free_FChw: Tensor, known_FChw: Tensor) -> Tensor:
        """Mix by the shares."""
        share = self.share_F.to(free_FChw)[:, None, None, None]
        return free_FChw * (1 - share) + known_FChw * share


class HeldSteps:
    """Holds frames during the steps of a diffusers scheduler."""

    def __init__(
        self, held: Held, *, noise_FChw: Tensor, alphas_bar: Tensor, prediction_type: str
    ) -> None:
        """Take what stays the same over the steps.

        Args:
            noise_FChw: that the clip began with.
            alphas_bar: a scheduler's `alphas_cumprod`.
            prediction_type: "v_prediction" or "epsilon".
        """
        self.held = held
        self.noise_FChw = noise_FChw
        self.alphas_bar = alphas_bar
        self.prediction_type = prediction_type

    def seen(self, latents_FChw: Tensor, timestep: Tensor) -> Tensor:
        """What the model sees: held frames are their latents under the noise of this timestep."""
        signal, spread = self._scales(timestep)
        noisy = signal * self.held.latents_FChw + spread * self.noise_FChw
        return self.held.mixed(latents_FChw, noisy)

    def predicted(
        self, prediction_FChw: Tensor, seen_FChw: Tensor, latents_FChw: Tensor, timestep: Tensor
    ) -> Tensor:
        """Turn the model's prediction for what it saw into one for `latents_FChw`, with the held
        clean estimate."""
        signal, spread = self._scales(timestep)
        if self.prediction_type == "epsilon":
            clean = (seen_FChw - spread * prediction_FChw) / signal
            mixed = self.held.mixed(clean, self.held.latents_FChw)
            return (latents_FChw - signal * mixed) / spread
        clean = signal * seen_FChw - spread * prediction_FChw
        mixed = self.held.mixed(clean, self.held.latents_FChw)
        return (signal * latents_FChw - mixed) / spread

    def _scales(self, timestep: Tensor) -> tuple[float, float]:
        alpha = float(self.alphas_bar[int(timestep)].double())
        return alpha**0.5, (1 - alpha) ** 0.5
