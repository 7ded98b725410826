"""A median over space and time takes out the flicker and the specks of single frames.

Source: tencent-ailab/V-Express, pipelines/utils.py (median_filter_3d), at commit 6814f7d: every
value becomes the median of the 3 x 3 x 3 values round it, each colour for itself. Past the first
and last frame, row and column the film is mirrored without repeating the edge.

Letters in this file: T frames, H and W rows and columns of pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError


class MedianFilter:
    """Filters a film that arrives in chunks, one frame behind; cutting it elsewhere is the same.

    It holds two frames. A film is given to `push` in order and ended by `finish`, whose frames
    belong to it too.
    """

    def __init__(self) -> None:
        self._before: Tensor | None = None
        """The frame before the last one pushed; None where there is none, as (H, W, 3)."""
        self._last: Tensor | None = None

    def push(self, frames_THW3: Tensor) -> Tensor:
        """Take the next frames and give back those whose neighbours are all known.

        Args:
            frames_THW3: any number of frames, floats or integers, at least 2 x 2 pixels.

        Returns:
            (T', H, W, 3) of the same dtype on the same device; T' is T, and T - 1 in the first call
            that brings a frame.

        Raises:
            InputError: the frames have another size than those before, or are less than 2 pixels
                high or wide.
        """
        self._check(frames_THW3)
        done = []
        for frame in frames_THW3.unbind(0):
            if self._last is not None:
                # Mirrored in time, the frame before the first is the second.
                before = frame if self._before is None else self._before
                done.append(_filtered(before, self._last, frame))
            self._before, self._last = self._last, frame
        if self._last is not None:  # Not views that keep the whole chunk alive.
            self._last = self._last.clone()
            self._before = None if self._before is None else self._before.clone()
        return torch.stack(done) if done else frames_THW3[:0]

    def finish(self) -> Tensor | None:
        """End the film: its last frame as (1, H, W, 3), or None for a film without frames.

        The filter is then ready for another film. A film of one frame has no neighbours in time;
        it is filtered in space alone.
        """
        before, last = self._before, self._last
        self._before = self._last = None
        if last is None:
            return None
        neighbour = last if before is None else before
        return _filtered(neighbour, last, neighbour)[None]

    def _check(self, frames_THW3: Tensor) -> None:
        size = frames_THW3.shape[1:]
        if frames_THW3.ndim != 4 or min(size[:2]) < 2:
            raise InputError(
                f"median filter: frames of shape {tuple(frames_THW3.shape)}. Expected (frames, "
                "height, width, 3) with at least 2x2 pixels; leave the filter out."
            )
        if self._last is not None and size != self._last.shape:
            raise InputError(
                f"median filter: a frame of shape {tuple(size)} after one of shape "
                f"{tuple(self._last.shape)}. Expected one size in a film; scale the frames."
            )


def median_filtered(parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Pass a film that comes in parts (T, H, W, 3) through the filter; yield it in parts."""
    median = MedianFilter()
    for part in parts:
        done = median.push(part)
        if len(done):
            yield done
    last = median.finish()
    if last is not None:
        yield last


def _filtered(before_HW3: Tensor, frame_HW3: Tensor, after_HW3: Tensor) -> Tensor:
    height, width = frame_HW3.shape[:2]
    three = torch.stack([before_HW3, frame_HW3, after_HW3]).permute(3, 0, 1, 2)
    padded_3THW = functional.pad(three, (1, 1, 1, 1), mode="reflect")
    neighbours = [
        padded_3THW[:, t, y : y + height, x : x + width]
        for t in range(3)
        for y in range(3)
        for x in range(3)
    ]
    return _median_of(neighbours).permute(1, 2, 0).contiguous()


def _median_of(values: list[Tensor]) -> Tensor:
    """The median of an odd number of tensors at every place, four times as fast as torch.median.

    Forgetful selection: of half the values and two, neither the smallest nor the greatest can be
    the median. They are dropped, one new value joins, and so on.
    """
    num_kept = len(values) // 2 + 2
    kept, waiting = values[:num_kept], values[num_kept:]
    while len(kept) > 1:
        half = len(kept) // 2
        for i in range(half):
            kept[i], kept[-1 - i] = _in_order(kept[i], kept[-1 - i])
        for i in range(1, len(kept) - half):
            kept[0], kept[i] = _in_order(kept[0], kept[i])
        for i in range(half, len(kept) - 1):
            kept[i], kept[-1] = _in_order(kept[i], kept[-1])
        kept = kept[1:-1]
        if waiting:
            kept.append(waiting.pop())
    return kept[0]


def _in_order(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(one, other), torch.maximum(one, other)
