"""Clips that are led back to the reference."""

import dataclasses

import pytest
import torch
from test_sampler import SETTINGS, WINDOWS, animator_and_film
from torch import Tensor

from emo_core.errors import InputError
from emo_core.sampling.anchor import Anchor
from emo_core.sampling.clip_plan import ClipSpan
from emo_core.sampling.generate import Motion, generate_clips
from emo_core.sampling.held import Held
from emo_core.sampling.retake import Retake, retake_clips

REFERENCE = torch.full((1, 4, 2, 2), 10.0)


def test_every_so_many_clips_lean_towards_the_reference() -> None:
    led_by = []

    def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        led_by.append(motion)
        return torch.full((3, 4, 2, 2), float(span.index))

    anchor = Anchor(every=2, share=0.25, reference=REFERENCE)
    motion = Motion(num_frames=2, anchor=anchor)
    list(generate_clips(make, num_frames=15, clip_frames=3, motion=motion))
    assert led_by[0] is None
    assert [float(leading.mean()) for leading in led_by[1:]] == [
        0.0,
        1 * 0.75 + 10 * 0.25,
        2.0,
        3 * 0.75 + 10 * 0.25,
    ]
    assert all(leading.shape == (2, 4, 2, 2) for leading in led_by[1:])


def test_clips_of_a_part_made_again_lean_towards_it_too() -> None:
    """Counted from the part's start, which follows the old frames as they are."""
    led_by = []

    def old(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        return torch.full((3, 4, 2, 2), -1.0)

    def new(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        led_by.append(float(motion.mean()))
        return torch.full((3, 4, 2, 2), float(span.index))

    anchor = Anchor(every=2, share=0.25, reference=REFERENCE)
    sizes = {"num_frames": 30, "clip_frames": 3, "motion": Motion(num_frames=2, anchor=anchor)}
    part = Retake(first=7, last=18, blend_frames=1)
    list(retake_clips(generate_clips(old, **sizes), new, part, **sizes))
    assert led_by == [-1.0, 0.0, 1 * 0.75 + 10 * 0.25, 2.0]


@pytest.mark.parametrize(("every", "share"), [(0, 0.5), (-1, 0.5), (2, 1.1), (2, -0.1)])
def test_anchors_that_cannot_be(every: int, share: float) -> None:
    with pytest.raises(InputError, match=f"anchor every {every} clips with a share of {share}"):
        Anchor(every=every, share=share, reference=REFERENCE)


def test_a_real_film_changes_from_the_first_anchored_clip_on() -> None:
    animator, film = animator_and_film()

    def sample(**changes: object) -> Tensor:
        settings = dataclasses.replace(SETTINGS, **changes)
        return torch.cat(list(animator.sample(film, settings=settings)))

    plain, anchored = sample(), sample(anchor_every=2, anchor_share=0.5)
    assert torch.equal(plain[:8], anchored[:8])
    assert not torch.isclose(plain[8:], anchored[8:]).all(dim=(1, 2, 3)).any()
    assert torch.equal(plain, sample(anchor_every=2, anchor_share=0.0))


def test_films_made_together_have_none() -> None:
    _, film = animator_and_film(**WINDOWS)
    backbone = film.config.backbone
    still = dataclasses.replace(backbone.temporal, num_motion_frames=0)
    config = dataclasses.replace(
        film.config, backbone=dataclasses.replace(backbone, temporal=still)
    )
    with pytest.raises(InputError, match="sample all frames together"):
        dataclasses.replace(film, config=config).anchor(every=3, share=0.5)
