"""Meters of one film, of any portrait and voice: read clip by clip while it goes by.

Colour and seams are those of `measures`, identity is `likeness`, lip sync compares the mouth that
`reader` sees with the loudness of the voice, since nobody knows how a user's speaker moved.

Letters: F frames, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..audio.loudness import speech_loudness
from ..audio.waveform import Waveform
from ..errors import InputError
from ..sampling.clip_plan import ClipSpan
from ..video.frame_bytes import frames_as_bytes
from .likeness import FeatureLikeness, Likeness, PixelLikeness, ReadFeatures
from .measures import (
    MAX_LAG_FRAMES,
    border_ratio,
    change_ratio,
    color_drift,
    correlation,
    frame_differences,
    lip_sync,
)
from .reader import load_reader
from .readings import FilmReading, MeterReading

IDENTITY_FRAMES = 3
"""Of every clip: its first, and those at a third and two thirds."""
LIP_SYNC_SECONDS = 2.0
"""Round the middle of a clip. In a film of 30 s the clips' own sound is then more like the mouth
than another part of it in 98 of 100 cases; over the 0.5 s of a clip alone, in 84."""
LEAST_LIP_SYNC_SECONDS = 1.0
SILENCE = 0.1
"""Share of the film's greatest loudness, -40 dB, below which a voice is silent."""


@dataclass(frozen=True, eq=False)
class _ClipNumbers:
    """What is kept of a clip."""

    first_frame: int
    num_frames: int
    identity: float
    color_3: np.ndarray
    """Mean colour, 0..1."""
    spread_3: np.ndarray
    """Mean of the frames' standard deviations, 0..1."""
    across: np.ndarray
    """[1 + shared frames], or [0] in the first clip: the difference to the frame before, and those
    as long as the clip before is faded out."""
    within: np.ndarray
    """The other differences."""
    mouth_open_F: np.ndarray | None


class _Mouth(NamedTuple):
    """Lip sync of every clip and of the film."""

    by_clip: list[float | None]
    of_film: float | None
    lag_frames: int | None


