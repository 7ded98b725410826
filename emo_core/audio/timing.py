"""How long a film is, and how many frames must be made for it, in each family's own counting.

Counts are taken in double precision and in upstream's order of operations; some of them would
come out one larger or smaller otherwise.

Sources: Hallo, `hallo/datasets/audio_processor.py` (preprocess); EchoMimic,
`src/models/whisper/audio2feature.py` (feature2chunks, get_sliced_feature); V-Express,
`inference.py` and `pipelines/context.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..config import AudioConfig, SamplingConfig
from ..sampling.clip_plan import whole_clip_frames
from .front_end import SAMPLE_RATE_HZ, STEP_SAMPLES
from .waveform import num_video_frames

STEPS_PER_SECOND = SAMPLE_RATE_HZ // STEP_SAMPLES


@dataclass(frozen=True)
class FilmLength:
    """What `film_length` found."""

    num_frames: int
    """Of the film that the user gets."""
    fps: float
    num_sampled_frames: int
    """That have to be made so that the sampler's numbers are upstream's; at least `num_frames`."""


@dataclass(frozen=True)
class WholeClips:
    """A sound filled up to whole clips (Hallo)."""

    num_frames: int
    """Of the sound alone."""
    num_padded_frames: int
    num_zeros: int
    """Samples at 16 kHz."""


def film_length(
    num_samples: int,
    *,
    sample_rate_hz: int,
    sampling: SamplingConfig,
    audio: AudioConfig,
    fps: float | None = None,
) -> FilmLength:
    """Count the frames of a film for a sound.

    Args:
        num_samples: of the sound at its own rate, above 0.
        fps: asked for by the user; None takes the checkpoint's, which V-Express stretches so that
            whole windows last as long as the sound. A sound shorter than one window, with which
            upstream fails, is not stretched: it gets round(duration * fps) frames.

    Raises:
        InputError: a frame rate that is not above 0.
    """
    # As many as `waveform.to_mono` makes of them.
    num_heard = max(1, round(num_samples * SAMPLE_RATE_HZ / sample_rate_hz))
    if fps is None and sampling.is_length_of_windows:
        stretched = length_of_windows(num_heard, sampling)
        if stretched is not None:
            return stretched
    fps = sampling.fps if fps is None else fps
    num_frames = num_video_frames(num_samples / sample_rate_hz, fps=fps)
    if audio.timing == "before_encoder":
        clips = whole_clips(num_heard, fps=fps, clip_frames=sampling.clip_frames)
        num_sampled = clips.num_padded_frames
    elif audio.timing == "encoder_steps":
        num_sampled = looped_frames(num_heard // STEP_SAMPLES, fps=fps)
    elif sampling.windows is None:
        num_sampled = whole_clip_frames(
            num_frames, clip_frames=sampling.clip_frames, overlap=sampling.clip_overlap
        )
    else:
        num_sampled = num_frames
    return FilmLength(num_frames, fps, max(num_frames, num_sampled))


def whole_clips(num_samples: int, *, fps: float, clip_frames: int) -> WholeClips:
    """Hallo's count: every begun frame, and then whole clips, filled up by silence.

    Args:
        num_samples: at 16 kHz.

    A frame of silence is 640 samples at Hallo's 25 fps. At other rates, where upstream would cut
    16000 / fps to a whole number, all frames of silence together are rounded.
    """
    num_frames = math.ceil(num_samples / SAMPLE_RATE_HZ * fps)
    num_missing = -num_frames % clip_frames
    num_zeros = round(num_missing * SAMPLE_RATE_HZ / fps)
    return WholeClips(num_frames, num_frames + num_missing, num_zeros)


def step_of_frame(frame: int, *, fps: float) -> int:
    """Step of 20 ms in the middle of a frame's window (EchoMimic)."""
    return int(frame * STEPS_PER_SECOND / fps)


def looped_frames(num_steps: int, *, fps: float) -> int:
    """EchoMimic's count: up to and with the first frame that begins after the last step.

    That is one or two frames more than the sound lasts. Upstream stops at 1200, a default for the
    memory of its cards.
    """
    steps_per_frame = float(STEPS_PER_SECOND) / fps
    frame = 0
    while int(frame * steps_per_frame) <= num_steps:
        frame += 1
    return frame + 1


def length_of_windows(num_samples: int, sampling: SamplingConfig) -> FilmLength | None:
    """V-Express' count: as many whole windows as fit, at the rate that fits the sound.

    Args:
        num_samples: at 16 kHz.

    Returns:
        None where the sound is shorter than one window.
    """
    overlap = 0 if sampling.windows is None else sampling.windows.overlap
    stride = sampling.clip_frames - overlap
    duration_s = num_samples / SAMPLE_RATE_HZ
    num_strides = (int(duration_s * sampling.fps) - sampling.clip_frames) // stride
    if num_strides < 0:
        return None
    num_frames = num_strides * stride + sampling.clip_frames
    return FilmLength(num_frames, num_frames / duration_s, num_frames)
