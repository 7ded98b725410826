"""Frames as they are stored.

Letters in this file: T frames, H height, W width.
"""

import torch
from torch import Tensor

from ..errors import InputError


def frames_as_bytes(frames: Tensor, *, first_index: int) -> Tensor:
    """Frames as they are stored.

    Args:
        frames: (T, H, W, 3), floats in 0..1 or uint8, on any device.
        first_index: number of the first of them in the film, for the message.

    Returns:
        (T, H, W, 3) uint8 on the CPU. Floats are rounded; values outside 0..1 are clamped, since
        a VAE overshoots a little at hard edges.

    Raises:
        InputError: a frame holds NaN or infinite values.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"Frames have shape {tuple(frames.shape)}. Expected (T, H, W, 3).")
    if frames.dtype == torch.uint8:
        return frames.cpu()
    if not frames.is_floating_point():
        raise ValueError(f"Frames are {frames.dtype}. Expected uint8, or floats in 0..1.")
    bad_T = ~torch.isfinite(frames).flatten(1).all(dim=1)
    if bad_T.any():
        index = first_index + int(bad_T.nonzero()[0])
        raise InputError(
            f"Frame {index} holds NaN or infinite values. Expected colours; half precision may "
            "have overflowed, so run the VAE or the model in float32 or bfloat16."
        )
    return (frames.float() * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).cpu()
