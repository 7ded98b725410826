"""A film's frames, cut into overlapping windows that are denoised together.

Source: EchoMimic, `src/pipelines/context.py` and `pipeline_echo_mimic.py`; V-Express,
`pipelines/context.py`. Both come from AnimateDiff's uniform schedule with stride 1.
"""

from __future__ import annotations

from ..config import WindowsConfig


def plan_windows(
    num_frames: int, *, length: int, config: WindowsConfig, step_index: int = 0
) -> list[list[int]]:
    """Return the frame numbers of every window of one step; each frame is in at least one.

    A film no longer than a window is one window. A loop's last window goes on with the first
    frames; otherwise it is pulled back to end with the film.
    """
    if num_frames <= length:
        return [list(range(num_frames))]
    stride = length - config.overlap
    offset = config.shift * step_index
    if config.is_loop:
        return [
            [(first + place + offset) % num_frames for place in range(length)]
            for first in range(0, num_frames, stride)
        ]
    windows = []
    for first in range(0, num_frames - config.overlap, stride):
        first = min(first, num_frames - length)
        windows.append(list(range(first, first + length)))
    return windows
