"""Latents of a film to frames, a few at a time, and where a film's file lies meanwhile.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comfy.model_management
import folder_paths
import torch
from comfy.sd import VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.video.median import MedianFilter
from .sampling import FPS_KEY, Latent
from .vae import check_vae

FRAMES_AT_ONCE = 16
DEFAULT_FPS = 25.0


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


def decoded(samples_FChw: Tensor, vae: VAE, *, is_smoothed: bool) -> Iterator[Tensor]:
    """Yield all frames in pieces (F, H, W, 3); an interrupt stops between them.

    Args:
        is_smoothed: pass the film through the median, which lies one frame behind.
    """
    parts = _decoded(samples_FChw, vae)
    return _smoothed(parts) if is_smoothed else parts


def regrouped(parts: Iterator[Tensor], num_frames: int) -> Iterator[Tensor]:
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


def _decoded(samples_FChw: Tensor, vae: VAE) -> Iterator[Tensor]:
    for part in samples_FChw.split(FRAMES_AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield vae.decode(part)


def _smoothed(parts: Iterator[Tensor]) -> Iterator[Tensor]:
    median = MedianFilter()
    for part in parts:
        done = median.push(part)
        if len(done):
            yield done
    yield median.finish()
