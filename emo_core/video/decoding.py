"""Latents to frames, a part at a time, in parts that the memory can hold.

Letters in this file: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from ..errors import InputError, is_out_of_memory

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 16
"""Where the memory allows."""
FRAMES_AT_ONCE_ON_CPU = 4
"""What stays in a processor's cache; see `tests/benchmarks/test_decoding.py`."""

Decode = Callable[[Tensor], Tensor]
"""(F, C, h, w) -> (F, H, W, 3)."""


def decode_in_parts(
    clips: Iterable[Tensor],
    decode: Decode,
    *,
    frames_at_once: int = FRAMES_AT_ONCE,
    is_out_of_memory: Callable[[RuntimeError], bool] = is_out_of_memory,
) -> Iterator[Tensor]:
    """Yield the frames of clips in order, some at a time; no part reaches over a clip's end.

    Where the memory is too small for a part, half of it is tried from the same frame on, and no
    part after that is larger: what did not fit once would fail again and again.

    Args:
        clips: latents (F, C, h, w) each; taken one after the other, when their turn comes.
        decode: treats every frame by itself, so that parts of any size give the same frames, up to
            how torch rounds for a batch of that size (6e-8 of 1 on the CPU).
        frames_at_once: how many to begin with, at least 1.
        is_out_of_memory: tells the errors of `decode` that a smaller part can cure; others pass.

    Raises:
        InputError: the memory does not hold a single frame.
    """
    for latents_FChw in clips:
        first = 0
        while first < len(latents_FChw):
            part = latents_FChw[first : first + frames_at_once]
            frames = _decoded(part, decode, is_out_of_memory)
            if frames is None:
                frames_at_once = len(part) // 2
                logger.info("no memory to decode %d frames at once: %d", len(part), frames_at_once)
                continue
            first += len(part)
            yield frames


def _decoded(
    part_FChw: Tensor, decode: Decode, is_out_of_memory: Callable[[RuntimeError], bool]
) -> Tensor | None:
    """The frames, or None where they do not fit.

    What the error holds, all tensors on its way, is let go when this returns: before the next try.
    """
    try:
        return decode(part_FChw)
    except RuntimeError as error:  # As torch's errors of this kind are.
        if not is_out_of_memory(error):
            raise
        if len(part_FChw) == 1:
            height, width = part_FChw.shape[-2:]
            raise InputError(
                f"decoding a single frame of {width}x{height} latents needs more memory than is "
                "free. Expected room for one frame; close other programs, choose a smaller film, "
                "or decode in half precision."
            ) from error
    return None
