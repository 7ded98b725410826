"""A film's latents to frames, as many at a time as the memory holds, and where its file lies.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy.sd import VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..emo_core.errors import InputError, is_out_of_memory
from ..emo_core.video.decoding import FRAMES_AT_ONCE, decode_in_parts
from .latents import FILE_KEY, FPS_KEY, Latent
from .vae import check_vae

DEFAULT_FPS = 25.0
FREE_SHARE = 0.5
"""Of the free memory that a part may take by ComfyUI's estimate, which is only one."""
FRAMES_HELD = 8 * FRAMES_AT_ONCE
"""Of latents in a file, that are in memory at a time."""


def check_samples(samples_FChw: Tensor, vae: VAE, *, node: str) -> None:
    """Compare a film's latents with the VAE that is to decode them.

    Raises:
        InputError: names `node`; latents of a video model, or a VAE that does not fit.
    """
    if samples_FChw.ndim != 4:
        raise InputError(
            f"{node}: latents of shape {list(samples_FChw.shape)}. Expected frames, channels, "
            "rows, columns; those of a video model are decoded by its own nodes."
        )
    check_vae(vae, latent_channels=samples_FChw.shape[1], node=node)


def frame_rate(latent: Latent, fps: float) -> float:
    """Frames per second: what was asked for, else what the sampling node noted in the latent."""
    return fps or latent.get(FPS_KEY, DEFAULT_FPS)


def clips_of(latents: Iterable[Latent]) -> Iterator[Tensor]:
    """Yield the latents (F, C, h, w) of films in order, in pieces; those in files are let go."""
    for latent in latents:
        for piece in latent["samples"].split(FRAMES_HELD):
            yield piece
            if FILE_KEY in latent:
                latent[FILE_KEY].release()


def decoded(clips: Iterable[Tensor], vae: VAE, *, like_FChw: Tensor) -> Iterator[Tensor]:
    """Yield the frames (F, H, W, 3) of clips (F, C, h, w) in order; an interrupt stops between.

    Args:
        like_FChw: latents of the clips' size.
    """

    def decode(part_FChw: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return vae.decode(part_FChw)

    return decode_in_parts(
        clips,
        decode,
        frames_at_once=frames_at_once(vae, like_FChw),
        is_out_of_memory=lambda error: (
            is_out_of_memory(error) or comfy.model_management.is_oom(error)
        ),
    )


def frames_at_once(vae: VAE, latents_FChw: Tensor) -> int:
    """How many frames to decode at first, 1 to 16.

    Where a GPU's memory runs out, `VAE.decode` does not fail: it decodes that part in tiles, each
    normalised by itself, so their colours differ from those of the parts before (comfy/sd.py). So
    the size has to be right beforehand. Only what fails in tiles too, or on the CPU, is seen here.
    """
    one_frame = vae.memory_used_decode(latents_FChw[:1].shape, vae.vae_dtype)
    free = comfy.model_management.get_free_memory(vae.device)
    return max(1, min(FRAMES_AT_ONCE, int(FREE_SHARE * free / one_frame)))


def with_progress(parts: Iterable[Tensor], *, num_frames: int) -> Iterator[Tensor]:
    """Hand frames on and show how many there were."""
    progress = comfy.utils.ProgressBar(num_frames)
    for part in parts:
        yield part
        progress.update(len(part))


def regrouped(parts: Iterable[Tensor], num_frames: int) -> Iterator[Tensor]:
    """Cut the same frames into pieces of num_frames; the last may be shorter."""
    waiting: list[Tensor] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= num_frames:
            joined = torch.cat(waiting) if len(waiting) > 1 else waiting[0]
            # The rest is copied, so as not to hold on to frames that have gone out.
            waiting = [joined[num_frames:].clone()] if len(joined) > num_frames else []
            yield joined[:num_frames]
    if waiting:
        yield torch.cat(waiting)


def temp_film() -> tuple[Path, ui.SavedResult]:
    """A new name for an mp4 file in ComfyUI's temp folder, and the same for the front end."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        "emo", folder_paths.get_temp_directory()
    )
    file = f"{name}_{counter:05}_.mp4"
    return Path(folder) / file, ui.SavedResult(file, subfolder, io.FolderType.temp)