class FilmMeters:
    """Reads a film that arrives in parts; cut elsewhere, the numbers are the same.

    It holds the frames of one clip, and a few numbers per frame of the film.
    """

    def __init__(
        self,
        portrait_HW3: Tensor,
        *,
        clips: Sequence[ClipSpan],
        fps: float,
        read_features: ReadFeatures | None = None,
        voice: Waveform | None = None,
    ) -> None:
        """Prepare for one film.

        Args:
            portrait_HW3: 0..1, at the film's size, as the model read it.
            clips: of the film, in order; each is measured from its first frame to that of the next.
                For families that sample in windows a clip is just a stretch of the film, and its
                border no seam.
            read_features: the ReferenceNet; None compares pixels instead.
            voice: what drives the face, from the film's first frame on. For drawn faces only, since
                the reader of mouths knows no others; None leaves lip sync out.

        Raises:
            InputError: a frame rate not above 0, or no picture.
        """
        if not fps > 0.0:
            raise InputError(
                f"meters: {fps} frames per second. Expected a rate above 0; give the film's."
            )
        if portrait_HW3.ndim != 3 or portrait_HW3.shape[-1] != 3:
            raise InputError(
                f"meters: a portrait of shape {tuple(portrait_HW3.shape)}. Expected (height, "
                "width, 3); give one colour picture at the film's size."
            )
        self._size = tuple(portrait_HW3.shape)
        self._planned = tuple(clips)
        ends = [span.first for span in self._planned[1:]] + [self._planned[-1].last]
        self._lengths = [end - span.first for span, end in zip(self._planned, ends, strict=True)]
        """Frames of each clip before the next begins."""
        self._fps = fps
        self._likeness: Likeness = (
            PixelLikeness(portrait_HW3)
            if read_features is None
            else FeatureLikeness(portrait_HW3, read_features)
        )
        self._voice = voice
        self._reader = None if voice is None else load_reader().reader
        self._waiting: list[Tensor] = []
        """Frames of the clip that is not complete, uint8."""
        self._frame_before: np.ndarray | None = None
        """[1, H, W, 3]."""
        self._clips: list[_ClipNumbers] = []

    def push(self, frames_FHW3: Tensor) -> None:
        """Take the film's next frames, any number: floats in 0..1 or uint8.

        They are read as they would be stored, in 8 bits. The ReferenceNet runs when a clip is
        complete.

        Raises:
            InputError: frames of another size than the portrait, NaN in them, or more than the
                clips have.
        """
        if tuple(frames_FHW3.shape[1:]) != self._size:
            raise InputError(
                f"meters: frames of shape {tuple(frames_FHW3.shape[1:])}, the portrait has "
                f"{self._size}. Expected one size; give the portrait as it was fitted to the film."
            )
        num_before = sum(clip.num_frames for clip in self._clips) + len(self._waiting)
        for frame in frames_as_bytes(frames_FHW3, first_index=num_before):
            if len(self._clips) == len(self._planned):
                raise InputError(
                    f"meters: frame {self._planned[-1].last}, but the film's clips end before it. "
                    "Expected no more frames than they have; give all clips of the film."
                )
            # Not a view that keeps all pushed frames alive.
            self._waiting.append(frame.clone())
            if len(self._waiting) == self._lengths[len(self._clips)]:
                self._end_clip()

    def finish(self) -> FilmReading:
        """End the film, which may be shorter than planned, and return what was read."""
        if self._waiting:
            self._end_clip()
        mouth = self._lip_sync()
        clips = self._readings(mouth.by_clip)
        first, last = (clips[0], clips[-1]) if clips else (None, None)
        return FilmReading(
            clips=clips,
            num_frames=last.last_frame + 1 if clips else 0,
            fps=self._fps,
            identity_by=self._likeness.name,
            identity_meaning=self._likeness.meaning,
            identity=float(np.mean([clip.identity for clip in clips])) if clips else None,
            identity_drift=last.identity - first.identity if clips else None,
            colour_drift=last.colour_drift if clips else None,
            contrast_drift=last.contrast_drift if clips else None,
            seam_ratio=self._seam_ratio(),
            lip_sync=mouth.of_film,
            lip_sync_lag_frames=mouth.lag_frames,
        )

    def _end_clip(self) -> None:
        """Read the clip and let go of its frames."""
        index = len(self._clips)
        stored = torch.stack(self._waiting)
        pixels = stored.numpy().astype(np.float32) / 255.0
        picked = {i * self._lengths[index] // IDENTITY_FRAMES for i in range(IDENTITY_FRAMES)}
        likeness = [self._likeness.of(stored[i].float() / 255.0) for i in picked if i < len(stored)]
        before, num_across = [], 0
        if self._frame_before is not None:
            before, num_across = [self._frame_before], 1 + self._planned[index - 1].num_shared
        differences = frame_differences(np.concatenate([*before, pixels]))
        mouth = None if self._reader is None else self._reader.read(stored).mouth_open_N.numpy()
        self._clips.append(
            _ClipNumbers(
                first_frame=self._planned[index].first,
                num_frames=len(stored),
                identity=float(np.mean(likeness)),
                color_3=pixels.mean(axis=(1, 2)).mean(axis=0),
                spread_3=pixels.std(axis=(1, 2)).mean(axis=0),
                across=differences[:num_across],
                within=differences[num_across:],
                mouth_open_F=mouth,
            )
        )
        self._frame_before = pixels[-1:]
        self._waiting = []

    def _seam_ratio(self) -> float | None:
        """Of the film; None without a border or anything within clips."""
        across = [clip.across for clip in self._clips if len(clip.across)]
        within = [clip.within for clip in self._clips if len(clip.within)]
        return border_ratio(across, np.concatenate(within)) if across and within else None

    def _readings(self, lip_sync_by_clip: list[float | None]) -> tuple[MeterReading, ...]:
        if not self._clips:
            return ()
        first = self._clips[0]
        within = np.concatenate([clip.within for clip in self._clips])
        return tuple(
            MeterReading(
                first_frame=clip.first_frame,
                last_frame=clip.first_frame + clip.num_frames - 1,
                identity=clip.identity,
                colour_drift=_drift(first.color_3, clip.color_3),
                contrast_drift=_drift(first.spread_3, clip.spread_3),
                seam_ratio=change_ratio(clip.across.max(), within)
                if len(clip.across) and len(within)
                else None,
                lip_sync=clip_lip_sync,
            )
            for clip, clip_lip_sync in zip(self._clips, lip_sync_by_clip, strict=True)
        )

    def _lip_sync(self) -> _Mouth:
        nothing = _Mouth([None] * len(self._clips), of_film=None, lag_frames=None)
        num_frames = sum(clip.num_frames for clip in self._clips)
        least = max(round(LEAST_LIP_SYNC_SECONDS * self._fps), 2 * MAX_LAG_FRAMES + 2)
        if self._voice is None or num_frames < least:
            return nothing
        mouth_F = np.concatenate([clip.mouth_open_F for clip in self._clips])
        loudness_F = speech_loudness(self._voice, fps=self._fps, num_frames=num_frames).numpy()
        if loudness_F.max() == 0.0:
            return nothing
        half = round(LIP_SYNC_SECONDS / 2 * self._fps)
        by_clip: list[float | None] = []
        for clip in self._clips:
            middle = clip.first_frame + clip.num_frames // 2
            window = slice(max(0, middle - half), middle + half)
            is_heard = loudness_F[window].max() > SILENCE * loudness_F.max()
            by_clip.append(correlation(mouth_F[window], loudness_F[window]) if is_heard else None)
        whole = lip_sync([mouth_F], [loudness_F])
        return _Mouth(by_clip, of_film=whole.correlation, lag_frames=whole.lag_frames)


def _drift(first_3: np.ndarray, clip_3: np.ndarray) -> float:
    return color_drift(np.stack([first_3, clip_3]), num_end_frames=1)
