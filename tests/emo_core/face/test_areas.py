"""Hallo's boxes, masks and levels, against its own and at the edges of the picture."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_core.errors import InputError
from emo_core.face.areas import (
    area_levels,
    area_masks,
    box_picture,
    expand_box,
    face_box,
    level_sizes,
    lip_box,
    lip_box_in_face,
)

KIT = Path(__file__).resolve().parents[2] / "parity" / "hallo"
WIDTH, HEIGHT = 200, 240
"""Of the kit's picture."""


@pytest.fixture(scope="module")
def landmarks():
    return load_file(KIT / "inputs.safetensors")


@pytest.fixture(scope="module")
def expected():
    return load_file(KIT / "expected.safetensors")


def kit_box(expected, name):
    x0, x1, y0, y1 = expected[name].tolist()
    return x0, y0, x1, y1


@pytest.mark.parametrize("case", ["a", "b"])
def test_boxes_are_upstream_s(landmarks, expected, case):
    points = landmarks[f"landmarks.{case}"]
    face = face_box(points, width=WIDTH, height=HEIGHT)
    lip = lip_box(points, width=WIDTH, height=HEIGHT)
    assert face == kit_box(expected, f"mask.{case}.face_box")
    assert lip == kit_box(expected, f"mask.{case}.lip_box")


def test_a_face_larger_than_its_picture_takes_the_whole_width(landmarks, expected):
    points = landmarks["landmarks.c"]
    face = face_box(points, width=WIDTH, height=HEIGHT)
    broken = kit_box(expected, "mask.c.face_box")
    assert broken[0] == 190  # Upstream's -10, counted from the far edge.
    assert face == (0, broken[1], 200, broken[3])
    lip = lip_box(points, width=WIDTH, height=HEIGHT)
    assert lip == kit_box(expected, "mask.c.lip_box")


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_masks_levels_and_locator_picture_are_upstream_s_to_the_last_bit(expected, case):
    face = kit_box(expected, f"mask.{case}.face_box")
    lip = kit_box(expected, f"mask.{case}.lip_box")
    masks = area_masks(face, lip, width=WIDTH, height=HEIGHT)
    assert masks.dtype == torch.uint8
    for i, area in enumerate(("full", "face", "lip")):
        assert torch.equal(masks[i], expected[f"mask.{case}.{area}64"])
        for size in (128, 512):
            for level, values in enumerate(area_levels(masks, sizes=level_sizes(size, size))):
                wanted = expected[f"mask.{case}.{size}.{area}.{level}"]
                assert torch.equal(values[i].reshape(1, -1), wanted)
    picture = box_picture(face, source_width=WIDTH, source_height=HEIGHT, width=128, height=128)
    assert torch.equal((picture * 255.0).round().byte(), expected[f"mask.{case}.locator_image"])


def test_the_locator_s_picture_at_full_size(expected):
    face = kit_box(expected, "mask.a.face_box")
    picture = box_picture(face, source_width=WIDTH, source_height=HEIGHT, width=512, height=512)
    assert torch.equal((picture * 255.0).round().byte(), expected["mask.a.locator_image_512"])


def test_levels_of_a_wide_film_are_halved_upwards_and_not_transposed():
    sizes = level_sizes(328, 520)
    assert sizes == [(41, 65), (21, 33), (11, 17), (6, 9)]
    masks = area_masks((0, 0, 40, 100), (5, 60, 30, 90), width=200, height=100)
    for (h, w), level in zip(sizes, area_levels(masks, sizes=sizes), strict=True):
        assert level.shape == (3, h, w)
        assert level.dtype == torch.float32
        assert 0.0 <= level.amin() and level.amax() <= 1.0
        full, face = level[0], level[1] + level[2]
        assert face[:, 0].mean() > 0.9 > 0.1 > face[:, -1].mean()  # The face is at the left.
        assert full[:, 0].mean() < 0.1 < 0.9 < full[:, -1].mean()


def test_face_and_background_make_up_the_whole_and_the_lips_are_cut_out():
    masks = area_masks((30, 40, 120, 160), (60, 110, 95, 140), width=200, height=240)
    full, face, lip = masks.int()
    assert full.amax() == lip.amax() == 255
    beyond_lips = lip == 0
    assert set((full + face)[beyond_lips].tolist()) == {254, 255}
    assert face[lip == 255].amax() == 0
    assert face[beyond_lips].amax() > 150


def test_a_box_over_the_whole_picture_is_all_face():
    full, face, lip = area_masks((0, 0, 90, 70), (40, 40, 60, 60), width=90, height=70).int()
    assert not full.any()
    assert (face + lip == 255).all()


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((40, 40, 60, 60), (38, 38, 62, 62)),
        ((0, 0, 20, 20), (0, 0, 24, 24)),  # Moved back from -2.
        ((80, 90, 100, 110), (76, 86, 100, 110)),
        ((-6, 50, 14, 70), (0, 48, 24, 72)),
        ((5, 40, 95, 60), (0, 38, 100, 62)),  # 108 of 100 columns.
        ((40.4, 39.6, 60.4, 59.6), (38, 38, 62, 62)),
        ((40, 40, 61, 61), (38, 38, 62, 62)),  # Middle and half side rounded down.
    ],
)
def test_expansion_at_the_edges(box, wanted):
    assert expand_box(box, width=100, height=110) == wanted


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((50, 10, 50, 30), "holds nothing"),
        ((60, 10, 50, 30), "holds nothing"),
        ((float("nan"), 10, 50, 30), "holds nothing"),
        ((100, 10, 120, 30), "outside"),
        ((10, -30, 20, 0), "outside"),
        ((10.0, 10.0, 10.6, 30.0), "expanded by 1.2 it is 0x24 pixels"),
    ],
)
def test_boxes_that_cannot_be_used(box, words):
    with pytest.raises(InputError, match=words):
        expand_box(box, width=100, height=110)


def test_boxes_that_no_mask_can_show():
    with pytest.raises(InputError, match="lip box .* nothing is left of it"):
        area_masks((0, 0, 900, 900), (403, 400, 404, 500), width=1000, height=1000)
    with pytest.raises(InputError, match="face box .* expected 0 <= x0 < x1 <= 1000"):
        area_masks((-10, 0, 900, 900), (400, 400, 500, 500), width=1000, height=1000)


def test_lips_are_guessed_where_landmarks_have_them(landmarks):
    """Within a twelfth of the face at every edge, on the kit's frontal face."""
    points = landmarks["landmarks.a"]
    face = face_box(points, width=WIDTH, height=HEIGHT, expansion=1.0)
    guess = lip_box_in_face(face, width=WIDTH, height=HEIGHT)
    known = lip_box(points, width=WIDTH, height=HEIGHT)
    allowed = (face[3] - face[1]) / 12
    assert all(abs(a - b) <= allowed for a, b in zip(guess, known, strict=True))


def test_landmarks_of_another_kind_are_refused():
    with pytest.raises(InputError, match=r"shape \(68, 2\).*face landmarker"):
        face_box(torch.rand(68, 2), width=WIDTH, height=HEIGHT)
