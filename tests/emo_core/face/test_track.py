"""Head speed along a film: steady, spread over its length, or at its own rate."""

import numpy as np
import pytest
import torch

from emo_core.errors import InputError
from emo_core.face.motion import nearest_rotations, rotation_matrices
from emo_core.face.track import SpeedTrack, check_reach


def test_a_steady_track_is_steady_at_any_rate():
    for fps in (10.0, 25.0, 29.97):
        assert (SpeedTrack.steady(12.5).at_frames(num_frames=40, fps=fps) == 12.5).all()


def test_values_without_a_rate_spread_over_the_film():
    track = SpeedTrack(torch.linspace(0, 99, 100))
    for num_frames in (10, 100, 1000):
        values = track.at_frames(num_frames=num_frames, fps=25.0)
        centre = (torch.arange(num_frames) + 0.5) / num_frames * 100 - 0.5
        assert torch.allclose(values, centre.clamp(0, 99), atol=1e-4)


def test_values_with_a_rate_keep_their_time_and_hold_the_last():
    track = SpeedTrack(torch.arange(50.0), fps=50.0)
    values = track.at_frames(num_frames=40, fps=25.0)
    # Frame f lies at (f + 0.5) / 25 s, which is value 2 f + 0.5.
    assert torch.allclose(values[:24], 2 * torch.arange(24.0) + 0.5)
    assert (values[26:] == 49.0).all()


def test_a_turning_head_gives_its_speed():
    yaw = np.linspace(0, 30, 61)
    still = np.zeros_like(yaw)
    track = SpeedTrack.of_rotations(rotation_matrices(yaw, still, still), fps=30.0, smooth_s=0.3)
    assert track.fps == 30.0
    assert len(track.values_deg_s_K) == 61
    assert track.values_deg_s_K.numpy() == pytest.approx(np.full(61, 15.0), abs=1e-4)


def test_smoothing_keeps_the_mean_and_calms():
    rng = np.random.default_rng(0)
    yaw = np.cumsum(rng.normal(size=200))
    rotations = rotation_matrices(yaw, 0 * yaw, 0 * yaw)
    rough = SpeedTrack.of_rotations(rotations, fps=25.0, smooth_s=0.0).values_deg_s_K
    smooth = SpeedTrack.of_rotations(rotations, fps=25.0, smooth_s=0.4).values_deg_s_K
    assert smooth.std() < 0.5 * rough.std()
    assert float(smooth.mean()) == pytest.approx(float(rough.mean()), rel=0.05)


@pytest.mark.parametrize(
    "values", [torch.zeros(0), torch.zeros(2, 2), torch.tensor([1.0, float("nan")])]
)
def test_values_that_are_no_speeds_are_refused(values):
    with pytest.raises(InputError, match="Head speed: values of shape"):
        SpeedTrack(values)


def test_negative_and_too_fast_speeds_are_refused():
    with pytest.raises(InputError, match="-1 degrees per second. Expected 0 or more"):
        SpeedTrack.steady(-1)
    with pytest.raises(InputError, match="guider: head speed 61: expected 0 to 60"):
        check_reach(torch.tensor([3.0, 61.0]), highest=60.0, name="guider: head speed")
    check_reach(torch.tensor([60.0]), highest=60.0)


def test_the_rotation_in_a_scaled_pose_is_found():
    rotations = rotation_matrices(np.array([10.0, -40.0]), np.array([5.0, 0.0]), np.array([0.0, 7]))
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, :3] = 4.2 * rotations
    poses[:, :3, 3] = 100.0
    assert nearest_rotations(poses) == pytest.approx(rotations, abs=1e-12)
    mirrored = poses.copy()
    mirrored[:, :3, :3] *= -1
    assert np.linalg.det(nearest_rotations(mirrored)) == pytest.approx(np.ones(2))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_poses_that_are_no_rotations_are_refused(value):
    with pytest.raises(InputError, match="a matrix that is no rotation"):
        nearest_rotations(np.full((1, 4, 4), value))
