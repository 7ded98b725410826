"""What is measured of a film: pure functions of arrays.

Letters: F frames, L lags, C clips, P people, D width of an identity, H and W rows and columns.
Frames are floats of 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..face.motion import angular_speed, rotation_matrices
from ..sampling.clip_plan import plan_clips

MAX_LAG_FRAMES = 6
LEAST_DEVIATION = 1e-4
LEAST_DIFFERENCE = 1e-6
"""Added to frame differences, so that a still picture has a seam ratio of 1."""
COLOR_LEVELS = 255.0
SMOOTHING_FRAMES = 9
SMOOTHING_ORDER = 2
RESTING_OPENING = 0.1
"""Below this share of its range, 0..1, a mouth is at rest."""


class LipSync(NamedTuple):
    """Agreement of mouth and sound over a set of films."""

    correlation: float
    """Of `curve_L` at `lag_frames`."""
    lag_frames: int
    """Where the curve is highest, unless it was given; positive when the mouth comes after the
    sound."""
    curve_L: np.ndarray
    """Mean correlation of the films at each lag from -MAX_LAG_FRAMES to MAX_LAG_FRAMES."""
    standard_error: float
    """Of `correlation`, over films."""


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two curves [F]; 0 where one of them is constant.

    A curve counts as constant below a standard deviation of LEAST_DEVIATION, so that rounding in
    the readings of a still picture correlates with nothing.
    """
    first_deviation, second_deviation = first.std(), second.std()
    if min(first_deviation, second_deviation) < LEAST_DEVIATION:
        return 0.0
    product = (first - first.mean()) * (second - second.mean())
    return float(product.mean() / (first_deviation * second_deviation))


def lag_curve(read: np.ndarray, true: np.ndarray, *, max_lag: int = MAX_LAG_FRAMES) -> np.ndarray:
    """Correlation of two curves [F] at each lag of -max_lag..max_lag frames: [2 * max_lag + 1].

    At lag l frame f of the film is compared with frame f - l of the truth, over the frames that
    both have.

    Raises:
        InputError: the curves differ in length or are shorter than 2 * max_lag + 2 frames.
    """
    if read.shape != true.shape or read.ndim != 1 or len(read) < 2 * max_lag + 2:
        raise InputError(
            f"Lip sync: curves of shape {read.shape} and {true.shape}, expected two of equal "
            f"length of at least {2 * max_lag + 2} frames. Measure longer films."
        )
    num_frames = len(read)
    return np.array(
        [
            correlation(
                read[max(lag, 0) : num_frames + min(lag, 0)],
                true[max(-lag, 0) : num_frames + min(-lag, 0)],
            )
            for lag in range(-max_lag, max_lag + 1)
        ]
    )


def lip_sync(
    read_CF: list[np.ndarray], true_CF: list[np.ndarray], *, lag_frames: int | None = None
) -> LipSync:
    """Compare each film's mouth with its own sound.

    Args:
        lag_frames: where they are compared; None finds the lag that suits best.
    """
    return _summary(
        np.stack([lag_curve(read, true) for read, true in zip(read_CF, true_CF, strict=True)]),
        lag_frames=lag_frames,
    )


def shuffled_lip_sync(read_CF: list[np.ndarray], true_CF: list[np.ndarray]) -> LipSync:
    """The control: compare each film's mouth with the sounds of all other films.

    A model that moves the mouth without listening scores the same here as in `lip_sync`. The best
    model scores a little above 0, since all voices begin and end in silence. Films must be of one
    length, and at least two.
    """
    if len(read_CF) < 2:
        raise InputError(
            f"Lip sync: {len(read_CF)} film, expected at least 2, since the control compares each "
            "with the sound of another. Measure more films."
        )
    curves = [
        np.mean(
            [lag_curve(read, true) for j, true in enumerate(true_CF) if j != i],
            axis=0,
        )
        for i, read in enumerate(read_CF)
    ]
    return _summary(np.stack(curves))


def at_rest_share(mouth_open_CF: list[np.ndarray], is_silent_CF: list[np.ndarray]) -> float | None:
    """Share of the silent frames of all films in which the mouth is read as at rest.

    None where no frame is silent.
    """
    silent = np.concatenate(
        [read[where] for read, where in zip(mouth_open_CF, is_silent_CF, strict=True)]
    )
    return float((silent < RESTING_OPENING).mean()) if len(silent) else None


