"""Boxes and numbers become region masks."""

import pytest
import torch

from emo_core.errors import InputError
from emo_core.face.region import DEFAULT_BOX, box_to_mask, boxes_to_mask, feather_mask, grow_mask


def test_a_box_covers_the_pixels_whose_centres_it_holds() -> None:
    mask = box_to_mask((0.25, 0.5, 0.75, 1.0), height=4, width=8)
    assert mask.sum() == 4 * 2
    assert mask[2:, 2:6].all()


def test_the_region_is_the_union_over_all_frames() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.25, 0.25], [0.75, 0.75, 1.0, 1.0]])
    mask = boxes_to_mask(boxes, height=4, width=4)
    assert mask.sum() == 2
    assert mask[0, 0] == mask[3, 3] == 1


def test_growth_widens_every_side_by_a_share_of_the_box() -> None:
    boxes = torch.tensor([[0.4, 0.4, 0.6, 0.6]])
    assert boxes_to_mask(boxes, height=100, width=100).sum() == 20 * 20
    assert boxes_to_mask(boxes, height=100, width=100, growth=0.5).sum() == 40 * 40


@pytest.mark.parametrize("box", [(0.5, 0.1, 0.4, 0.9), (-0.1, 0, 1, 1), (0, 0, 1, 1.5)])
def test_boxes_outside_the_picture_or_inside_out(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="0 <= x0 < x1 <= 1"):
        box_to_mask(box, height=8, width=8)


def test_a_box_between_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="holds no pixel of a 8x8 picture"):
        box_to_mask((0.51, 0.51, 0.52, 0.52), height=8, width=8)


def test_the_usual_region_leaves_room_at_every_side() -> None:
    mask = box_to_mask(DEFAULT_BOX, height=128, width=128)
    assert 0.2 < mask.mean() < 0.6
    assert mask[0].sum() == mask[:, 0].sum() == mask[-1].sum() == mask[:, -1].sum() == 0


def test_a_mask_grows_by_its_own_size_and_a_frame_of_none_stays():
    mask = torch.zeros(100, 80)
    mask[40:60, 30:50] = 1.0
    grown = grow_mask(mask, growth=0.25)
    wanted = torch.zeros(100, 80)
    wanted[35:65, 25:55] = 1.0
    assert torch.equal(grown, wanted)
    assert torch.equal(grow_mask(mask, growth=0.0), mask)
    assert not grow_mask(torch.zeros(9, 9), growth=1.0).any()


def test_a_mask_of_any_shape_grows_by_a_rectangle():
    mask = (torch.rand(40, 56, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    grown = grow_mask(mask, growth=0.1)
    rows, columns = torch.nonzero(mask, as_tuple=True)
    reach_y, reach_x = (round(0.1 * float(n.max() - n.min() + 1)) for n in (rows, columns))
    wanted = torch.zeros_like(mask)
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        wanted[max(y - reach_y, 0) : y + reach_y + 1, max(x - reach_x, 0) : x + reach_x + 1] = 1.0
    assert 0.0 < wanted.mean() < 1.0 and torch.equal(grown, wanted)


def test_feathering_softens_the_edge_only():
    mask = torch.zeros(64, 64)
    mask[:, :32] = 1.0
    soft = feather_mask(mask, radius=6)
    assert torch.allclose(soft[:, :26], torch.ones(64, 26))
    assert torch.allclose(soft[:, 38:], torch.zeros(64, 26))
    assert (soft[:, 26:38].diff(dim=1) < 0).all()
    assert soft[10, 31:33].mean() == pytest.approx(0.5, abs=1e-5)
    assert torch.equal(feather_mask(mask, radius=0), mask)
