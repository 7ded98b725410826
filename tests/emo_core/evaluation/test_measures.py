"""The measures on arrays whose answer is known."""

import numpy as np
import pytest

from emo_core.errors import InputError
from emo_core.evaluation import measures
from emo_core.face.motion import angular_speed, rotation_matrices

FPS = 25.0


def smooth_curve(seed: int, num_frames: int = 100) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=num_frames + 8)
    return np.convolve(noise, np.ones(9) / 9, mode="valid")


def test_correlation_of_known_curves():
    line = np.linspace(0, 1, 50)
    assert measures.correlation(line, 3 * line + 2) == pytest.approx(1.0)
    assert measures.correlation(line, -line) == pytest.approx(-1.0)
    assert measures.correlation(line, np.full(50, 0.4)) == 0.0
    assert measures.correlation(line, 0.4 + 1e-6 * line) == 0.0


@pytest.mark.parametrize("lag", [-4, -1, 0, 3])
def test_lip_sync_finds_the_lag(lag):
    true = [smooth_curve(seed) for seed in range(4)]
    read = [np.roll(curve, lag) for curve in true]
    synced = measures.lip_sync(read, true)
    assert synced.lag_frames == lag
    assert synced.correlation == pytest.approx(1.0)
    assert len(synced.curve_L) == 2 * measures.MAX_LAG_FRAMES + 1


def test_a_late_mouth_has_a_positive_lag():
    true = np.zeros(60)
    true[20:30] = 1.0
    late = np.zeros(60)
    late[23:33] = 1.0
    assert measures.lip_sync([late], [true]).lag_frames == 3


def test_shuffled_control_is_low_for_listening_mouths_and_high_for_deaf_ones():
    true = [smooth_curve(seed) for seed in range(12)]
    assert measures.shuffled_lip_sync(true, true).correlation < 0.15
    common = smooth_curve(99)
    assert measures.shuffled_lip_sync([common] * 12, [common] * 12).correlation > 0.99


def test_shuffled_control_needs_two_films():
    with pytest.raises(InputError, match="at least 2"):
        measures.shuffled_lip_sync([smooth_curve(0)], [smooth_curve(0)])


def test_lip_sync_at_a_given_lag():
    true = [smooth_curve(seed) for seed in range(4)]
    late = [np.roll(curve, 2) for curve in true]
    at_once = measures.lip_sync(late, true, lag_frames=0)
    assert at_once.lag_frames == 0
    assert at_once.correlation == at_once.curve_L[measures.MAX_LAG_FRAMES] < 0.9
    by_film = [measures.correlation(read, curve) for read, curve in zip(late, true, strict=True)]
    assert at_once.correlation == pytest.approx(np.mean(by_film))
    assert at_once.standard_error == pytest.approx(np.std(by_film, ddof=1) / 2)


def test_at_rest_share_counts_silent_frames_of_all_films():
    read = [np.array([0.0, 0.05, 0.2, 0.9]), np.array([0.099, 0.1])]
    silent = [np.array([True, True, True, False]), np.array([True, True])]
    assert measures.at_rest_share(read, silent) == pytest.approx(3 / 5)
    assert measures.at_rest_share(read[1:], silent[1:]) == 0.5
    assert measures.at_rest_share(read[:1], [np.zeros(4, bool)]) is None


def test_relative_error():
    wanted = np.array([10.0, 20.0, 35.0])
    assert measures.relative_error(wanted, wanted) == 0.0
    assert measures.relative_error(np.array([12.0, 16.0, 35.0]), wanted) == pytest.approx(0.4 / 3)


def test_short_or_unequal_curves_are_refused():
    with pytest.raises(InputError, match="equal length"):
        measures.lag_curve(np.zeros(100), np.zeros(99))
    with pytest.raises(InputError, match="longer films"):
        measures.lag_curve(np.zeros(13), np.zeros(13))


def test_identity_top1_counts_frames_nearest_to_their_own_portrait():
    gallery = np.eye(4)
    frames = np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 0, 1.0]])
    assert measures.identity_top1(frames, gallery, own_index=0) == 0.5
    assert measures.identity_top1(frames, gallery, own_index=3) == 0.25


@pytest.mark.parametrize("speed", [5.0, 20.0, 45.0])
def test_head_speed_of_a_steady_turn_survives_reading_noise(speed):
    yaw = np.arange(30) * speed / FPS - speed / 2
    pose = np.stack([yaw, np.zeros(30), np.zeros(30)], axis=1)
    noisy = pose + np.random.default_rng(0).normal(0, 0.4, pose.shape)
    assert measures.head_speed(pose, fps=FPS).mean() == pytest.approx(speed, rel=1e-6)
    measured = measures.head_speed(noisy, fps=FPS).mean()
    raw = angular_speed(rotation_matrices(*noisy.T), fps=FPS).mean()
    assert abs(measured - speed) < 3.0
    assert measured < raw


def test_head_speed_of_very_short_films():
    assert measures.head_speed(np.zeros((1, 3)), fps=FPS).tolist() == [0.0]
    assert measures.head_speed(np.array([[0.0, 0, 0], [1, 0, 0]]), fps=FPS)[1] == pytest.approx(25)


