"""V-Express' key points and their pictures, against its own and at the edges."""

import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_core.errors import InputError
from emo_core.face.key_points import (
    STRATEGIES,
    draw_key_points,
    key_points_for_film,
    key_points_of,
)

KIT = Path(__file__).resolve().parents[2] / "parity" / "vexpress"
NUM_FRAMES = 44
FACE = torch.tensor([[20.0, 30.0], [44.0, 32.0], [32.0, 50.0]])


@pytest.fixture(scope="module")
def inputs():
    return load_file(KIT / "inputs.safetensors")


@pytest.fixture(scope="module")
def expected():
    return load_file(KIT / "expected.safetensors")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_points_are_upstream_s(inputs, expected, strategy):
    points = key_points_for_film(
        inputs["reference_kps"],
        strategy=strategy,
        driving_M32=inputs["kps_sequence"],
        num_frames=NUM_FRAMES,
    )
    assert torch.allclose(points.double(), expected[f"kps.{strategy}"], rtol=1e-6, atol=1e-6)


def test_the_pictures_are_upstream_s_to_the_last_pixel(inputs, expected):
    points = expected["kps.no_retarget"].float()
    for index, wanted in zip(
        expected["frames_stored"].tolist(), expected["kps_images"], strict=True
    ):
        assert torch.equal(draw_key_points(points[index], width=64, height=128), wanted)
    picture = draw_key_points(inputs["reference_kps"], width=64, height=128)
    assert torch.equal(picture, expected["kps_image_reference"])


@pytest.mark.parametrize(
    ("points", "checksum"),
    [
        ([[200, 210], [312, 206], [252, 290]], 1713294029),
        ([[344, 352], [157, 330], [355, 350]], 2091491217),
        ([[292, 270], [282, 337], [188, 184]], 2153240830),
        ([[100, 120], [400, 110], [260, 430]], 1743296457),
    ],
)
def test_long_and_steep_limbs_are_opencv_s(points, checksum):
    """crc32 of what upstream's calls draw with OpenCV 4.10; halves are rounded in all ways here."""
    picture = draw_key_points(torch.tensor(points).float(), width=512, height=512)
    assert zlib.crc32(picture.numpy().tobytes()) == checksum


def test_a_longer_driving_sequence_is_cut_and_a_shorter_one_slowed_down():
    driving = FACE + torch.arange(20.0)[:, None, None]
    settings = {"strategy": "no_retarget", "driving_M32": driving}
    cut = key_points_for_film(FACE, num_frames=12, **settings)
    assert torch.equal(cut, driving[:12])
    slow = key_points_for_film(FACE, num_frames=80, **settings)
    assert torch.equal(slow[:2], driving[[0, 0]])
    assert torch.equal(slow[-2:], driving[[-1, -1]])
    assert slow[2:-2, 0, 0].diff().sub(0.25).abs().amax() < 1e-5


def test_naive_retargeting_brings_the_driving_face_to_the_reference():
    """A face of twice the width and three times the height, elsewhere."""
    driving = (FACE * torch.tensor([2.0, 3.0]) + torch.tensor([100.0, -20.0])).repeat(5, 1, 1)
    driving[:, :, 0] += torch.arange(5.0)[:, None] * 10.0
    flat = FACE.clone()
    flat[1, 1] = flat[0, 1]
    driving[:, 1, 1] = driving[:, 0, 1]
    points = key_points_for_film(flat, strategy="naive_retarget", driving_M32=driving, num_frames=5)
    assert torch.allclose(points[0], flat, atol=1e-4)
    assert torch.allclose(points[:, 2, 0] - flat[2, 0], torch.arange(5.0) * 5.0, atol=1e-4)


