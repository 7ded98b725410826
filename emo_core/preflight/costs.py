"""Measured costs of a film's parts, and the time that the whole film takes by them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from torch import Tensor

from .plan import FilmPlan

MEASURED_STEPS = 3
"""Of each measured clip. The first step of a clip is not timed: it warms up."""


@dataclass(frozen=True, kw_only=True)
class SamplingCosts:
    """What a `StepClock` found."""

    pass_s: float
    """Of one denoising step of one clip or window: the median."""
    fastest_pass_s: float
    slowest_pass_s: float
    num_timed: int
    between_s: float
    """From a clip's last step to the next clip's first: motion frames and conditions."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured on this machine. Times in seconds; None where it was not asked for."""

    prepare_s: float
    """Networks, sound and portrait, of the whole film."""
    sampling: SamplingCosts
    decode_s: float | None
    """Per frame."""
    write_s: float | None
    """Per frame, picture and sound."""
    frame_bytes: float | None
    """Per frame of the film on disk, picture and sound."""

    def seconds(self, plan: FilmPlan) -> dict[str, float]:
        """Time of every part of a film."""
        found = {
            "prepare": self.prepare_s,
            "sample": plan.num_passes * self.sampling.pass_s
            + (plan.num_clips - 1) * self.sampling.between_s,
        }
        if self.decode_s is not None:
            found["decode"] = plan.num_frames * self.decode_s
        if self.write_s is not None:
            found["write"] = plan.num_frames * self.write_s
        return found


class StepClock:
    """Notes when each step of a film's first part ended."""

    def __init__(self, plan: FilmPlan) -> None:
        """Begin now.

        Args:
            plan: of the part that is measured.
        """
        self.plan = plan
        self.begun_s = time.perf_counter()
        self.ended_s: dict[int, float] = {}
        """Step, counted over all clips -> when it ended."""

    def tick(self, step: int, latents: Tensor) -> None:
        """Note that a step ended, which made these latents."""
        latents.flatten()[0].item()  # Waits for the device, which else would still be at work.
        self.ended_s.setdefault(step, time.perf_counter())

    def costs(self) -> SamplingCosts:
        """What a step costs, as far as the sampler reported its steps."""
        plan = self.plan
        share = plan.num_steps / plan.num_passes  # Of a window in a step.
        durations = [
            (self.ended_s[step] - self.ended_s[step - 1]) * share
            for step in range(plan.num_steps)
            if step % plan.steps and step in self.ended_s and step - 1 in self.ended_s
        ]
        if not durations:  # A sampler that reports no steps.
            durations = [(time.perf_counter() - self.begun_s) / plan.num_passes]
        pass_s = median(durations)
        between_s = 0.0
        if plan.steps in self.ended_s and plan.steps - 1 in self.ended_s:
            gap = self.ended_s[plan.steps] - self.ended_s[plan.steps - 1]
            between_s = max(0.0, gap - pass_s / share)
        return SamplingCosts(
            pass_s=pass_s,
            fastest_pass_s=min(durations),
            slowest_pass_s=max(durations),
            num_timed=len(durations),
            between_s=between_s,
        )
