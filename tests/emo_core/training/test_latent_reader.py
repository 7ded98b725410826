"""The reader of latents: it learns, says what it knows, and comes back from its file."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_data import toy_data
from torch.nn.functional import normalize

from emo_core.errors import InputError
from emo_core.training import latent_reader
from emo_core.training.latent_reader import (
    LatentReader,
    LatentReaderTask,
    face_region,
    load_latent_reader,
    save_latent_reader,
    signal_errors,
    speed_signal,
    stranger_loss,
    varied,
)
from emo_core.training.latents import FACE_SIGNALS, LatentClips
from emo_core.training.loop import LoopSettings, fit


@pytest.fixture(autouse=True)
def one_clip_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_reader, "NUM_HELD_OUT", 1)


def telling_data() -> LatentClips:
    """Latents whose first channel, in one corner, is the opening of the mouth, and whose second,
    in another, goes up and down by the head's speed."""
    data = toy_data()
    latents = data.latents.clone()
    latents[:, :, 0, :4, :4] = 4.0 * data.face_signals[..., 0, None, None].half() - 2.0
    signs = torch.tensor([1.0, -1.0]).repeat(latents.shape[1])[: latents.shape[1]]
    way = (2.0 * signs * speed_signal(data.speed_deg_s)).cumsum(1)
    latents[:, :, 1, 4:, 4:] = way[..., None, None].half()
    return dataclasses.replace(data, latents=latents)


def test_the_reader_learns_to_read_people_whom_it_never_saw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = LatentReaderTask(telling_data(), batch=16)
    settings = LoopSettings(steps=160, learning_rate=3e-3, warmup_steps=2, ema_decay=0.8)
    fit(task, settings, tmp_path / "run")
    rows = (tmp_path / "run" / "samples" / "0000160.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows] == [*FACE_SIGNALS, "head_speed", "found"]
    assert float(rows[0].split()[1]) > 0.8
    assert float(rows[-2].split()[1]) > 0.8


def test_speeds_count_by_difference_when_slow_and_by_ratio_when_fast() -> None:
    still, slow, middle, fast = speed_signal(torch.tensor([0.0, 1.0, 50.0, 100.0])).tolist()
    assert still == 0.0
    assert slow == pytest.approx(1.0 / 5.0, rel=0.1)
    assert fast - middle == pytest.approx(0.693, rel=0.1)


def test_what_is_unknown_teaches_nothing() -> None:
    read = torch.ones(2, len(FACE_SIGNALS), requires_grad=True)
    true = torch.zeros(2, len(FACE_SIGNALS))
    true[0] = torch.nan
    errors = signal_errors(read, true)
    assert not errors[0].any()
    assert (errors[1] > 0).all()
    errors.sum().backward()
    assert not read.grad[0].any()
    assert read.grad[1].all()


def test_the_reader_learns_to_tell_people_apart_whom_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_reader, "NUM_HELD_OUT", 12)
    torch.manual_seed(0)
    task = LatentReaderTask(people_of_colours(36), batch=24)
    settings = LoopSettings(steps=160, learning_rate=3e-3, warmup_steps=2, ema_decay=0.8)
    fit(task, settings, tmp_path / "run")
    rows = (tmp_path / "run" / "samples" / "0000160.txt").read_text().splitlines()
    assert float(rows[-1].removeprefix("found ")) > 0.7