def identity_top1(identity_FD: np.ndarray, gallery_PD: np.ndarray, *, own_index: int) -> float:
    """Share of frames that are more like their own portrait than like any other.

    Args:
        identity_FD: embeddings of unit length, one per frame.
        gallery_PD: likewise, one per portrait.
        own_index: the film's own portrait in the gallery.
    """
    return float(((identity_FD @ gallery_PD.T).argmax(axis=1) == own_index).mean())


def head_speed(pose_F3: np.ndarray, *, fps: float) -> np.ndarray:
    """Angular speed [F] in degrees per second from poses that were read, frame by frame.

    Yaw, pitch and roll are smoothed first (Savitzky-Golay, 9 frames, second order): at 25 fps an
    error of one degree in a single frame would otherwise count as 25 degrees per second.
    """
    from scipy.signal import savgol_filter  # Training brings SciPy; meters do without.

    num_frames = len(pose_F3)
    window = min(SMOOTHING_FRAMES, num_frames - 1 + num_frames % 2)
    if window > SMOOTHING_ORDER:
        pose_F3 = savgol_filter(pose_F3, window, SMOOTHING_ORDER, axis=0)
    return angular_speed(rotation_matrices(*pose_F3.T), fps=fps)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two lists of numbers; equal values share their mean rank."""
    from scipy.stats import rankdata  # Training brings SciPy; meters do without.

    return correlation(rankdata(first), rankdata(second))


def relative_error(measured: np.ndarray, wanted: np.ndarray) -> float:
    """Mean of |measured - wanted| / wanted; what is wanted is above 0."""
    return float(np.mean(np.abs(measured - wanted) / wanted))


def region_share(boxes_F4: np.ndarray, mask_HW: np.ndarray) -> float:
    """Mean share of the area of the read face box that lies inside the mask.

    The box is what is measured, not the motion of pixels: a VAE makes every pixel flicker a
    little, inside the mask and outside, and hair and collars rightly move outside of it.
    """
    height, width = mask_HW.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = mask_HW.cumsum(axis=0).cumsum(axis=1)
    columns = np.clip(boxes_F4[:, 0::2] * width, 0.0, width)
    rows = np.clip(boxes_F4[:, 1::2] * height, 0.0, height)
    inside = np.zeros(len(boxes_F4))
    for i, sign_y in ((0, -1.0), (1, 1.0)):
        for j, sign_x in ((0, -1.0), (1, 1.0)):
            inside += sign_x * sign_y * _bilinear(sums, rows[:, i], columns[:, j])
    area = np.abs((boxes_F4[:, 2] - boxes_F4[:, 0]) * (boxes_F4[:, 3] - boxes_F4[:, 1]))
    return float(np.clip(inside / np.maximum(area * height * width, 1e-9), 0.0, 1.0).mean())


def motion_energy_share(frames_FHWC: np.ndarray, mask_HW: np.ndarray) -> float:
    """Share of the squared frame-to-frame differences inside the mask; 1 where nothing moves.

    Squares let the motion of edges count far more than flicker. Reported beside `region_share`:
    hair, collars and flicker keep it below 1 even for a perfect film.
    """
    energy_HW = np.zeros(mask_HW.shape)
    for before, after in zip(frames_FHWC[:-1], frames_FHWC[1:], strict=True):
        energy_HW += np.square(after - before).sum(axis=-1)
    total = energy_HW.sum()
    return float((energy_HW * mask_HW).sum() / total) if total > 0 else 1.0


def frame_differences(frames_FHWC: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the one before: [F - 1]."""
    pairs = zip(frames_FHWC[:-1], frames_FHWC[1:], strict=True)
    return np.array([np.abs(after - before).mean() for before, after in pairs])