def test_offset_retargeting_keeps_the_reference_s_shape():
    driving = FACE + torch.arange(5.0)[:, None, None]
    points = key_points_for_film(
        FACE, strategy="offset_retarget", driving_M32=driving, num_frames=5
    )
    assert torch.equal(points[0], FACE)
    assert torch.allclose(points - points[:, 2:], (FACE - FACE[2]).expand(5, 3, 2), atol=1e-5)
    # Upstream moves against the driving head, by half of its way.
    assert torch.allclose(points[-1], FACE - 2.0, atol=1e-5)


def test_the_fixed_face_needs_no_driving_points():
    assert torch.equal(key_points_for_film(FACE, num_frames=7), FACE.expand(7, 3, 2))


@pytest.mark.parametrize(("width", "height"), [(64, 128), (128, 64), (8, 8), (513, 300)])
def test_moving_the_points_moves_the_picture_and_what_sticks_out_is_cut(width, height):
    # By even numbers, since halves are rounded to the even pixel.
    large = draw_key_points(FACE + 700.0, width=1500, height=1500)
    assert int((large > 0).any(-1).sum()) > 200
    for move in ((0, 0), (-30, 6), (40, -46), (-200, 0), (600, 600)):
        picture = draw_key_points(FACE + torch.tensor(move), width=width, height=height)
        assert picture.shape == (height, width, 3)
        x, y = 700 - move[0], 700 - move[1]
        cut = large[y : y + height, x : x + width]
        assert torch.equal(picture, cut)


def test_points_lie_over_limbs_in_their_colors():
    picture = draw_key_points(FACE, width=64, height=64)
    assert picture[30, 20].tolist() == [255, 0, 0]
    assert picture[32, 44].tolist() == [0, 255, 0]
    assert picture[50, 32].tolist() == [0, 0, 255]
    assert picture[40, 26].tolist() == [153, 0, 0]
    assert picture[40, 38].tolist() == [0, 153, 0]
    assert not picture[:20].any() and not picture[56:].any()


def test_points_in_one_place_are_drawn():
    picture = draw_key_points(torch.full((3, 2), 9.0), width=20, height=20)
    assert (picture.sum(-1) > 0).sum() > 30


def test_eyes_and_nose_are_found_in_landmarks():
    """Of MediaPipe's canonical face model, in centimetres."""
    landmarks = torch.full((478, 2), float("nan"))
    landmarks[[33, 133]] = torch.tensor([[-4.4459, -2.6640], [-1.8564, -2.5852]])
    landmarks[[362, 263]] = torch.tensor([[1.8564, -2.5852], [4.4459, -2.6640]])
    landmarks[1] = torch.tensor([0.0, 1.1269])
    points = key_points_of(landmarks)
    wanted = torch.tensor([[-3.15115, -2.6246], [3.15115, -2.6246], [0.0, 1.1269]])
    assert torch.allclose(points, wanted)
    with pytest.raises(InputError, match=r"shape \(478, 3\).*face landmarker"):
        key_points_of(torch.rand(478, 3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy": "fixed"}, "'fixed': unknown. Expected one of fix_face"),
        ({"strategy": "no_retarget"}, "for no_retarget: found none"),
        ({"strategy": "no_retarget", "driving_M32": torch.rand(5, 5, 2)}, r"shape \(5, 5, 2\)"),
        ({"strategy": "no_retarget", "driving_M32": torch.rand(0, 3, 2)}, r"shape \(0, 3, 2\)"),
        ({"strategy": "naive_retarget", "driving_M32": torch.ones(5, 3, 2)}, "of the driving face"),
    ],
)
def test_what_cannot_be_retargeted(settings, words):
    with pytest.raises(InputError, match=words):
        key_points_for_film(FACE, num_frames=4, **settings)


def test_a_reference_without_size_is_refused():
    with pytest.raises(InputError, match="of the reference"):
        key_points_for_film(
            torch.ones(3, 2), strategy="offset_retarget", driving_M32=FACE[None], num_frames=4
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_points_that_cannot_be_drawn(value):
    points = FACE.clone()
    points[1, 0] = value
    with pytest.raises(InputError, match="64x64 picture"):
        draw_key_points(points, width=64, height=64)
