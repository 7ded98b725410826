"""How families that sample overlapping windows (EchoMimic, V-Express) do so inside ComfyUI.

The MODEL brings its windows along as ComfyUI's own kind of context handler, so that every sampler
of any node runs them; 'Context Windows (Manual)' behind it replaces them.
"""

from __future__ import annotations

from functools import partial

import comfy.context_windows
import comfy.patcher_extension
from comfy.context_windows import ContextFuseMethods, ContextSchedule, IndexListContextHandler
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
        super().__init__(
            ContextSchedule(KEY, partial(_windows, sampling=sampling)),
            comfy.context_windows.get_matching_fuse_method(ContextFuseMethods.FLAT),
            context_length=sampling.clip_frames,
            context_overlap=sampling.windows.overlap,
            causal_window_fix=False,
        )

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


def _windows(
    num_frames: int, handler: FilmWindows, model_options: dict, *, sampling: SamplingConfig
) -> list[list[int]]:
    """ComfyUI's contract of a schedule."""
    return plan_windows(
        num_frames,
        length=sampling.clip_frames,
        config=sampling.windows,
        step_index=handler._step,
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