def seam_ratio(differences_CF: list[np.ndarray], *, clip_frames: int, overlap: int = 0) -> float:
    """Mean difference across the borders of clips over that within clips; 1 means no seam.

    Where clips are faded into each other, a border is every difference from the last frame before
    the shared ones to the first behind them; the place with the greatest mean is what counts.

    Args:
        differences_CF: of `frame_differences`, one list entry per film.
        clip_frames: frames per clip of the model.
        overlap: of these, frames that a clip shares with the one before.

    Raises:
        InputError: no film is longer than a clip.
    """
    across: list[np.ndarray] = []
    within: list[np.ndarray] = []
    for differences in differences_CF:
        spans = plan_clips(len(differences) + 1, clip_frames=clip_frames, overlap=overlap)
        is_within = np.ones(len(differences), dtype=bool)
        for span in spans[1:]:
            # Entry f - 1 is the change into frame f.
            border = slice(span.first - 1, span.first + overlap)
            across.append(differences[border])
            is_within[border] = False
        within.append(differences[is_within])
    within_all = np.concatenate(within)
    if not across or len(within_all) == 0:
        raise InputError(
            f"Seams: {len(across)} clip borders and {len(within_all)} other frame pairs, expected "
            "both. Measure films of at least two clips of two frames."
        )
    return border_ratio(across, within_all)


def border_ratio(across: Sequence[np.ndarray], within: np.ndarray) -> float:
    """Differences across borders over the mean of those within clips.

    Args:
        across: of each border, [1 + frames that its clips share], or fewer at a film's end; the
            place of all borders with the greatest mean counts.
    """
    means = [
        np.mean([border[place] for border in across if len(border) > place])
        for place in range(max(map(len, across)))
    ]
    return change_ratio(max(means), within)


def change_ratio(across: float, within: np.ndarray) -> float:
    """A frame difference across borders over the mean of those within clips.

    They are of `frame_differences`; there is at least one within.
    """
    return float((across + LEAST_DIFFERENCE) / (within.mean() + LEAST_DIFFERENCE))


def identity_drift(
    identity_FD: np.ndarray, portrait_D: np.ndarray, *, num_end_frames: int
) -> float:
    """Likeness to the portrait in the last frames minus that in the first: below 0 is a loss.

    Likeness is the cosine of two embeddings, 1 for the same picture.
    """
    first, last = _end_likeness(identity_FD, portrait_D, num_end_frames=num_end_frames)
    return last - first


def identity_share(
    identity_FD: np.ndarray, portrait_D: np.ndarray, *, num_end_frames: int
) -> float:
    """Likeness to the portrait in the last frames over that in the first: below 1 is a loss.

    0 where the first frames are not like the portrait at all, so that nothing can be kept.
    """
    first, last = _end_likeness(identity_FD, portrait_D, num_end_frames=num_end_frames)
    return last / first if first > 0.0 else 0.0


def color_drift(color_F3: np.ndarray, *, num_end_frames: int) -> float:
    """Change of the mean colour from the first to the last frames, in 8-bit levels, 0..255.

    Args:
        color_F3: mean red, green and blue of each frame, 0..1.

    The channel that changes most counts.
    """
    change = color_F3[-num_end_frames:].mean(axis=0) - color_F3[:num_end_frames].mean(axis=0)
    return float(np.abs(change).max() * COLOR_LEVELS)


def _end_likeness(
    identity_FD: np.ndarray, portrait_D: np.ndarray, *, num_end_frames: int
) -> tuple[float, float]:
    """Of the first and of the last frames."""
    likeness_F = identity_FD @ portrait_D
    return float(likeness_F[:num_end_frames].mean()), float(likeness_F[-num_end_frames:].mean())


def _summary(curves_CL: np.ndarray, *, lag_frames: int | None = None) -> LipSync:
    curve_L = curves_CL.mean(axis=0)
    middle = len(curve_L) // 2
    place = int(curve_L.argmax()) if lag_frames is None else middle + lag_frames
    return LipSync(
        correlation=float(curve_L[place]),
        lag_frames=place - middle,
        curve_L=curve_L,
        standard_error=standard_error(curves_CL[:, place]),
    )


def standard_error(values: np.ndarray) -> float:
    """Of a mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _bilinear(table: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Values of a table between its points."""
    top = np.minimum(row.astype(int), table.shape[0] - 2)
    left = np.minimum(column.astype(int), table.shape[1] - 2)
    down, right = row - top, column - left
    upper = table[top, left] * (1 - right) + table[top, left + 1] * right
    lower = table[top + 1, left] * (1 - right) + table[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down
