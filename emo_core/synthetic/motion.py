"""How a generated head moves: turning at a known speed, blinking, looking about.

Letters in this file: F video frames, C points of the dense pose curve.

The head runs along a smooth closed curve through the space of poses. How fast it runs is handed
in, so the angular speed that EMO's speed layers must obey is known and not estimated. Blinks,
brows, gaze and smile are drawn without regard to the speed, so that a model cannot learn to read
one from the other.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..face.motion import angle_between, rotation_matrices
from .face_state import FaceState

MAX_SPEED_DEG_S = 90.0
MAX_STEP_DEG = 9.0
CURVE_POINTS = 3600


@dataclass(frozen=True)
class HeadMotion:
    """One value per frame, all float32 [F]; units and signs as in `FaceState`."""

    yaw_deg: np.ndarray
    pitch_deg: np.ndarray
    roll_deg: np.ndarray
    offset_x: np.ndarray
    offset_y: np.ndarray
    blink_left: np.ndarray
    blink_right: np.ndarray
    brow_raise: np.ndarray
    gaze_x: np.ndarray
    gaze_y: np.ndarray
    smile: np.ndarray


def random_motion(
    rng: np.random.Generator, *, num_frames: int, fps: float, speed_deg_s: np.ndarray | float
) -> HeadMotion:
    """Draw a motion by chance.

    Args:
        rng: the only source of chance.
        num_frames: F, at least 1.
        fps: frames per second, above 0.
        speed_deg_s: angular speed of the head, 0..90 degrees per second; a number, or [F] with
            the speed from frame f-1 to f in place f (the first is not used). 0 keeps the head
            still in a pose near frontal.

    Raises:
        InputError: a count, rate or speed is out of its range, or the speed has another length.
    """
    if num_frames < 1 or not fps > 0:
        raise InputError(
            f"Head motion: {num_frames} frames at {fps} fps; expected at least 1 frame and a rate "
            "above 0. Give the length and rate of the video."
        )
    speed = np.asarray(speed_deg_s, dtype=np.float64)
    if speed.shape not in ((), (num_frames,)):
        raise InputError(
            f"Head motion: the speed has shape {speed.shape}, expected one number or "
            f"({num_frames},), one per frame. Resample the speed to the frames."
        )
    if not np.all((speed >= 0) & (speed <= MAX_SPEED_DEG_S)):
        raise InputError(
            f"Head motion: the speed goes from {speed.min()} to {speed.max()} degrees per second, "
            f"expected 0 to {MAX_SPEED_DEG_S:g}. Limit the speed to that range."
        )
    step_deg = np.broadcast_to(speed, (num_frames,)) / fps
    if step_deg.max() > MAX_STEP_DEG:
        raise InputError(
            f"Head motion: {speed.max():g} degrees per second at {fps:g} fps is "
            f"{step_deg.max():.1f} degrees from one frame to the next, expected at most "
            f"{MAX_STEP_DEG:g}. Lower the speed or raise the frame rate."
        )
    pose = _walk(_pose_curve(rng), step_deg, start=int(rng.integers(CURVE_POINTS)))
    yaw, pitch, roll = pose.T
    base_x, base_y = rng.uniform(-0.012, 0.012, size=2)
    blink = _blinks(rng, num_frames, fps=fps)
    gaze_x, gaze_y = _saccades(rng, num_frames, fps=fps)
    brow = _drift(rng, num_frames, fps=fps, period_s=2.2)
    smile = _drift(rng, num_frames, fps=fps, period_s=4.5)
    values = (
        yaw,
        pitch,
        roll,
        base_x + 0.0011 * yaw + 0.0008 * roll,
        base_y - 0.0009 * pitch,
        blink,
        blink * rng.uniform(0.92, 1.0),
        np.clip(0.55 * brow, -1, 1),
        np.clip(gaze_x, -1, 1),
        np.clip(gaze_y, -1, 1),
        np.clip(0.25 + 0.3 * smile, 0, 1),
    )
    return HeadMotion(*(np.asarray(value, dtype=np.float32) for value in values))


def face_states(motion: HeadMotion, articulation: np.ndarray) -> list[FaceState]:
    """Join a motion with mouth shapes, frame by frame.

    Args:
        motion: F frames.
        articulation: [F, 5], columns mouth_open, mouth_width, lip_round, teeth, tongue in the
            ranges of `FaceState`.

    Raises:
        InputError: the articulation has another shape.
    """
    expected = (len(motion.yaw_deg), 5)
    if articulation.shape != expected:
        raise InputError(
            f"Face states: the articulation has shape {articulation.shape}, expected {expected} "
            "(frames of the motion, five mouth values). Cut both to the same frames."
        )
    mouth_names = ("mouth_open", "mouth_width", "lip_round", "teeth", "tongue")
    columns = {name: values.tolist() for name, values in vars(motion).items()}
    columns |= {name: articulation[:, i].tolist() for i, name in enumerate(mouth_names)}
    return [
        FaceState(**dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def _pose_curve(rng: np.random.Generator) -> np.ndarray:
    """[C, 3] yaw, pitch, roll in degrees along a closed curve round a pose near frontal."""
    phase = np.linspace(0.0, 2 * np.pi, CURVE_POINTS, endpoint=False)
    limits = ((rng.uniform(14, 27), 5.0), (rng.uniform(6, 14), 3.0), (rng.uniform(4, 11), 3.0))
    columns = []
    for amplitude, center_limit in limits:
        wave = np.zeros(CURVE_POINTS)
        for harmonic in (1, 2, 3):
            weight = rng.uniform(0.4, 1.0) / harmonic**1.6
            wave += weight * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
        center = rng.uniform(-0.6, 0.6) * center_limit
        columns.append(center + amplitude * wave / np.abs(wave).max())
    return np.stack(columns, axis=1)


def _walk(curve_C3: np.ndarray, step_deg: np.ndarray, *, start: int) -> np.ndarray:
    """Poses [F, 3] on the curve, each as far from the one before, in geodesic angle, as asked.

    Stepping by angle and not by arc length makes the speed exact where the curve bends. Between
    two points of the curve, a small fraction of a degree apart, the pose is interpolated.
    """
    num_points = len(curve_C3)
    rotations = rotation_matrices(*curve_C3.T)
    window = num_points // 3
    poses = np.empty((len(step_deg), 3))
    pose, position = curve_C3[start], start
    poses[0] = pose
    for frame_index in range(1, len(step_deg)):
        wanted = step_deg[frame_index]
        if wanted > 0:
            ahead = np.arange(position + 1, position + 1 + window) % num_points
            angles = angle_between(rotations[ahead], rotation_matrices(*pose))
            reached = int(np.argmax(angles >= wanted))
            before_angle = angles[reached - 1] if reached else 0.0
            before_pose = curve_C3[ahead[reached - 1]] if reached else pose
            share = (wanted - before_angle) / max(angles[reached] - before_angle, 1e-9)
            pose = before_pose + share * (curve_C3[ahead[reached]] - before_pose)
            position = (position + reached) % num_points
        poses[frame_index] = pose
    return poses


def _blinks(rng: np.random.Generator, num_frames: int, *, fps: float) -> np.ndarray:
    """[F] 0..1; a blink of 0.1 to 0.4 s every 2 to 6 s, closing faster than it opens."""
    time_s = np.arange(num_frames) / fps
    closed = np.zeros(num_frames)
    start_s = rng.uniform(-0.2, 4.0)
    while start_s < time_s[-1] + 0.5:
        length_s = max(rng.uniform(0.16, 0.4), 2.2 / fps)
        phase = (time_s - start_s) / length_s
        down = np.clip(phase / 0.35, 0, 1)
        up = np.clip((1 - phase) / 0.5, 0, 1)
        closed = np.maximum(closed, np.minimum(down, up))
        start_s += rng.uniform(2.0, 6.0)
    return closed * closed * (3 - 2 * closed)


def _saccades(
    rng: np.random.Generator, num_frames: int, *, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaze [F] to the right and down, -1..1: rests near the viewer, jumps within 0.06 s."""
    time_s = np.arange(num_frames) / fps
    gaze = np.zeros((2, num_frames))
    start_s = 0.0
    target = rng.normal(0.0, 0.12, size=2)
    gaze += target[:, None]
    while True:
        start_s += rng.uniform(0.5, 2.6)
        if start_s > time_s[-1]:
            return gaze[0], gaze[1]
        spread = 0.45 if rng.random() < 0.3 else 0.12
        next_target = np.clip(rng.normal(0.0, spread, size=2) * (1.0, 0.6), -0.9, 0.9)
        share = np.clip((time_s - start_s) / 0.06, 0, 1)
        gaze += (next_target - target)[:, None] * share
        target = next_target


def _drift(rng: np.random.Generator, num_frames: int, *, fps: float, period_s: float) -> np.ndarray:
    """[F] smooth chance values, mostly within -1..1, that change over about `period_s`."""
    num_knots = int(num_frames / fps / period_s) + 4
    knots = np.clip(rng.normal(0.0, 0.6, size=num_knots), -1.2, 1.2)
    place = np.arange(num_frames) / fps / period_s + rng.uniform(0, 1)
    index = place.astype(int)
    share = place - index
    share = share * share * (3 - 2 * share)
    return knots[index] * (1 - share) + knots[index + 1] * share
