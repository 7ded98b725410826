"""How families that sample overlapping windows (EchoMimic, V-Express) do so inside ComfyUI.

The MODEL brings its windows along as ComfyUI's own kind of context handler, so that every sampler
of any node runs them; 'Context Windows (Manual)' behind it replaces them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import comfy.context_windows
import comfy.model_management
import comfy.patcher_extension
import torch
from comfy.context_windows import (
    ContextFuseMethods,
    ContextSchedule,
    IndexListContextHandler,
    IndexListContextWindow,
)
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..emo_core.config import SamplingConfig
from ..emo_core.sampling.noise import limited
from ..emo_core.sampling.window_plan import plan_windows

KEY = "emo"
"""Under which the pack's wrappers are kept on a MODEL."""


class FilmWindows(IndexListContextHandler):
    """The windows of `emo_core.sampling.windows`, averaged evenly."""

    def __init__(self, sampling: SamplingConfig) -> None:
        flat = comfy.context_windows.get_matching_fuse_method(ContextFuseMethods.FLAT)
        super().__init__(
            ContextSchedule(KEY, self._plan),
            flat,
            context_length=sampling.clip_frames,
            context_overlap=sampling.windows.overlap,
            causal_window_fix=False,
        )
        self.sampling = sampling

    def should_use_context(  # noqa: D102
        self,
        model: object,
        conds: list,
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict,
    ) -> bool:
        # ComfyUI's own says so in the log at every step.
        return x_in.shape[0] > self.context_length

    def execute(  # noqa: D102
        self,
        calc_cond_batch: Callable,
        model: object,
        conds: list,
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict,
    ) -> list[Tensor]:
        # As ComfyUI's own, without a line in the log for every window of every step.
        self._model = model
        try:
            self.set_step(timestep, model_options)
            totals = [torch.zeros_like(x_in) for _ in conds]
            count_F = x_in.new_zeros(len(x_in))
            for frames in self._plan(len(x_in)):
                comfy.model_management.throw_exception_if_processing_interrupted()
                window = IndexListContextWindow(frames, dim=0, total_frames=len(x_in))
                model_options["transformer_options"]["context_window"] = window
                inside = [self.get_resized_cond(cond, x_in, window) for cond in conds]
                answers = calc_cond_batch(
                    model, inside, x_in[frames], timestep[frames], model_options
                )
                for total, answer in zip(totals, answers, strict=True):
                    total[frames] += answer
                count_F[frames] += 1
            return [total / count_F[:, None, None, None] for total in totals]
        finally:
            # The handler lives as long as the loaded MODEL; a clone of it may not.
            self._model = None

    def _plan(self, num_frames: int, *arguments: object) -> list[list[int]]:
        """Also ComfyUI's contract of a schedule."""
        return plan_windows(
            num_frames,
            length=self.sampling.clip_frames,
            config=self.sampling.windows,
            step_index=self._step,
        )


def _limit_noise(
    executor: object, noise: Tensor, *arguments: object, limit: float, **options: object
) -> Tensor:
    """ComfyUI's contract of a wrapper round a whole sampling call."""
    return executor(limited(noise, limit), *arguments, **options)


def add_windows(patcher: ModelPatcher, sampling: SamplingConfig) -> None:
    """Give a MODEL the windows and the noise of its family."""
    if sampling.windows is not None:
        patcher.model_options["context_handler"] = FilmWindows(sampling)
        # So that memory is estimated for a window, not for all frames.
        comfy.context_windows.create_prepare_sampling_wrapper(patcher)
    if sampling.noise_limit is not None:
        patcher.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.OUTER_SAMPLE,
            KEY,
            partial(_limit_noise, limit=sampling.noise_limit),
        )
