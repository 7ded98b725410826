"""The LATENT of a film: what EMO's nodes note in it beside its samples."""

from __future__ import annotations

import comfy.model_management
import torch

from ..emo_core.film import Film

FPS_KEY = "emo_fps"
"""Key of a LATENT that carries the film's frame rate to the stitcher."""
MEDIAN_KEY = "emo_median"
"""Key of a LATENT whose family passes its frames through a median."""
FILE_KEY = "emo_file"
"""Key of a LATENT whose samples lie in a file: the `TensorOnDisk`, which can be released."""
Latent = dict[str, object]


def empty_latent(film: Film, num_frames: int) -> Latent:
    """A LATENT of zeros that says what the stitcher wants to know."""
    samples = torch.zeros(
        (num_frames, *film.latent_shape), device=comfy.model_management.intermediate_device()
    )
    latent = {"samples": samples, FPS_KEY: film.fps}
    if film.config.sampling.has_median_filter:
        latent[MEDIAN_KEY] = True
    return latent
