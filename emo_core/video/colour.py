"""Keeps a long film's colours where its portrait has them.

Clip after clip, what one hands to the next drifts: a film becomes darker, paler or redder. Mean and
standard deviation of each channel are brought back to a picture's, after Reinhard et al. 2001,
"Color Transfer between Images", but in RGB, since channels drift together with little else, and
smoothed over time, so that a mouth that opens does not light up the room.

Letters in this file: T frames, H and W rows and columns of pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError

SMOOTHING_FRAMES = 12
"""Time constant: about a clip. A drift of d per frame is left 12 d behind."""
MAX_GAIN = 2.0
"""Bounds the change of contrast, and by 1 / MAX_GAIN from below: a film that fades to one colour
has no contrast to bring back."""
NO_CONTRAST = 1e-6


class ColourMatch:
    """Matches a film that arrives in parts, frame by frame; cutting it elsewhere is the same.

    A frame is matched by itself and those before it, never by later ones.

    Args:
        picture_HW3: floats of 0..1, showing what the film's frames show; of any size.
        strength: 0 leaves the film as it is, 1 brings it to the picture's colours.

    Raises:
        InputError: a strength outside 0..1.
    """

    def __init__(self, picture_HW3: Tensor, *, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise InputError(
                f"colour matching with a strength of {strength:g}. Expected 0 to 1; 1 matches "
                "fully."
            )
        self.strength = strength
        self._wanted_2C = _statistics(picture_HW3)
        self._smoothed_2C: Tensor | None = None

    def push(self, frames_THW3: Tensor) -> Tensor:
        """Match the next frames.

        Args:
            frames_THW3: floats of 0..1, any number of them.

        Returns:
            (T, H, W, 3) of 0..1, of the same dtype on the same device.
        """
        if not len(frames_THW3):
            return frames_THW3
        return torch.stack([self._matched(frame) for frame in frames_THW3])

    def _matched(self, frame_HW3: Tensor) -> Tensor:
        now_2C = _statistics(frame_HW3)
        if self._smoothed_2C is None:
            self._smoothed_2C = now_2C
        kept = math.exp(-1.0 / SMOOTHING_FRAMES)
        self._smoothed_2C = torch.lerp(now_2C, self._smoothed_2C, kept)
        mean_C, deviation_C = self._smoothed_2C
        wanted_mean_C, wanted_deviation_C = self._wanted_2C
        gain_C = wanted_deviation_C / deviation_C.clamp(min=NO_CONTRAST)
        gain_C = 1.0 + self.strength * (gain_C.clamp(1.0 / MAX_GAIN, MAX_GAIN) - 1.0)
        shift_C = mean_C + self.strength * (wanted_mean_C - mean_C) - gain_C * mean_C
        return (frame_HW3 * gain_C.to(frame_HW3) + shift_C.to(frame_HW3)).clamp(0.0, 1.0)


def _statistics(image_HW3: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, (2, 3) on the CPU."""
    deviation_C, mean_C = torch.std_mean(image_HW3.flatten(0, 1).float(), dim=0, correction=0)
    return torch.stack([mean_C, deviation_C]).double().cpu()
