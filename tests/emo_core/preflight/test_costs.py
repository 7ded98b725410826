"""Times of steps become the time of a film."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch

from emo_core.preflight import scratch
from emo_core.preflight.costs import Costs, SamplingCosts, StepClock
from emo_core.preflight.plan import FilmPlan
from emo_core.video.stills import PngSequenceWriter

PART = FilmPlan(
    family="emo",
    width=64,
    height=64,
    num_frames=8,
    num_sampled_frames=8,
    num_stored_frames=8,
    fps=25.0,
    num_clips=2,
    clip_frames=4,
    steps=3,
    num_passes=6,
    num_motion_frames=2,
    latent_channels=4,
    is_in_windows=False,
)
STEP_S, BETWEEN_S = 0.02, 0.05


def timed(plan: FilmPlan) -> SamplingCosts:
    """Steps that take a known time; the very first takes much longer."""
    clock = StepClock(plan)
    for step in range(plan.num_steps):
        is_first_of_clip = step % plan.steps == 0
        time.sleep(0.2 if step == 0 else STEP_S + BETWEEN_S * is_first_of_clip)
        clock.tick(step, torch.zeros(1))
    clock.tick(plan.num_steps - 1, torch.zeros(1))  # ComfyUI reports the last step twice.
    return clock.costs()


def test_steps_are_timed_without_the_first_of_a_clip() -> None:
    found = timed(PART)
    assert found.num_timed == 4
    # A busy machine may wake a sleeper late, never early.
    assert STEP_S <= found.fastest_pass_s <= found.pass_s <= found.slowest_pass_s
    assert found.pass_s == pytest.approx(STEP_S, rel=0.5)
    assert found.between_s == pytest.approx(BETWEEN_S, rel=0.5)


def test_a_step_over_two_windows_is_two_passes() -> None:
    windows = dataclasses.replace(PART, num_clips=1, is_in_windows=True)
    found = timed(windows)
    assert found.pass_s == pytest.approx(STEP_S / 2, rel=0.5)
    assert found.between_s == 0


def test_a_sampler_that_reports_no_step_is_timed_as_a_whole() -> None:
    clock = StepClock(PART)
    time.sleep(0.12)
    found = clock.costs()
    assert found.pass_s == pytest.approx(0.02, rel=0.5)
    assert found.between_s == 0


def test_the_sound_is_looked_through_once_and_not_for_every_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A writer does so when it is made; what that takes does not grow with the film's frames."""

    def open_scratch(path: Path, num_frames: int) -> PngSequenceWriter:
        clock_s.append(clock_s[-1] + 1000.0)
        return PngSequenceWriter(path)

    clock_s = [0.0]
    monkeypatch.setattr(scratch.time, "perf_counter", lambda: clock_s[-1])
    write_s, frame_bytes = scratch.time_writing(torch.rand(3, 16, 16, 3), open_scratch)
    assert write_s == 0.0 and frame_bytes > 100


def test_a_film_is_the_sum_of_its_parts() -> None:
    sampling = SamplingCosts(
        pass_s=2.0, fastest_pass_s=1.0, slowest_pass_s=3.0, num_timed=4, between_s=0.5
    )
    costs = Costs(prepare_s=7.0, sampling=sampling, decode_s=0.25, write_s=0.125, frame_bytes=9.0)
    plan = dataclasses.replace(PART, num_frames=80, num_clips=20, num_passes=200, steps=10)
    parts = {"prepare": 7.0, "sample": 400.0 + 19 * 0.5, "decode": 20.0, "write": 10.0}
    assert costs.seconds(plan) == parts
    only = dataclasses.replace(costs, decode_s=None, write_s=None, frame_bytes=None)
    assert list(only.seconds(plan)) == ["prepare", "sample"]
