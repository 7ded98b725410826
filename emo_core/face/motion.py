"""Head pose -> rotation -> angular speed, the quantity that EMO's speed layers are told.

Axes of the head: x to the right of the picture, y down, z towards the viewer.
Letters in this file: F video frames.

Source: EMO (arXiv 2402.17485), "Speed Layers": w_f is the rotational velocity of the head at
frame f. The paper leaves the measure open; here it is the geodesic angle between the rotations
of two successive frames, times the frame rate.
"""

import numpy as np

from ..errors import InputError


def rotation_matrices(
    yaw_deg: np.ndarray, pitch_deg: np.ndarray, roll_deg: np.ndarray
) -> np.ndarray:
    """Turn pose angles into rotations of the head.

    Args:
        yaw_deg: [F] degrees; positive turns the face to the viewer's right.
        pitch_deg: [F] degrees; positive lifts the face.
        roll_deg: [F] degrees; positive tilts clockwise in the picture.

    Returns:
        [F, 3, 3] float64. A column vector in head axes is multiplied from the left: yaw acts
        first, then pitch, then roll. Single numbers count as one frame.
    """
    yaw, pitch, roll = (
        np.radians(np.atleast_1d(np.asarray(angle, dtype=np.float64)))
        for angle in (yaw_deg, pitch_deg, roll_deg)
    )
    yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
    sin_yaw, cos_yaw = np.sin(yaw), np.cos(yaw)
    sin_pitch, cos_pitch = np.sin(pitch), np.cos(pitch)
    sin_roll, cos_roll = np.sin(roll), np.cos(roll)
    after_pitch = np.stack(
        [
            np.stack([cos_yaw, np.zeros_like(yaw), sin_yaw], axis=-1),
            np.stack([sin_pitch * sin_yaw, cos_pitch, -sin_pitch * cos_yaw], axis=-1),
            np.stack([-cos_pitch * sin_yaw, sin_pitch, cos_pitch * cos_yaw], axis=-1),
        ],
        axis=-2,
    )
    rotations = after_pitch.copy()
    row_x, row_y = after_pitch[:, 0], after_pitch[:, 1]
    rotations[:, 0] = cos_roll[:, None] * row_x - sin_roll[:, None] * row_y
    rotations[:, 1] = sin_roll[:, None] * row_x + cos_roll[:, None] * row_y
    return rotations


def angle_between(rotations: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Geodesic angle in degrees, 0..180, between rotations [..., 3, 3], which may broadcast.

    Taken from the length of the difference, |A - B| = 2 sqrt(2) sin(angle / 2), which unlike the
    arc cosine of the trace keeps its precision for the small angles between video frames.
    """
    distance = np.linalg.norm(rotations - others, axis=(-2, -1))
    return np.degrees(2.0 * np.arcsin(np.minimum(distance / np.sqrt(8.0), 1.0)))


def angular_speed(rotations: np.ndarray, *, fps: float) -> np.ndarray:
    """Speed of a turning head.

    Args:
        rotations: [F, 3, 3].
        fps: frames per second, above 0.

    Returns:
        [F] degrees per second. Frame f holds the speed from f-1 to f; the first frame repeats the
        second, and a single frame gives 0.

    Raises:
        InputError: the shape is not [F, 3, 3] with F >= 1, or fps is not above 0.
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3) or len(rotations) == 0:
        raise InputError(
            f"Head rotations: the array has shape {rotations.shape}, expected [frames, 3, 3] with "
            "at least one frame. Make it with rotation_matrices()."
        )
    if not fps > 0:
        raise InputError(
            f"Head speed: fps is {fps}, expected a number above 0. "
            "Give the frame rate of the video."
        )
    if len(rotations) == 1:
        return np.zeros(1)
    speed = angle_between(rotations[1:], rotations[:-1]) * fps
    return np.concatenate([speed[:1], speed])


def nearest_rotations(matrices: np.ndarray) -> np.ndarray:
    """The rotation in each matrix [F, 3 or 4, 3 or 4], free of scale, shear and translation.

    Face trackers give such poses; the polar factor is the nearest rotation to a matrix.

    Raises:
        InputError: a matrix holds NaN or is flat.
    """
    linear = np.asarray(matrices, dtype=np.float64)[:, :3, :3]
    if not np.isfinite(linear).all() or (np.abs(np.linalg.det(linear)) < 1e-12).any():
        raise InputError(
            "Head pose: a matrix that is no rotation. Expected a rotation with scale; the face "
            "tracker failed on this video, so use another stretch of it."
        )
    left, _, right = np.linalg.svd(linear)
    # A mirrored matrix has its last axis turned back.
    left[..., -1] *= np.linalg.det(left @ right)[:, None]
    return left @ right
