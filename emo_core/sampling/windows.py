"""Overlapping windows over all frames of a film, which are denoised together.

At every step each window is predicted by itself, and a frame's prediction is the mean over the
windows that it is in.

Source: EchoMimic, `src/pipelines/pipeline_echo_mimic.py`; V-Express,
`pipelines/v_express_pipeline.py`.

Letters: F frames of the film, C channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import WindowsConfig
from .denoising import Predict, PredictGuided, guided
from .window_plan import plan_windows

PrepareWindow = Callable[[list[int]], Predict]
"""Frame numbers of a window -> its predictor."""


def predict_in_windows(
    prepare_window: PrepareWindow, *, guidance: float, length: int, config: WindowsConfig
) -> PredictGuided:
    """Return the predictor of a whole film.

    Args:
        prepare_window: called for every window of every step, since windows may move.
        length: frames of a window.
    """

    def predict(latents_FChw: Tensor, timestep: Tensor, step_index: int) -> Tensor:
        total = torch.zeros_like(latents_FChw)
        count_F = latents_FChw.new_zeros(len(latents_FChw))
        for frames in plan_windows(
            len(latents_FChw), length=length, config=config, step_index=step_index
        ):
            conditional, unconditional = prepare_window(frames)(latents_FChw[frames], timestep)
            total[frames] += guided(conditional, unconditional, guidance=guidance)
            count_F[frames] += 1
        return total.div_(count_F[:, None, None, None])

    return predict
