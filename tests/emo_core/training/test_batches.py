"""Batches: what belongs together is drawn together, and what its errors weigh."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import tiny_networks
from tiny_data import toy_data
from torch import Tensor

from emo_core.audio.windows import windows_around_frames
from emo_core.config import MotionConfig
from emo_core.face.region import boxes_to_mask
from emo_core.synthetic.drawing import FaceState, draw, face_box, mouth_box
from emo_core.synthetic.portrait import random_portrait
from emo_core.training.batches import LARGEST_GROWTH, draw_batch, eye_boxes
from emo_core.training.feeding import Feeder, errors_of, squared_with_change
from emo_core.training.latents import FACE_SIGNALS, LatentClips
from emo_core.training.stages import STAGES


def numbered_data(*, num_references: int) -> LatentClips:
    """Every latent, feature and speed says of which clip (hundreds) and frame (units) it is."""
    clips, total = 3, 7
    number = 100.0 * torch.arange(clips)[:, None] + torch.arange(total)
    corner = torch.rand(clips, total, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    return LatentClips(
        latents=number[..., None, None, None].expand(-1, -1, 4, 2, 3).half(),
        references=-1.0 - number[:, :num_references, None, None, None].expand(-1, -1, 4, 2, 3),
        reference_frames=torch.tensor([1, 6, -1])[:num_references].expand(clips, -1),
        audio=number[..., None, None].expand(-1, -1, 2, 5),
        face_boxes=torch.cat([corner, corner + 0.3], -1),
        mouth_boxes=torch.cat([corner + 0.1, corner + 0.25], -1),
        speed_deg_s=number,
        face_signals=number[..., None].expand(-1, -1, len(FACE_SIGNALS)),
        latent_scale=torch.tensor(1.0),
    )


@pytest.mark.parametrize("is_consecutive", [True, False])
def test_a_batch_holds_what_belongs_together(is_consecutive: bool) -> None:
    data = numbered_data(num_references=2)
    num_motion = 2 if is_consecutive else 0
    batch = draw_batch(
        data,
        torch.Generator().manual_seed(1),
        num_clips=40,
        num_frames=3,
        num_motion=num_motion,
        is_consecutive=is_consecutive,
        window_margin=2,
    )
    numbers = batch.frames[:, :, 0, 0, 0].long()
    clips, frames = numbers[:, 0] // 100, numbers % 100
    assert set(clips.tolist()) == {0, 1, 2}
    if is_consecutive:
        assert (frames.diff(dim=1) == 1).all()
        assert set(frames[:, 0].tolist()) == {2, 3, 4}
        assert torch.equal(batch.motion[:, -1, 0, 0, 0].long(), numbers[:, 0] - 1)
        assert torch.equal(batch.motion[:, 0, 0, 0, 0].long(), numbers[:, 0] - 2)
    else:
        assert all(len(set(row)) == 3 for row in frames.tolist())
        assert batch.motion.shape == (40, 0, 4, 2, 3)
    references = batch.reference[:, 0, 0, 0].long()
    is_picture = references < 0
    assert 0.4 < is_picture.float().mean() < 0.8
    assert torch.equal(torch.where(is_picture, -1 - references, references) // 100, clips)
    for index, (clip, row) in enumerate(zip(clips.tolist(), frames, strict=True)):
        audio = windows_around_frames(data.audio[clip], margin=2)[row]
        assert torch.equal(batch.audio_windows[index], audio)
        speed = windows_around_frames(data.speed_deg_s[clip], margin=2)[row]
        assert torch.equal(batch.speed_windows[index], speed)
        mouth = [boxes_to_mask(box[None], height=2, width=3) for box in data.mouth_boxes[clip, row]]
        assert torch.equal(batch.mouth[index, :, 0], torch.stack(mouth))
        bands = eye_boxes(data.face_boxes[clip, row], data.mouth_boxes[clip, row])
        eyes = [boxes_to_mask(band[None], height=2, width=3) for band in bands]
        assert torch.equal(batch.eyes[index, :, 0], torch.stack(eyes))
        least = boxes_to_mask(data.face_boxes[clip], height=16, width=24)
        most = boxes_to_mask(data.face_boxes[clip], height=16, width=24, growth=LARGEST_GROWTH)
        assert (batch.region[index, 0] >= least).all() and (batch.region[index, 0] <= most).all()


def test_the_band_of_the_eyes_lies_between_forehead_and_mouth() -> None:
    face = torch.tensor([[[0.2, 0.1, 0.8, 0.9], [0.2, 0.1, 0.8, 0.9]]])
    mouth = torch.tensor([[[0.4, 0.6, 0.6, 0.8], [0.4, 0.05, 0.6, 0.2]]])
    expected = [[0.2, 0.26, 0.8, 0.6], [0.2, 0.26, 0.8, 0.26]]
    torch.testing.assert_close(eye_boxes(face, mouth)[0], torch.tensor(expected))


def test_a_drawn_persons_eyes_lie_in_the_band() -> None:
    """Where lids that close change the picture."""
    portrait = random_portrait("train", 3)
    opened, closed = (
        draw(portrait, FaceState(blink_left=blink, blink_right=blink), size=128).astype(int)
        for blink in (0.0, 1.0)
    )
    y, x = np.nonzero(np.abs(opened - closed).max(axis=2) > 40)
    state = FaceState()
    face, mouth = (torch.tensor(box(portrait, state))[None, None] for box in (face_box, mouth_box))
    x0, y0, x1, y1 = (128 * eye_boxes(face, mouth)[0, 0]).tolist()
    assert len(y) > 20
    assert x0 <= x.min() and x.max() <= x1 and y0 <= y.min() and y.max() <= y1


def test_errors_weigh_mouth_face_and_eyes() -> None:
    shape = {"num_clips": 4, "num_frames": 3, "num_motion": 2, "window_margin": 2}
    batch = draw_batch(
        numbered_data(num_references=0),
        torch.Generator().manual_seed(1),
        is_consecutive=True,
        **shape,
    )
    mask = torch.zeros_like(batch.eyes)
    mask[..., 0, 0] = 1.0
    batch = dataclasses.replace(
        batch, eyes=mask, mouth=torch.zeros_like(mask), region=torch.zeros_like(batch.region)
    )
    error = mask.flatten(0, 1).expand(-1, 4, -1, -1)
    plain = 1 / 6
    for weight in (0.0, 5.0):
        errors = errors_of(error, batch, mouth_weight=3.0, face_weight=2.0, eyes_weight=weight)
        expected = (1 + weight) * plain / (1 + weight * plain)
        assert float(errors["loss"]) == pytest.approx(expected)
        assert float(errors["plain"]) == pytest.approx(plain)


def test_errors_of_round_mouths_weigh_more() -> None:
    shape = {"num_clips": 1, "num_frames": 3, "num_motion": 2, "window_margin": 2}
    data = numbered_data(num_references=0)
    batch = draw_batch(data, torch.Generator().manual_seed(1), is_consecutive=True, **shape)
    mask = torch.zeros_like(batch.mouth)
    mask[..., 0, 0] = 1.0
    signals = torch.zeros_like(batch.face_signals)
    signals[0, :, FACE_SIGNALS.index("lip_round")] = torch.tensor([0.0, 0.5, torch.nan])
    batch = dataclasses.replace(
        batch, mouth=mask, region=torch.zeros_like(batch.region), face_signals=signals
    )
    error = torch.zeros(3, 4, *mask.shape[-2:])
    error[1] = mask[0, 1]
    errors = errors_of(error, batch, mouth_weight=3.0, round_weight=2.0)
    weights = 3 * 6 + 3.0 * (1 + 2 + 1)
    assert float(errors["loss"]) == pytest.approx((1 + 3.0 * 2) / weights)


def test_errors_that_flicker_count_more_than_those_that_stay() -> None:
    shape = {"num_clips": 2, "num_frames": 3, "num_motion": 2, "window_margin": 2}
    data = numbered_data(num_references=0)
    batch = draw_batch(data, torch.Generator().manual_seed(1), is_consecutive=True, **shape)
    batch = dataclasses.replace(
        batch, begins_film_B=torch.tensor([True, True]), is_led_B=torch.tensor([False, True])
    )
    error_BF = torch.tensor([[1.0, 1.0, -1.0], [2.0, 2.0, 0.0]])
    lead_error_BChw = torch.tensor([9.0, 1.0])[:, None, None, None].expand(2, 4, 8, 8)
    square = squared_with_change(
        error_BF.flatten()[:, None, None, None].expand(6, 4, 8, 8),
        batch,
        lead_error_BChw,
        change_weight=0.5,
        lead_weight=3.0,
    )
    # Changes of the film that begins: 0, 0, -2; of the other, behind its motion frames: 1, 0, -2.
    expected = torch.tensor([1.0, 1.0, 1.0 + 0.5 * 4.0, 4.0 + 0.5 * 3.0 * 1.0, 4.0, 0.5 * 4.0])
    assert torch.equal(square, expected[:, None, None, None].expand_as(square))


def test_a_batch_without_other_pictures_refers_to_frames() -> None:
    shape = {"num_clips": 9, "num_frames": 3, "num_motion": 2, "window_margin": 2}
    generator = torch.Generator().manual_seed(1)
    batch = draw_batch(numbered_data(num_references=0), generator, is_consecutive=True, **shape)
    assert (batch.reference >= 0).all()


def test_films_begin_where_clips_begin_and_go_on_where_motion_frames_lead() -> None:
    data = numbered_data(num_references=0)
    shape = {"num_clips": 60, "num_frames": 3, "num_motion": 2, "window_margin": 2}

    def draw(share: float) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        batch = draw_batch(data, generator, is_consecutive=True, beginning_share=share, **shape)
        numbers = batch.frames[:, :, 0, 0, 0].long() % 100
        assert torch.equal(numbers, batch.frame_BF)
        assert torch.equal(batch.frames[:, 0, 0, 0, 0].long() // 100, batch.clip_B)
        going_on = ~batch.begins_film_B
        motion = batch.motion[:, :, 0, 0, 0].long() % 100
        assert torch.equal(motion[going_on], batch.motion_BM[going_on])
        assert torch.equal(motion[going_on], numbers[going_on][:, :1] + torch.tensor([[-2, -1]]))
        return batch.begins_film_B, numbers[:, 0]

    begins, starts = draw(1.0)
    assert begins.all()
    assert set(starts.tolist()) == {0, 1, 2, 3, 4}
    begins, starts = draw(0.0)
    assert not begins.any()
    assert set(starts.tolist()) == {2, 3, 4}
    begins, starts = draw(0.4)
    assert 0.2 < begins.float().mean() < 0.6


@pytest.mark.parametrize("num_references", [0, 3])
def test_films_begin_from_a_picture_of_their_first_head(num_references: int) -> None:
    """From the picture of frame 1, behind which there are enough; else from the frame itself."""
    shape = {"num_clips": 60, "num_frames": 3, "num_motion": 2, "window_margin": 2}
    batch = draw_batch(
        numbered_data(num_references=num_references),
        torch.Generator().manual_seed(1),
        is_consecutive=True,
        beginning_share=0.5,
        is_first_reference=True,
        **shape,
    )
    begins = batch.begins_film_B
    assert 0.3 < begins.float().mean() < 0.7
    assert batch.is_led_B.all()
    starts, clips = batch.frame_BF[:, 0], batch.clip_B
    assert torch.equal(batch.frames[:, 0, 0, 0, 0].long(), 100 * clips + starts)
    if num_references:
        assert set(starts[begins].tolist()) == {1}
        expected = -1.0 - 100.0 * clips
    else:
        assert set(starts[begins].tolist()) == {0, 1, 2, 3, 4}
        expected = 100.0 * clips + starts
    assert torch.equal(batch.reference[begins, 0, 0, 0], expected[begins])
    still = batch.reference[:, None].expand_as(batch.motion)
    assert torch.equal(batch.motion[begins], still[begins])
    before = batch.motion[~begins][:, :, 0, 0, 0].long() % 100
    assert torch.equal(before, batch.motion_BM[~begins])


def test_what_leads_a_film_that_begins_is_read_where_it_means_something() -> None:
    networks = tiny_networks()
    for is_first_reference in (False, True):
        sampling = dataclasses.replace(
            networks.config.sampling, motion=MotionConfig(is_first_reference=is_first_reference)
        )
        config = dataclasses.replace(networks.config, sampling=sampling)
        feed = dataclasses.replace(STAGES[2], beginning_share=1.0)
        feeder = Feeder(dataclasses.replace(networks, config=config), feed, toy_data())
        generator = torch.Generator().manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):  # As the loop draws.
            batch = feeder.draw(generator, num_clips=2)
        assert batch.begins_film_B.all()
        reading = feeder.read(batch, generator, is_dropping=False)
        num_motion = batch.motion.shape[1]
        for name, read in reading.motion.items():
            of_reference = reading.reference[name].repeat_interleave(num_motion, dim=0)
            expected = of_reference if is_first_reference else torch.zeros_like(read)
            torch.testing.assert_close(read, expected)