def people_of_colours(num_people: int) -> LatentClips:
    """People who differ in two channels of their faces. The other two change more, and with every
    frame: whoever has not learned which they are takes these for the person."""
    toy = toy_data()
    columns = {field.name: getattr(toy, field.name) for field in dataclasses.fields(toy)}
    scale = columns.pop("latent_scale")
    many = {
        name: value[:1].repeat(num_people, *[1] * (value.ndim - 1))
        for name, value in columns.items()
    }
    torch.manual_seed(0)
    latents = 0.1 * torch.randn(many["latents"].shape)
    many["face_boxes"] = torch.tensor([0.25, 0.25, 0.75, 0.75]).expand_as(many["face_boxes"])
    height, width = (side // 4 for side in latents.shape[-2:])
    num_frames = latents.shape[1]
    person = 2.0 * torch.randn(num_people, 1, 2, 1, 1).expand(-1, num_frames, -1, -1, -1)
    light = 3.0 * torch.randn(num_people, num_frames, 2, 1, 1)
    latents[..., height:-height, width:-width] += torch.cat([person, light], dim=2)
    return LatentClips(**many | {"latents": latents.half()}, latent_scale=scale)


def test_strangers_are_those_of_other_numbers() -> None:
    one = normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    people = torch.arange(4)
    alike, swapped = stranger_loss(one, one, people), stranger_loss(one, one.flip(0), people)
    assert 0 < alike < swapped
    twice = torch.cat([one, one])
    closeness = (one @ one.T / latent_reader.TEMPERATURE).exp()
    strangers = 2.0 * (closeness.sum(1) - closeness.diag())
    expected = (1.0 + strangers / closeness.diag()).log().mean()
    torch.testing.assert_close(stranger_loss(twice, twice, people.repeat(2)), expected)
    assert stranger_loss(twice, twice, torch.arange(8)) > expected + 0.5


def test_likeness_is_read_where_faces_are() -> None:
    torch.manual_seed(0)
    reader = LatentReader(4).eval()
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.5, 0.25, 0.75, 0.5]]])
    latents = torch.randn(1, 4, 16, 16)
    region = face_region(boxes, latents)
    assert region.shape == (1, 1, 16, 16)
    assert region[0, 0, 4:8, 4:12].all()
    assert not region[0, 0, 10:].any()
    read = reader.read_likeness(latents, region)
    assert float(read.norm()) == pytest.approx(1.0)
    outside, inside = latents.clone(), latents.clone()
    outside[:, :, 10:] += 1.0
    inside[:, :, 4:8, 4:12] += torch.randn(4, 4, 8)
    assert torch.equal(reader.read_likeness(outside, region), read)
    assert not torch.allclose(reader.read_likeness(inside, region), read, atol=1e-3)


def test_a_reader_comes_back_from_its_file_at_rest(tmp_path: Path) -> None:
    reader = LatentReader(4)
    save_latent_reader(reader, tmp_path / "reader.safetensors")
    again = load_latent_reader(tmp_path / "reader.safetensors", latent_channels=4)
    latents = torch.randn(3, 4, 16, 16)
    assert torch.equal(again.read_face(latents), reader.eval().read_face(latents))
    assert torch.equal(again.read_speed(*latents[:2, None]), reader.read_speed(*latents[:2, None]))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    with pytest.raises(InputError, match="none.safetensors"):
        load_latent_reader(tmp_path / "none.safetensors", latent_channels=4)
    with pytest.raises(InputError, match="of another shape"):
        load_latent_reader(tmp_path / "reader.safetensors", latent_channels=8)


def test_a_face_reads_the_same_wherever_it_is() -> None:
    torch.manual_seed(0)
    look = LatentReader(4).eval().face
    latents = torch.zeros(2, 4, 40, 40)
    face = torch.randn(4, 4, 4)
    latents[0, :, 16:20, 16:20] = face
    latents[1, :, 20:24, 18:22] = face
    first, moved = look(latents)
    torch.testing.assert_close(first, moved, atol=1e-5, rtol=1e-4)
    other = latents[:1].clone()
    other[0, :, 16:20, 16:20] = torch.randn(4, 4, 4)
    assert (look(other)[0] - first).abs().max() > 1e-3


def test_pictures_that_belong_together_are_varied_alike() -> None:
    latents = torch.randn(3, 1, 4, 16, 16).expand(3, 2, 4, 16, 16)
    after, before = varied(latents, torch.Generator().manual_seed(0), highest_noise=0.0).unbind(1)
    assert torch.equal(after, before)
    noisy = varied(latents, torch.Generator().manual_seed(0), highest_noise=0.2)
    noise = (noisy - after[:, None]).flatten(2).std(-1)
    assert (noise > 0).all() and (noise < 0.21).all()
    assert (noisy[:, 0] - noisy[:, 1]).abs().max() > 0.01


def test_lessons_are_moved_and_coloured_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_reader, "OFFSET", 0.0)
    latents = torch.zeros(3, 4, 16, 16)
    latents[:, :, 8, 6] = 1.0
    places = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        lesson = varied(latents[:, None], generator, highest_noise=0.0)[:, 0]
        assert lesson.shape == latents.shape
        assert ((lesson != 0).flatten(2).sum(-1) == 1).all()
        values = lesson.flatten(2).amax(-1)
        assert values.min() >= 0.8
        assert values.max() <= 1.2
        assert values.std() > 0.01
        place = int(lesson[0, 0].argmax())
        places.add((place // 16 - 8, place % 16 - 6))
    assert {row for row, _ in places} == {column for _, column in places} == set(range(-2, 3))
