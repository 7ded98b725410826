"""One finished film -> what the measures need of it, so that the frames themselves can go.

Letters: F frames, K key frames, H and W rows and columns, D width of an identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..video.frame_bytes import frames_as_bytes
from .cases import Case, draw_answer
from .measures import frame_differences, head_speed, motion_energy_share, region_share
from .reader import FaceReader

NUM_KEY_FRAMES = 8


@dataclass(frozen=True, eq=False)
class Film:
    """What was read from the film of one case."""

    case: Case
    mouth_open_F: np.ndarray
    """0..1, as read."""
    speed_F: np.ndarray
    """Angular speed of the head as read, degrees per second."""
    identity_FD: np.ndarray
    differences: np.ndarray
    """[F - 1]: mean absolute difference of successive frames, 0..1."""
    color_F3: np.ndarray
    """Mean colour of each frame, 0..1."""
    region_share: float
    motion_in_region: float
    key_frames: Tensor
    """uint8 [K, H, W, 3], evenly spread over the film."""
    key_indices: tuple[int, ...]

    @property
    def mean_speed(self) -> float:
        """Of the head over the whole film, degrees per second."""
        return float(self.speed_F.mean())


def read_film(case: Case, frames: Tensor, *, reader: FaceReader) -> Film:
    """Read a film as it would be stored, in 8 bits.

    Args:
        frames: [F, H, W, 3] floats in 0..1, F as the case asks.

    Raises:
        InputError: another number of frames or another shape came, or they hold NaN.
    """
    expected = (case.num_frames, *case.picture.shape)
    if tuple(frames.shape) != expected:
        raise InputError(
            f"Film {case.name}: the frames have shape {tuple(frames.shape)}, expected {expected}. "
            "Give a model that keeps to the size and length of the case."
        )
    stored = frames_as_bytes(frames, first_index=0)
    reading = reader.read(stored)
    pixels = stored.numpy().astype(np.float32) / 255.0
    region = case.region.numpy()
    key_indices = np.linspace(0, case.num_frames - 1, NUM_KEY_FRAMES).round().astype(int).tolist()
    return Film(
        case=case,
        mouth_open_F=reading.mouth_open_N.numpy(),
        speed_F=head_speed(reading.pose_N3.numpy(), fps=case.fps),
        identity_FD=reading.identity_ND.numpy(),
        differences=frame_differences(pixels),
        color_F3=pixels.mean(axis=(1, 2)),
        region_share=region_share(reading.boxes_N4.numpy(), region),
        motion_in_region=motion_energy_share(pixels, region),
        key_frames=stored[torch.tensor(key_indices)],
        key_indices=tuple(key_indices),
    )


def drawn_speed(case: Case, *, reader: FaceReader) -> float:
    """What the reader makes of the true motion, drawn: mean speed in degrees per second.

    How far it is from the speed that was asked for is the instrument's own error.
    """
    pose_N3 = reader.read(draw_answer(case)).pose_N3.numpy()
    return float(head_speed(pose_N3, fps=case.fps).mean())
