"""From features at their own rate to one feature, and one window, per video frame.

Letters: F video frames, W window width in frames, T feature steps.

Source: EMO (arXiv 2402.17485), "Audio Layers": the features of frame f are those of frames
f-m .. f+m side by side. Speed layers cut their windows in the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_positions(
    num_frames: int, *, num_steps: int, rate_hz: float, first_center_s: float, fps: float
) -> Tensor:
    """Where the centres of video frames, (f + 0.5) / fps, lie among feature steps.

    Args:
        num_steps: at least 1.
        rate_hz: feature steps per second.
        first_center_s: time that the first feature step stands for.

    Returns:
        float64 [num_frames] of 0..num_steps - 1, rising, on the CPU: not every device has 64-bit
        floats. Before the first and after the last step the edge repeats.
    """
    frame_F = torch.arange(num_frames, dtype=torch.float64)
    position_F = ((frame_F + 0.5) / fps - first_center_s) * rate_hz
    return position_F.clamp(0, num_steps - 1)


def sample_at(features_T: Tensor, position_F: Tensor) -> Tensor:
    """Interpolate features linearly.

    Args:
        features_T: [T, ...], T at least 1.
        position_F: float64 [F] of 0..T - 1, on the CPU.

    Returns:
        [F, ...], same dtype.
    """
    low_F = position_F.floor().long()
    high_F = (low_F + 1).clamp(max=features_T.shape[0] - 1)
    share_F = (position_F - low_F).to(features_T)
    low_F, high_F = low_F.to(features_T.device), high_F.to(features_T.device)
    share_F = share_F.reshape(-1, *[1] * (features_T.ndim - 1))
    return torch.lerp(features_T[low_F], features_T[high_F], share_F)


def windows_around_frames(values_F: Tensor, *, margin: int, frames: Tensor | None = None) -> Tensor:
    """Cut a window of values around video frames.

    Args:
        values_F: [F, ...], one value per frame of the whole film.
        margin: frames taken on each side.
        frames: numbers of the frames whose windows are wanted; None wants all F.

    Returns:
        [F, W, ...] with W = 2 * margin + 1. Past both ends of the film the edge value repeats, as
        in Hallo's `scripts/inference.py`, process_audio_emb.
    """
    num_frames = values_F.shape[0]
    if frames is None:
        frames = torch.arange(num_frames, device=values_F.device)
    offset_W = torch.arange(-margin, margin + 1, device=values_F.device)
    return values_F[(frames[:, None] + offset_W).clamp(0, num_frames - 1)]
