"""Drawn people: separate splits, faces that move as told, boxes that hold what they say."""

from dataclasses import replace

import numpy as np
import pytest

from emo_core.errors import InputError
from emo_core.synthetic.drawing import FaceState, draw, face_box, mouth_box
from emo_core.synthetic.head_geometry import head_of, view_of
from emo_core.synthetic.portrait import (
    HAIR_STYLES,
    SPLITS,
    STYLES,
    random_portrait,
    split_of,
)

CAVITY = np.array([0x3D, 0x12, 0x18])


def plain(style="flat", **changes):
    """A person with nothing in front of the face."""
    person = random_portrait("train", 3)
    changes = {"hair_style": "bun", "beard": "none", "glasses": "none", **changes}
    return replace(person, style=style, center_x=0.5, **changes)


def cavity_mask(picture):
    return np.abs(picture.astype(int) - CAVITY).max(axis=-1) <= 8


def moved_pixels(first, second, size):
    """Rows and columns, in fractions, of the pixels that clearly differ."""
    rows, columns = np.nonzero(np.abs(first.astype(int) - second.astype(int)).max(axis=-1) > 24)
    return (rows + 0.5) / size, (columns + 0.5) / size


def test_a_person_is_determined_by_split_and_index():
    assert random_portrait("test", 11) == random_portrait("test", 11)
    state = FaceState(yaw_deg=12, mouth_open=0.4)
    first = draw(random_portrait("test", 11), state)
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert np.array_equal(first, draw(random_portrait("test", 11), state))


