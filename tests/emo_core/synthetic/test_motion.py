"""Generated heads turn exactly as fast as asked, and angular speed is measured right."""

import numpy as np
import pytest

from emo_core.errors import InputError
from emo_core.face.motion import angular_speed, rotation_matrices
from emo_core.synthetic.motion import face_states, random_motion


def measured_speed(motion, fps):
    return angular_speed(
        rotation_matrices(motion.yaw_deg, motion.pitch_deg, motion.roll_deg), fps=fps
    )


@pytest.mark.parametrize("axis", range(3))
def test_angular_speed_of_a_turn_about_one_axis(axis):
    angles = np.zeros((3, 5))
    angles[axis] = np.arange(5) * 1.6
    speed = angular_speed(rotation_matrices(*angles), fps=25)
    np.testing.assert_allclose(speed, 40.0, rtol=1e-9)


def test_angular_speed_does_not_depend_on_the_pose_it_starts_from():
    yaw = np.array([0.0, 3.0, 4.0])
    turned = rotation_matrices(np.array([20.0]), np.array([-15.0]), np.array([10.0]))[0]
    rotations = rotation_matrices(yaw, np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(
        angular_speed(turned @ rotations @ turned, fps=10), [30.0, 30.0, 10.0], rtol=1e-9
    )


def test_rotations_turn_the_nose_as_documented():
    nose, ear = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    yaw, pitch, roll = np.eye(3) * 20.0
    to_right, up, clockwise = rotation_matrices(yaw, pitch, roll)
    assert (to_right @ nose)[0] > 0.3
    assert (up @ nose)[1] < -0.3
    assert (clockwise @ ear)[1] > 0.3


def test_one_frame_has_speed_zero():
    assert angular_speed(np.eye(3)[None], fps=25).tolist() == [0.0]


@pytest.mark.parametrize(
    ("rotations", "fps"), [(np.eye(3), 25), (np.empty((0, 3, 3)), 25), (np.eye(3)[None], 0)]
)
def test_angular_speed_refuses_other_shapes_and_rates(rotations, fps):
    with pytest.raises(InputError, match="expected"):
        angular_speed(rotations, fps=fps)


@pytest.mark.parametrize("speed", [2.0, 15.0, 60.0])
def test_constant_speed_is_met(speed):
    for seed in range(4):
        motion = random_motion(
            np.random.default_rng(seed), num_frames=200, fps=25, speed_deg_s=speed
        )
        np.testing.assert_allclose(measured_speed(motion, 25), speed, rtol=0.02)


def test_changing_speed_is_met_frame_by_frame():
    speed = 30 + 30 * np.sin(np.arange(150) / 12)
    motion = random_motion(np.random.default_rng(5), num_frames=150, fps=25, speed_deg_s=speed)
    np.testing.assert_allclose(measured_speed(motion, 25)[1:], speed[1:], atol=0.3)


def test_speed_zero_keeps_the_head_still_but_not_the_face():
    motion = random_motion(np.random.default_rng(1), num_frames=250, fps=25, speed_deg_s=0.0)
    for name in ("yaw_deg", "pitch_deg", "roll_deg", "offset_x", "offset_y"):
        assert np.ptp(getattr(motion, name)) == 0.0
    assert motion.blink_left.max() > 0.9
    assert np.ptp(motion.gaze_x) > 0.05


def test_poses_stay_in_range_and_lie_on_both_sides_of_frontal():
    yaw = []
    for seed in range(12):
        motion = random_motion(
            np.random.default_rng(seed), num_frames=120, fps=25, speed_deg_s=40.0
        )
        assert np.abs(motion.yaw_deg).max() <= 30
        assert np.abs(motion.pitch_deg).max() <= 18
        assert np.abs(motion.roll_deg).max() <= 15
        yaw.append(motion.yaw_deg)
    assert abs(np.mean(yaw)) < 6
    assert np.percentile(yaw, 90) > 8 > -8 > np.percentile(yaw, 10)


def test_blinks_last_as_long_as_blinks_do():
    motion = random_motion(np.random.default_rng(2), num_frames=1500, fps=50, speed_deg_s=10.0)
    is_closing = np.diff(np.concatenate([[0], motion.blink_left > 0.02, [0]]).astype(int))
    lengths_s = (np.flatnonzero(is_closing == -1) - np.flatnonzero(is_closing == 1)) / 50
    assert 5 <= len(lengths_s) <= 15
    assert 0.08 <= lengths_s.min() and lengths_s.max() <= 0.42


def test_the_same_seed_gives_the_same_motion():
    first, again, other = (
        random_motion(np.random.default_rng(seed), num_frames=40, fps=25, speed_deg_s=20.0)
        for seed in (3, 3, 4)
    )
    assert all(np.array_equal(vars(first)[name], vars(again)[name]) for name in vars(first))
    assert not np.array_equal(first.yaw_deg, other.yaw_deg)


def test_face_states_put_each_value_in_its_place():
    motion = random_motion(np.random.default_rng(0), num_frames=3, fps=25, speed_deg_s=20.0)
    articulation = np.arange(15, dtype=np.float32).reshape(3, 5) / 15
    states = face_states(motion, articulation)
    assert len(states) == 3
    last = states[2]
    assert (last.yaw_deg, last.smile) == (motion.yaw_deg[2], motion.smile[2])
    mouth = (last.mouth_open, last.mouth_width, last.lip_round, last.teeth, last.tongue)
    assert mouth == tuple(articulation[2].tolist())
    with pytest.raises(InputError, match=r"\(3, 5\)"):
        face_states(motion, articulation[:2])


@pytest.mark.parametrize("speed", [-1.0, np.nan, 400.0, np.zeros(7)])
def test_impossible_speeds_are_refused(speed):
    with pytest.raises(InputError, match="Head motion"):
        random_motion(np.random.default_rng(0), num_frames=10, fps=25, speed_deg_s=speed)


def test_a_speed_too_high_for_the_frame_rate_is_refused():
    with pytest.raises(InputError, match="frame rate"):
        random_motion(np.random.default_rng(0), num_frames=10, fps=5, speed_deg_s=60.0)
