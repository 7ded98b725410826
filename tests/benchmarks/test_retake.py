"""Four seconds in the middle of a minute made again: what changes, how it joins, what it costs.

The demo's film of 60 s at full size and steps, then its part from 28 to 32 s with other seeds
(`make bench`). Printed are, at both ends of the new part, the change from frame to frame over what
is usual at its own clip borders, and the share of steps and seconds that the part took. Twenty
minutes on two cores.
"""

import time
from pathlib import Path

import numpy as np
import torch

from emo_core.assets import DEMO_CHECKPOINT, DEMO_VAE, PORTRAIT
from emo_core.audio.waveform import Waveform
from emo_core.config import SamplingConfig
from emo_core.evaluation.measures import frame_differences
from emo_core.pipeline import AnimateSettings, Animator, RetakeSettings
from emo_core.sampling.clip_plan import plan_clips
from emo_core.store.clips import ClipStore
from emo_core.synthetic.voices import random_utterance
from emo_core.video.frame_bytes import frames_as_bytes
from emo_core.video.images import read_image

FILM_S, START_S, END_S, BLEND_FRAMES = 60.0, 28.0, 32.0, 8
SEEDS = (1, 2, 3)
SEEN = slice(540, 960)
"""Frames that are decoded, from well before the part to well behind it."""


class Studio:
    """One film in one store, made with any retakes."""

    def __init__(self, folder: Path) -> None:
        self.animator = Animator.load(DEMO_CHECKPOINT, DEMO_VAE, device=torch.device("cpu"))
        self.settings = AnimateSettings(speed_deg_s=12.0)
        utterance = random_utterance("test", 3, seconds=FILM_S)
        voice = Waveform(
            samples=torch.from_numpy(utterance.samples)[None],
            sample_rate_hz=utterance.sample_rate_hz,
        )
        self.film = self.animator.film(read_image(PORTRAIT), voice, settings=self.settings)
        self.store = ClipStore(folder)

    def make(self, *retakes: RetakeSettings) -> tuple[torch.Tensor, int, float]:
        """The film's latents, steps taken, seconds of sampling."""
        num_steps = 0

        def count(clip_index: int, step_index: int, latents: torch.Tensor) -> None:
            nonlocal num_steps
            num_steps += 1

        begun = time.perf_counter()
        parts = self.animator.sample(
            self.film, settings=self.settings, retakes=retakes, on_step=count, store=self.store
        )
        latents = torch.cat(list(parts))
        return latents, num_steps, time.perf_counter() - begun

    def frames(self, latents: torch.Tensor) -> np.ndarray:
        """Frames SEEN as they are stored, 0..1."""
        parts = self.animator.decode(iter([latents[SEEN]]))
        frames = torch.cat([frames_as_bytes(part, first_index=0) for part in parts])
        return frames.numpy() / np.float32(255)


def border_ratios(differences: np.ndarray, sampling: SamplingConfig) -> np.ndarray:
    """Change into each clip's first frame over the median of the changes around it.

    Args:
        differences: of `frame_differences` of the frames SEEN; place f - 1 holds the change into
            their frame f.
    """
    stride = sampling.clip_stride
    starts = range(-SEEN.start % stride, len(differences) + 1 - stride, stride)
    return np.array([change_at(differences, f, reach=stride - 1) for f in starts if f > 0])


def change_at(differences: np.ndarray, frame: int, *, reach: int) -> float:
    """Change into a frame over the median of those of some frames before and after."""
    place = frame - 1
    around = [*differences[max(place - reach, 0) : place], *differences[place + 1 :][:reach]]
    return float(differences[place] / np.median(around))


def test_four_seconds_of_a_minute(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    fps, sampling = round(studio.film.fps), studio.film.config.sampling
    first, last = round(START_S * fps), round(END_S * fps)
    end = last + BLEND_FRAMES
    old, all_steps, all_seconds = studio.make()
    _, no_steps, store_seconds = studio.make()
    assert no_steps == 0
    old_frames = studio.frames(old)
    usual = border_ratios(frame_differences(old_frames), sampling)
    print(
        f"\nfilm: {len(old)} frames, {all_steps} steps, {all_seconds:.0f} s; from the store "
        f"{store_seconds:.1f} s\nchange at {len(usual)} clip borders over that around: median "
        f"{np.median(usual):.3f}, 10 to 90 %: {np.quantile(usual, 0.1):.3f} to "
        f"{np.quantile(usual, 0.9):.3f}\nseed  start  end of the part  last blended  steps  seconds"
    )
    joints = []
    for seed in SEEDS:
        part = RetakeSettings(start_s=START_S, end_s=END_S, seed=seed, blend_frames=BLEND_FRAMES)
        new, steps, seconds = studio.make(part)
        assert len(new) == len(old)
        assert torch.equal(new[:first], old[:first])
        assert torch.equal(new[end:], old[end:])
        assert not torch.equal(new[first:last], old[first:last])
        new_frames = studio.frames(new)
        is_outside = np.ones(len(new_frames), dtype=bool)
        is_outside[first - SEEN.start : end - SEEN.start] = False
        assert np.array_equal(new_frames[is_outside], old_frames[is_outside])
        differences = frame_differences(new_frames)
        at = [
            change_at(differences, frame - SEEN.start, reach=sampling.clip_stride - 1)
            / np.median(usual)
            for frame in (first, last, end)
        ]
        joints.append(at)
        print(
            f"{seed:4} {at[0]:6.3f} {at[1]:16.3f} {at[2]:13.3f} {steps:6} "
            f"({steps / all_steps:.1%}) {seconds - store_seconds:5.1f} "
            f"({(seconds - store_seconds) / all_seconds:.1%})",
            flush=True,
        )
        # The part and its blend, in whole clips.
        spans = plan_clips(
            end - first, clip_frames=sampling.clip_frames, overlap=sampling.clip_overlap
        )
        assert steps == len(spans) * sampling.steps
    print("mean of seeds, over the median border:", np.mean(joints, axis=0).round(3))
