"""The steps of all clips of a film as one: progress, previews and the denoised output.

Letters: F frames, C channels, h and w rows and columns of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..emo_core.sampling.clip_plan import ClipSpan

Callback = Callable[[int, Tensor, Tensor, int], None]
"""ComfyUI's: (step, clean estimate, latents, number of steps)."""


class Watch:
    """Hears of every step of every clip, and tells ComfyUI."""

    def __init__(
        self, *, steps: int, num_clips: int, callback: Callback | None, is_estimate_kept: bool
    ) -> None:
        self.steps = steps
        self.total = steps * num_clips
        self.callback = callback
        self.is_estimate_kept = is_estimate_kept
        self.num_passed = 0
        """Clips that are done, made or found."""
        self.latest: Tensor | None = None
        """The last clean estimate of the clip at work, up to the frames that the next has too, in
        the model's scale."""
        self.estimates: list[Tensor] = []

    def begin(self, span: ClipSpan) -> None:
        self.span = span
        self.latest = None

    def on_step(self, step: int, x0: Tensor, x: Tensor, total: int) -> None:
        """ComfyUI's callback. Previews show the first frame they get: the clip's newest."""
        self.latest = x0[: self.span.num_own]
        if self.callback is not None:
            done = min(self.num_passed * self.steps + step, self.total - 1)
            self.callback(done, self.latest[-1:], x, self.total)

    def end(self) -> None:
        """A few samplers report no step at all; their clip is its own estimate then."""
        self.pass_clip()
        if self.latest is not None and self.is_estimate_kept:
            self.estimates.append(self.latest)

    def pass_clip(self) -> None:
        self.num_passed += 1

    def end_film(self, film_FChw: Tensor, *, estimate: Tensor | None) -> None:
        """ComfyUI keeps what the very last callback passes as the denoised output.

        Args:
            estimate: in the model's scale; None takes those of the clips.
        """
        if estimate is None and self.estimates:
            estimate = torch.cat(self.estimates)[: len(film_FChw)]
        if self.callback is not None and estimate is not None:
            self.callback(self.total - 1, estimate, film_FChw, self.total)
