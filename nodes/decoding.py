"""A film's frames from ComfyUI's VAE, as many at a time as its memory holds.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import comfy.model_management
import comfy.utils
from comfy.sd import VAE
from torch import Tensor

from ..emo_core.video.decoding import FRAMES_AT_ONCE, decode_in_parts, is_out_of_memory

FREE_SHARE = 0.5
"""Of the free memory that a part may take by ComfyUI's estimate, which is only one."""


def decoded(clips: Sequence[Tensor], vae: VAE) -> Iterator[Tensor]:
    """Yield the frames (F, H, W, 3) of clips (F, C, h, w) in order, with progress.

    An interrupt stops between two parts.
    """

    def decode(part_FChw: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return vae.decode(part_FChw)

    progress = comfy.utils.ProgressBar(sum(map(len, clips)))
    for frames in decode_in_parts(
        clips,
        decode,
        frames_at_once=frames_at_once(vae, clips[0]),
        is_out_of_memory=lambda error: (
            is_out_of_memory(error) or comfy.model_management.is_oom(error)
        ),
    ):
        yield frames
        progress.update(len(frames))


def frames_at_once(vae: VAE, latents_FChw: Tensor) -> int:
    """How many frames to decode at first, 1 to 16.

    Where a GPU's memory runs out, `VAE.decode` does not fail: it decodes that part in tiles, each
    normalised by itself, so their colours differ from those of the parts before (comfy/sd.py). So
    the size has to be right beforehand. Only what fails in tiles too, or on the CPU, is seen here.
    """
    one_frame = vae.memory_used_decode(latents_FChw[:1].shape, vae.vae_dtype)
    free = comfy.model_management.get_free_memory(vae.device)
    return max(1, min(FRAMES_AT_ONCE, int(FREE_SHARE * free / one_frame)))
