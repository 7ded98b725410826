"""What rendering a film amounts to: frames, clips, steps. Counted by what rendering itself uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import PIXELS_PER_LATENT
from ..film import Film
from ..sampling.clip_plan import ClipSpan
from ..sampling.generate import Motion
from ..sampling.held import Held
from ..sampling.retake import Retake
from ..sampling.window_plan import plan_windows
from ..takes import Making, film_stretches

LATENT_BYTES = 4
"""Of one number: latents are float32."""
COPIES_IN_WINDOWS = 8
"""How often all latents of a film that is sampled in windows are in memory for a moment."""


@dataclass(frozen=True, kw_only=True)
class FilmPlan:
    """The work that a film is."""

    family: str
    width: int
    """Pixels."""
    height: int
    num_frames: int
    """Of the finished film."""
    num_sampled_frames: int
    """That are denoised; the last clip is made whole."""
    num_stored_frames: int
    """Of all finished clips."""
    fps: float
    num_clips: int
    """Made one after the other; 1, and 1 for each part made again, where windows cover all frames
    together."""
    clip_frames: int
    """Frames that the backbone sees at once: of a clip, or of a window."""
    steps: int
    """Denoising steps of each clip."""
    num_passes: int
    """Denoising steps of one clip or one window, over the whole film. Guidance is inside."""
    num_motion_frames: int
    latent_channels: int
    is_in_windows: bool

    @classmethod
    def of(cls, film: Film, *, steps: int, parts: Sequence[Retake] = ()) -> FilmPlan:
        """Count the work of a film at some steps per clip, with its parts that are made again."""
        sampling = film.config.sampling
        is_in_windows, clip_frames = sampling.windows is not None, sampling.clip_frames
        lengths: list[int] = []

        def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
            lengths.append(span.num_frames)
            return torch.zeros(max(span.num_frames, clip_frames), 1, 1, 1)

        counting = Making(make, None)
        again = [(part, counting) for part in parts]
        motion = Motion(num_frames=film.num_motion_frames)
        for _ in film_stretches(film, counting, again, motion=motion):
            pass
        num_clips = len(lengths)
        num_sampled, num_passes = num_clips * clip_frames, num_clips * steps
        if is_in_windows:
            windows = [
                window
                for length in lengths
                for window in plan_windows(length, length=clip_frames, config=sampling.windows)
            ]
            clip_frames = len(windows[0])
            num_sampled, num_passes = film.num_sampled_frames, len(windows) * steps
        return cls(
            family=film.config.family,
            width=film.width,
            height=film.height,
            num_frames=film.num_frames,
            num_sampled_frames=num_sampled,
            num_stored_frames=sum(lengths),
            fps=film.fps,
            num_clips=num_clips,
            clip_frames=clip_frames,
            steps=steps,
            num_passes=num_passes,
            num_motion_frames=film.num_motion_frames,
            latent_channels=film.latent_shape[0],
            is_in_windows=is_in_windows,
        )

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return self.num_frames / self.fps

    @property
    def num_steps(self) -> int:
        """What the progress bar counts to."""
        return self.num_clips * self.steps

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.width * self.height * self.num_frames

    @property
    def latent_bytes(self) -> int:
        """Of one frame."""
        rows, columns = self.height // PIXELS_PER_LATENT, self.width // PIXELS_PER_LATENT
        return self.latent_channels * rows * columns * LATENT_BYTES

    @property
    def store_bytes(self) -> int:
        """Of the film's clips in a clip store: every clip, and what leads the next."""
        motion = 0 if self.is_in_windows else self.num_clips * self.num_motion_frames
        return (self.num_stored_frames + motion) * self.latent_bytes

    @property
    def growing_bytes(self) -> int:
        """Memory on the device that grows with the film's length, beyond its sound."""
        return self.num_sampled_frames * self.latent_bytes * COPIES_IN_WINDOWS * self.is_in_windows


def first_part(film: Film) -> Film:
    """The beginning of a film that costs per step, and from clip to clip, what the whole costs.

    That is two clips, since only the second is led by motion frames, or two windows, since a single
    one is projected once by ComfyUI and not at every step. A shorter film stays as it is.
    """
    sampling = film.config.sampling
    if sampling.windows is None:
        count = min(film.num_frames, sampling.clip_stride + sampling.clip_frames)
    else:
        count = min(film.num_sampled_frames, sampling.clip_frames + 1)
    return dataclasses.replace(
        film, num_frames=min(film.num_frames, count), num_sampled_frames=count
    )