def test_splits_never_share_a_combination():
    owners = {}
    people = set()
    for split in SPLITS:
        for index in range(300):
            person = random_portrait(split, index)
            combination = (person.style, person.face_shape, person.hair_style)
            assert split_of(*combination) == split
            assert owners.setdefault(combination, split) == split
            people.add(person)
    assert len(people) == 300 * len(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_holds_every_style_and_hair_style(split):
    people = [random_portrait(split, index) for index in range(500)]
    assert {person.style for person in people} == set(STYLES)
    assert {person.hair_style for person in people} == set(HAIR_STYLES)


@pytest.mark.parametrize(("split", "index"), [("training", 0), ("train", -1)])
def test_an_unknown_split_or_index_is_refused(split, index):
    with pytest.raises(InputError, match="expected"):
        random_portrait(split, index)


@pytest.mark.parametrize("style", STYLES)
def test_the_gap_between_the_lips_grows_with_mouth_open(style):
    person = plain(style)
    size = 256
    gaps = []
    for mouth_open in np.linspace(0, 1, 9):
        picture = draw(person, FaceState(mouth_open=mouth_open), size=size)
        gaps.append(int(cavity_mask(picture)[:, size // 2].sum()))
    assert gaps[0] == 0
    assert all(later > earlier for earlier, later in zip(gaps, gaps[1:], strict=False))
    share_of_face = gaps[-1] / size / person.face_fraction
    # The opening is 0.16 of the face; the resting tongue fills the lowest fifth of it.
    assert 0.12 <= share_of_face <= 0.15


def test_teeth_and_tongue_show_in_an_open_mouth_only():
    person = plain()
    for changes in ({"teeth": 1.0}, {"tongue": 1.0}):
        opened = FaceState(mouth_open=0.5)
        shown = cavity_mask(draw(person, replace(opened, **changes))).sum()
        assert shown < 0.8 * cavity_mask(draw(person, opened)).sum()
        assert np.array_equal(draw(person, FaceState(**changes)), draw(person, FaceState()))


def test_lips_narrow_when_rounded_and_widen_when_spread():
    person = plain()

    def width(**changes):
        box = mouth_box(person, FaceState(mouth_open=0.3, **changes))
        return box[2] - box[0]

    assert width(lip_round=1.0) < 0.85 * width() < width() < width(mouth_width=1.0)


def test_the_head_turns_the_way_it_is_told():
    person = plain()
    head = head_of(person)
    nose, forehead = head.on_face(np.array([[0.0, 0.35], [0.0, -0.7]]))

    def seen(point, **changes):
        return view_of(person, FaceState(**changes)).project(point[None])[0]

    assert seen(nose, yaw_deg=20)[0] > seen(nose)[0] + 60
    assert seen(nose, pitch_deg=15)[1] < seen(nose)[1] - 40
    assert seen(forehead, roll_deg=12)[0] > seen(forehead)[0] + 40
    assert seen(nose, offset_x=0.05)[0] == pytest.approx(seen(nose)[0] + 50)


def test_the_far_eye_narrows():
    person = plain()
    eyes = head_of(person).on_face(np.array([[-0.57, 0.0], [-0.2, 0.0], [0.2, 0.0], [0.57, 0.0]]))
    x = view_of(person, FaceState(yaw_deg=28)).project(eyes)[:, 0]
    assert 0.3 * (x[1] - x[0]) < x[3] - x[2] < 0.75 * (x[1] - x[0])


def test_each_eye_blinks_on_its_own_side():
    person = plain()
    rest = draw(person, FaceState())
    _, left = moved_pixels(rest, draw(person, FaceState(blink_left=1.0)), 128)
    _, right = moved_pixels(rest, draw(person, FaceState(blink_right=1.0)), 128)
    assert len(left) > 10 and left.max() < 0.5
    assert len(right) > 10 and right.min() > 0.5


@pytest.mark.parametrize("pose", [{}, {"yaw_deg": 25.0, "roll_deg": -10.0}, {"pitch_deg": -15.0}])
def test_the_face_box_holds_all_that_an_expression_moves(pose):
    person = plain("soft")
    rest = FaceState(**pose)
    moved = FaceState(**pose, mouth_open=0.8, blink_left=1, brow_raise=0.8, gaze_x=0.5)
    rows, columns = moved_pixels(draw(person, rest), draw(person, moved), 128)
    x0, y0, x1, y1 = face_box(person, moved)
    slack = 0.02
    assert x0 - slack <= columns.min() and columns.max() <= x1 + slack
    # The shadow of the chin falls on the neck just below the box.
    assert y0 <= rows.min() and np.percentile(rows, 97) <= y1 + slack
    assert 0.45 < y1 - y0 < 0.75


def test_the_face_box_does_not_depend_on_the_hair():
    boxes = {face_box(plain(hair_style=name), FaceState()) for name in HAIR_STYLES}
    assert len(boxes) == 1


@pytest.mark.parametrize("yaw_deg", [-25.0, 0.0, 25.0])
def test_the_mouth_box_holds_the_opening(yaw_deg):
    person = plain("ink")
    state = FaceState(yaw_deg=yaw_deg, mouth_open=0.9, mouth_width=0.8)
    x0, y0, x1, y1 = mouth_box(person, state)
    rows, columns = np.nonzero(cavity_mask(draw(person, state)))
    inside = (rows >= y0 * 128) & (rows < y1 * 128) & (columns >= x0 * 128) & (columns < x1 * 128)
    assert len(rows) > 40
    assert inside.mean() > 0.9
    assert (x1 - x0) * (y1 - y0) < 0.2


@pytest.mark.parametrize("hair_style", [name for name in HAIR_STYLES if name != "bald"])
def test_every_hair_style_is_drawn_and_leaves_the_mouth_free(hair_style):
    state = FaceState(yaw_deg=-20, pitch_deg=8, mouth_open=0.3)
    bald = draw(plain(hair_style="bald"), state, size=64)
    picture = draw(plain(hair_style=hair_style), state, size=64)
    rows, _ = moved_pixels(bald, picture, 64)
    assert len(rows) > 20
    x0, y0, x1, y1 = (round(64 * edge) for edge in mouth_box(plain(), state))
    margin = 4
    mouth = np.s_[y0 + margin : y1 - margin, x0 + margin : x1 - margin]
    assert np.abs(bald[mouth].astype(int) - picture[mouth]).max() < 30


def test_the_background_never_moves():
    person = plain(background="blocks")
    first, second = (draw(person, FaceState(yaw_deg=yaw)) for yaw in (-20, 20))
    assert np.array_equal(first[:60, :8], second[:60, :8])


def test_too_small_a_picture_is_refused():
    with pytest.raises(InputError, match="at least 16"):
        draw(plain(), FaceState(), size=8)
