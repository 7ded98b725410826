"""Meters of a film inside ComfyUI: the core's, reading through the patchers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.evaluation.meters import FilmMeters
from ..emo_core.models.unet import Features
from ..emo_core.sampling.clip_plan import plan_joined_clips
from .loading import read_motion
from .types import Reference


def film_meters(
    reference: Reference,
    lengths: Sequence[int],
    *,
    fps: float,
    crossfade: int = 0,
    voice: Waveform | None = None,
) -> FilmMeters:
    """Prepare to measure a film of this portrait.

    Frames are compared with the portrait as the VAE decodes it, since frames come out of it too.
    What `push` is given may lie on any device; the ReferenceNet is loaded when a clip is complete.

    Args:
        lengths: frames of each of the latents that make the film.
        crossfade: frames that neighbours share.
        voice: what drives the face; for drawn faces only, see `FilmMeters`.

    Raises:
        InputError: as `FilmMeters`.
    """
    scale = reference.net.config.latent_scale

    def read_features(picture_1HW3: Tensor) -> Features:
        latents = reference.vae.encode(picture_1HW3) * scale
        return read_motion(reference, latents).known

    portrait = reference.vae.decode(reference.reading.latents_1CHW / scale)[0]
    sampling = reference.net.config.sampling
    return FilmMeters(
        portrait,
        clips=plan_joined_clips(
            lengths,
            clip_frames=sampling.clip_frames,
            overlap=sampling.clip_overlap,
            crossfade=crossfade,
        ),
        fps=fps,
        read_features=read_features,
        voice=voice,
    )
