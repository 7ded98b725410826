"""EchoMimic's mask and crop, against its own and at the edges of the picture."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_core.errors import InputError
from emo_core.face.crop import FaceCrop

KIT = Path(__file__).resolve().parents[2] / "parity" / "echomimic"


@pytest.fixture(scope="module")
def inputs():
    return load_file(KIT / "inputs.safetensors")


@pytest.fixture(scope="module")
def expected():
    return load_file(KIT / "expected.safetensors")


@pytest.fixture(scope="module")
def crop(inputs):
    image = inputs["source_image_rgb"]
    return FaceCrop.of(image, face=inputs["face_box_xyxy"].tolist(), width=128, height=128)


def test_rectangles_and_mask_are_upstream_s(crop, expected):
    assert list(crop.rectangle) == expected["crop_rect"].tolist()
    assert list(crop.part) == expected["crop_square"].tolist()
    assert torch.equal(crop.face_mask() * 255.0, expected["mask_source"].float())


def test_picture_and_mask_are_upstream_s_within_a_grey_level(crop, inputs, expected):
    portrait = crop.portrait(inputs["source_image_rgb"] / 255.0)
    assert portrait.shape == (128, 128, 3)
    assert (portrait * 255.0 - expected["face_image_rgb"].float()).abs().amax() <= 1.0
    mask = crop.mask(crop.face_mask())
    assert (mask * 255.0 - expected["face_mask_u8"].float()).abs().amax() <= 1.0


@pytest.mark.parametrize(
    ("face", "shown"),
    [
        ((2, 3, 42, 63), (0, 0, 46, 69)),  # Grown to x -2 and y -3.
        ((-10, -20, 30, 40), (0, 0, 34, 46)),
        ((60, 70, 100, 120), (56, 65, 100, 120)),
        ((-50, -50, 150, 170), (0, 0, 100, 120)),
    ],
)
def test_the_mask_of_a_face_at_the_edge_ends_there(face, shown):
    mask = FaceCrop.of(torch.zeros(120, 100), face=face, width=64, height=64).face_mask()
    x0, y0, x1, y1 = shown
    assert mask.sum() == (x1 - x0) * (y1 - y0)
    assert mask[y0:y1, x0:x1].all()


FACES = [
    (40, 40, 60, 65),
    (0, 0, 30, 40),
    (170, 80, 200, 120),
    (-20, 60, 40, 130),
    (5, 5, 195, 115),
    (99, 59, 100, 60),
]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 64), (64, 128), (96, 512), (64, 48)])
def test_a_crop_is_inside_the_picture_and_has_the_film_s_proportions(face, width, height):
    crop = FaceCrop.of(torch.zeros(120, 200), face=face, width=width, height=height)
    x0, y0, x1, y1 = crop.part
    assert 0 <= x0 < x1 <= 200
    assert 0 <= y0 < y1 <= 120
    assert x1 - x0 == pytest.approx((y1 - y0) * width / height, abs=0.5 + 0.5 * width / height)
    assert crop.portrait(torch.rand(120, 200, 3)).shape == (height, width, 3)


def test_a_square_crop_never_leaves_the_rectangle():
    for face in FACES:
        crop = FaceCrop.of(torch.zeros(120, 200), face=face, width=64, height=64)
        outer, inner = crop.rectangle, crop.part
        assert all(a <= b for a, b in zip(outer[:2], inner[:2], strict=True))
        assert all(a >= b for a, b in zip(outer[2:], inner[2:], strict=True))
        assert inner[2] - inner[0] == min(outer[2] - outer[0], outer[3] - outer[1])


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 64), (64, 128)])
def test_a_face_with_room_round_it_is_kept_whole_and_not_squeezed(width, height):
    face = (150, 140, 190, 190)
    crop = FaceCrop.of(torch.zeros(400, 400), face=face, width=width, height=height)
    x0, y0, x1, y1 = crop.part
    assert x0 <= 150 - 4 and x1 >= 190 + 4 and y0 <= 140 - 5 and y1 >= 190 + 5
    mask = crop.mask(crop.face_mask())
    rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
    across, down = int(columns.max() - columns.min() + 1), int(rows.max() - rows.min() + 1)
    assert across / down == pytest.approx(48 / 60, abs=0.06)


def test_picture_and_mask_share_their_geometry(crop):
    region = crop.face_mask()
    portrait = crop.portrait(region[..., None].expand(-1, -1, 3))
    assert torch.equal(portrait[..., 0], crop.mask(region))


@pytest.mark.parametrize(
    ("face", "words"),
    [
        ((40, 40, 40, 60), "holds no pixel"),
        ((40.1, 40, 40.4, 60), "holds no pixel"),
        ((40, 60, 50, 50), "holds no pixel"),
        ((100, 40, 120, 60), "lies outside"),
        ((10, -30, 20, 0), "lies outside"),
        ((10, float("nan"), 20, 30), "finite"),
    ],
)
def test_boxes_that_cannot_be_used(face, words):
    with pytest.raises(InputError, match=words):
        FaceCrop.of(torch.zeros(120, 100), face=face, width=64, height=64)


def test_a_mask_of_another_size_is_refused(crop):
    with pytest.raises(InputError, match="64x32 pixels over a portrait of 132x150"):
        crop.mask(torch.ones(32, 64))
