"""How the reader learns."""

import dataclasses

import pytest
import torch

from emo_core.errors import InputError
from emo_core.evaluation.drawn_faces import FaceSet, draw_faces, generate_faces, load_faces
from emo_core.evaluation.reader import load_reader
from emo_core.evaluation.reader_task import (
    READER_TRAINING,
    ReaderTask,
    contrast,
    mirror,
    reconstruct_some,
    reframe,
    train_reader,
)
from emo_core.evaluation.wear import wear
from emo_core.models.vae import VAE


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return draw_faces("train", 0, num_people=6, num_pictures=3)


def test_faces_are_drawn_the_same_way_every_time(faces):
    again = draw_faces("train", 4, num_people=1, num_pictures=3)
    assert torch.equal(again.pictures_PKHW3[0], faces.pictures_PKHW3[4])
    assert torch.equal(again.pose_PK3[0], faces.pose_PK3[4])
    other = draw_faces("validation", 4, num_people=1, num_pictures=3)
    assert not torch.equal(other.pose_PK3, again.pose_PK3)


def test_pictures_of_a_person_differ_in_their_surroundings(faces):
    corner_PK = faces.pictures_PKHW3[:, :, :6, :6].float().mean(dim=(2, 3))
    assert float(corner_PK.std(dim=1).mean()) > 10.0


def test_faces_survive_the_disk(tmp_path):
    generate_faces(tmp_path, split="train", num_people=2, num_pictures=2, num_workers=1)
    loaded = load_faces(tmp_path)
    drawn = draw_faces("train", 0, num_people=2, num_pictures=2)
    for name, value in vars(drawn).items():
        assert torch.equal(getattr(loaded, name), value), name
    with pytest.raises(InputError, match="holds no faces"):
        load_faces(tmp_path / "empty")


def test_mirroring_twice_changes_nothing_and_once_swaps_sides():
    pixels, pose = torch.rand(2, 3, 8, 8), torch.tensor([[10.0, 5.0, -3.0]] * 2)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9]] * 2)
    only_first = torch.tensor([True, False])
    once = mirror(pixels, pose, boxes, is_mirrored=only_first)
    assert once[1].tolist() == [[-10.0, 5.0, 3.0], [10.0, 5.0, -3.0]]
    assert torch.allclose(once[2][0], torch.tensor([0.5, 0.2, 0.9, 0.9]))
    assert torch.equal(once[0][1], pixels[1]) and not torch.equal(once[0][0], pixels[0])
    twice = mirror(*once, is_mirrored=only_first)
    for before, after in zip((pixels, pose, boxes), twice, strict=True):
        assert torch.allclose(before, after)


def test_a_reframed_box_still_surrounds_its_face():
    box = (0.3, 0.25, 0.7, 0.8)
    pixels = torch.zeros(8, 3, 100, 100)
    pixels[:, :, 25:80, 30:70] = 1.0
    moved, boxes = reframe(
        pixels, torch.tensor([box] * 8), generator=torch.Generator().manual_seed(3)
    )
    for picture, (x0, y0, x1, y1) in zip(moved, boxes.tolist(), strict=True):
        columns = (picture[0].amax(dim=0) > 0.5).nonzero()
        rows = (picture[0].amax(dim=1) > 0.5).nonzero()
        assert x0 == pytest.approx(int(columns.min()) / 100, abs=0.011)
        assert x1 == pytest.approx((int(columns.max()) + 1) / 100, abs=0.011)
        assert y0 == pytest.approx(int(rows.min()) / 100, abs=0.011)
        assert y1 == pytest.approx((int(rows.max()) + 1) / 100, abs=0.011)
    assert float((boxes - torch.tensor(box)).abs().max()) > 0.01


def test_contrast_is_low_only_when_partners_meet():
    eye = torch.eye(4)
    person = torch.tensor([0, 1, 2, 3] * 2)
    assert float(contrast(torch.cat([eye, eye]), person=person)) < 0.01
    assert float(contrast(torch.cat([eye, eye.roll(1, 0)]), person=person)) > 5.0


def test_contrast_leaves_out_other_pictures_of_the_same_person():
    same = torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    person = torch.tensor([5, 5, 6, 7] * 2)
    assert float(contrast(torch.cat([same, same]), person=person)) < 0.01


def test_worn_pictures_stay_pictures_and_lose_sharpness(faces):
    sharp = faces.pictures_PKHW3.flatten(0, 1).movedim(-1, 1).float() / 255.0
    worn = wear(sharp, torch.Generator().manual_seed(0))
    assert worn.shape == sharp.shape
    assert float(worn.min()) >= 0.0 and float(worn.max()) <= 1.0
    assert float((worn - sharp).abs().mean()) < 0.12
    smooth = sharp[:, :, 1:].sub(sharp[:, :, :-1]).abs()
    blurred = worn[:, :, 1:].sub(worn[:, :, :-1]).abs()
    assert float(blurred.amax(dim=(1, 2, 3)).mean()) < float(smooth.amax(dim=(1, 2, 3)).mean())
    assert torch.equal(worn, wear(sharp, torch.Generator().manual_seed(0)))


def test_some_pictures_pass_through_the_vae(faces):
    changed = dataclasses.replace(faces, pictures_PKHW3=faces.pictures_PKHW3[:3].clone())
    torch.manual_seed(0)
    reconstruct_some(changed, VAE(scale=1.0).eval())
    is_changed = (changed.pictures_PKHW3 != faces.pictures_PKHW3[:3]).flatten(2).any(dim=2)
    assert 0 < int(is_changed.sum()) < is_changed.numel()


def test_the_loss_falls(faces):
    torch.manual_seed(0)
    task = ReaderTask(faces, validation=faces, batch=8)
    optimizer = torch.optim.AdamW(task.learning_parameters().values(), lr=2e-3)
    losses = []
    for _ in range(14):
        loss = task.loss(torch.Generator().manual_seed(0))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_a_short_training_leaves_a_reader(tmp_path):
    loop = dataclasses.replace(READER_TRAINING.loop, steps=1)
    training = dataclasses.replace(READER_TRAINING, loop=loop, batch=4)
    path = train_reader(tmp_path, training=training, num_people=2, num_pictures=2, num_validation=2)
    assert load_reader(path).errors.num_people == 2
    assert (tmp_path / "log.csv").parent == path.parent
