"""A film that goes to its file: what nodes ask for, and writing it while it is sampled.

Letters: F frames, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from comfy.sd import VAE
from comfy_api.latest import InputImpl, io
from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.film import Film
from ..emo_core.video.median import median_filtered
from ..emo_core.video.writer import Mp4Writer
from .decoding import decoded, temp_film
from .sound import cut_or_padded
from .vae import check_vae


def file_inputs() -> list[io.Input]:
    """What nodes that write a film ask for."""
    return [
        io.Audio.Input(
            "audio",
            optional=True,
            tooltip="Sound of the film: the voice, or a mix with music. Cut or followed by "
            "silence to the film's length.",
        ),
        io.Float.Input(
            "fps",
            default=0.0,
            min=0.0,
            max=120.0,
            step=0.01,
            advanced=True,
            tooltip="Frames per second. 0 takes the rate that the voice was encoded for.",
        ),
        io.Int.Input(
            "crf",
            default=18,
            min=0,
            max=51,
            advanced=True,
            tooltip="H.264 quality: 0 is lossless, 18 looks lossless, 28 is small.",
        ),
    ]


def write_film(
    film: Film,
    clips: Iterable[Tensor],
    vae: VAE,
    sound: Waveform | None,
    *,
    on_written: Callable[[str], None],
    node: str,
) -> InputImpl.VideoFromFile:
    """Write clips (F, C, h, w) of a film into a temporary mp4 as they are made.

    Args:
        on_written: called with what can be watched by now.
        node: for messages.
    """
    check_vae(vae, latent_channels=film.latent_shape[0], node=node)
    path, _ = temp_film()
    if sound is not None:
        sound = cut_or_padded(sound, duration_s=film.num_frames / film.fps)
    frames = decoded(clips, vae, like_FChw=torch.empty(1, *film.latent_shape))
    if film.config.sampling.has_median_filter:
        frames = median_filtered(frames)
    with Mp4Writer(
        path,
        fps=film.fps,
        width=film.width,
        height=film.height,
        num_frames=film.num_frames,
        sound=sound,
    ) as writer:
        for part in frames:
            writer.write(part)
            on_written(f"{writer.num_written} of {film.num_frames} frames: {writer.partial_path}")
    return InputImpl.VideoFromFile(str(path))
