"""Head speed over a film: a steady value, a drawn curve, or what a driving video's head did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .motion import angular_speed


@dataclass(frozen=True)
class SpeedTrack:
    """Angular speed of the head along time."""

    values_deg_s_K: Tensor
    """(K,) degrees per second, K at least 1."""
    fps: float | None = None
    """Values per second; None spreads them evenly over the film, whatever its length."""

    def __post_init__(self) -> None:
        values = self.values_deg_s_K
        if values.ndim != 1 or len(values) == 0 or not torch.isfinite(values).all():
            raise InputError(
                f"Head speed: values of shape {tuple(values.shape)}, or some that are no numbers. "
                "Expected a row of degrees per second."
            )
        if values.min() < 0:
            raise InputError(
                f"Head speed: {float(values.min()):g} degrees per second. Expected 0 or more."
            )

    @classmethod
    def steady(cls, speed_deg_s: float) -> SpeedTrack:
        """The same speed throughout."""
        return cls(torch.tensor([float(speed_deg_s)]))

    @classmethod
    def of_rotations(cls, rotations_K33: np.ndarray, *, fps: float, smooth_s: float) -> SpeedTrack:
        """The speed of a head that was seen turning.

        Args:
            rotations_K33: of the head, frame by frame.
            fps: of the video it was seen in.
            smooth_s: width of a running mean in seconds; landmarks tremble.
        """
        speed = angular_speed(rotations_K33, fps=fps)
        reach = min(max(1, round(smooth_s * fps)), len(speed))
        padded = np.pad(speed, (reach // 2, reach - 1 - reach // 2), mode="edge")
        smooth = np.convolve(padded, np.full(reach, 1.0 / reach), mode="valid")
        return cls(torch.from_numpy(smooth).float(), fps=fps)

    def at_frames(self, *, num_frames: int, fps: float) -> Tensor:
        """Return float32 (num_frames,): the track at the centre of every frame of a film.

        A track with its own rate that ends before the film holds its last value.
        """
        centre_F = (np.arange(num_frames) + 0.5) / fps
        if self.fps is None:
            position_F = centre_F * fps / num_frames * len(self.values_deg_s_K) - 0.5
        else:
            position_F = centre_F * self.fps - 0.5
        values = self.values_deg_s_K.double().numpy()
        at = np.interp(position_F, np.arange(len(values)), values)
        return torch.from_numpy(at).float()


def check_reach(speed_deg_s_F: Tensor, *, highest: float, name: str = "head speed") -> None:
    """Compare a film's speeds with what a checkpoint's buckets reach.

    Args:
        name: what the message calls it.

    Raises:
        InputError: above the last bucket.
    """
    fastest = float(speed_deg_s_F.max())
    if fastest > highest:
        raise InputError(
            f"{name} {fastest:g}: expected 0 to {highest:g} degrees per second. 12 is calm, "
            "30 lively."
        )