def test_rank_correlation_looks_at_order_only():
    asked = np.array([2.0, 10, 20, 35, 50])
    assert measures.rank_correlation(asked, asked**3) == pytest.approx(1.0)
    assert measures.rank_correlation(asked, -asked) == pytest.approx(-1.0)
    assert measures.rank_correlation(asked, np.array([1.0, 2, 2, 2, 1])) == pytest.approx(0.0)


def test_region_share_is_the_share_of_the_box_inside_the_mask():
    mask = np.zeros((10, 20))
    mask[:, :10] = 1.0
    inside, outside = [0.1, 0.2, 0.4, 0.6], [0.6, 0.2, 0.9, 0.6]
    half, quarter = [0.25, 0.0, 0.75, 1.0], [0.425, 0.11, 0.725, 0.83]
    assert measures.region_share(np.array([inside]), mask) == pytest.approx(1.0)
    assert measures.region_share(np.array([outside]), mask) == pytest.approx(0.0)
    assert measures.region_share(np.array([half]), mask) == pytest.approx(0.5)
    assert measures.region_share(np.array([quarter]), mask) == pytest.approx(0.25)
    assert measures.region_share(np.array([inside, outside]), mask) == pytest.approx(0.5)


def test_a_box_that_leaves_the_picture_is_not_inside():
    box = np.array([[-0.2, 0.0, 0.2, 1.0]])
    assert measures.region_share(box, np.ones((8, 8))) == pytest.approx(0.5)


def test_motion_energy_share():
    frames = np.zeros((3, 8, 8, 3))
    mask = np.zeros((8, 8))
    mask[:4] = 1.0
    assert measures.motion_energy_share(frames, mask) == 1.0
    frames[1, 0, 0] = 0.4
    frames[2, 0, 0] = 0.4
    frames[2, 7, 7] = 0.2
    assert measures.motion_energy_share(frames, mask) == pytest.approx(0.8)


def test_seam_ratio_compares_borders_with_the_rest():
    differences = np.full(47, 0.02)
    assert measures.seam_ratio([differences], clip_frames=12) == pytest.approx(1.0)
    differences[[11, 23, 35]] = 0.05
    assert measures.seam_ratio([differences], clip_frames=12) == pytest.approx(2.5, rel=1e-3)
    assert measures.seam_ratio([differences], clip_frames=13) < 1.0
    with pytest.raises(InputError, match="clip borders"):
        measures.seam_ratio([differences[:5]], clip_frames=12)


def test_a_faded_border_is_as_bad_as_its_worst_place():
    differences = np.full(41, 0.02)
    # Clips of 12 that share 2: frames 10 to 12, 20 to 22 and 30 to 32 lead across. At 40 no clip
    # begins, since that of 30 has all frames up to the end.
    for place, value in ((9, 0.01), (10, 0.03), (11, 0.02)):
        differences[place:39:10] = value
    # What lies so in the first clip is within it.
    differences[[0, 1]] = 0.02
    found = measures.seam_ratio([differences], clip_frames=12, overlap=2)
    assert found == pytest.approx(1.5, rel=1e-3)
    differences[10:39:10] = 0.01
    found = measures.seam_ratio([differences], clip_frames=12, overlap=2)
    assert found == pytest.approx(1.0, rel=1e-3)
    differences[39] = 0.2
    assert measures.seam_ratio([differences], clip_frames=12, overlap=2) < found


def test_seams_are_found_in_frames():
    frames = np.zeros((36, 4, 4, 3))
    for index in range(36):
        frames[index] = 0.001 * index + 0.03 * (index // 12)
    ratio = measures.seam_ratio([measures.frame_differences(frames)], clip_frames=12)
    assert ratio == pytest.approx(31.0, rel=1e-2)
    still = [np.zeros(35)]
    assert measures.seam_ratio(still, clip_frames=12) == 1.0


def test_drift_of_identity_and_colour():
    portrait = np.array([1.0, 0.0])
    angle = np.linspace(0, np.pi / 2, 50)
    turning = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert measures.identity_drift(turning, portrait, num_end_frames=1) == pytest.approx(-1.0)
    assert measures.identity_share(turning, portrait, num_end_frames=1) == pytest.approx(0.0)
    assert measures.identity_share(turning[:26], portrait, num_end_frames=1) == pytest.approx(
        np.cos(angle[25])
    )
    assert measures.identity_share(-turning[:26], portrait, num_end_frames=1) == 0.0
    steady = np.tile(portrait, (50, 1))
    assert measures.identity_share(steady, portrait, num_end_frames=10) == 1.0
    assert measures.identity_drift(steady, portrait, num_end_frames=10) == 0.0
    color = np.full((50, 3), 0.5)
    assert measures.color_drift(color, num_end_frames=10) == 0.0
    color[-10:, 2] -= 8 / 255
    assert measures.color_drift(color, num_end_frames=10) == pytest.approx(8.0)


def test_standard_error():
    assert measures.standard_error(np.array([3.0])) == 0.0
    assert measures.standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
