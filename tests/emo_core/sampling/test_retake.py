"""Parts of a film made again: what stays is untouched, what is new is joined at both ends."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from emo_core.config import DiffusionConfig
from emo_core.errors import InputError
from emo_core.sampling.clip_plan import ClipSpan
from emo_core.sampling.denoising import denoise
from emo_core.sampling.generate import Motion, Stretch, generate_clips
from emo_core.sampling.held import Held
from emo_core.sampling.retake import Retake, retake_clips, retake_part, retake_together
from emo_core.sampling.schedule import SOLVERS, make_scheduler

SHAPE = (4, 2, 2)
CLIP, MOTION, FRAMES = 5, 2, 33


class Takes:
    """Makes clips of noise, and notes how."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.made: list[tuple[ClipSpan, Tensor | None, Held | None]] = []

    def __call__(self, span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        self.made.append((span, motion, held))
        generator = torch.Generator().manual_seed(100 * self.seed + span.index)
        latents = torch.randn(CLIP, *SHAPE, generator=generator)
        return latents if held is None else held.mixed(latents, held.latents_FChw)


class Rounding(Takes):
    def __call__(self, span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        return super().__call__(span, motion, held) + 1e-4


SIZES = {"num_frames": FRAMES, "clip_frames": CLIP, "motion": Motion(num_frames=MOTION)}


def old_film() -> Tensor:
    return joined(generate_clips(Takes(1), **SIZES))


def joined(stretches: Iterator[Stretch]) -> Tensor:
    stretches = list(stretches)
    assert stretches[0].first == 0
    for before, after in zip(stretches, stretches[1:], strict=False):
        assert before.last == after.first
    return torch.cat([stretch.latents for stretch in stretches])


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize(
    ("first", "last", "blend"),
    [(10, 20, 5), (7, 18, 3), (2, 4, 1), (11, 12, 4), (20, 33, 5), (28, 30, 9), (12, 27, 6)],
)
def test_everything_outside_stays(first: int, last: int, blend: int, overlap: int) -> None:
    sizes = SIZES | {"overlap": overlap}
    old, new = joined(generate_clips(Takes(1), **sizes)), Takes(2)
    part = Retake(first=first, last=last, blend_frames=blend)
    film = joined(retake_clips(generate_clips(Takes(1), **sizes), new, part, **sizes))
    end = min(last + blend, FRAMES)
    assert torch.equal(film[:first], old[:first]) and torch.equal(film[end:], old[end:])
    assert not torch.isclose(film[first:last], old[first:last]).any()
    span, led_by, _ = new.made[0]
    assert span.first == first and torch.equal(led_by, old[first - MOTION : first])
    assert sum(span.num_own for span, *_ in new.made) == end - first


def test_a_new_take_comes_out_of_the_old_one_where_clips_share_frames() -> None:
    sizes = SIZES | {"overlap": 2}
    old = joined(generate_clips(Takes(1), **sizes))
    part = Retake(first=9, last=FRAMES, blend_frames=1)
    film = joined(retake_clips(generate_clips(Takes(1), **sizes), Takes(2), part, **sizes))
    free = Takes(2)(ClipSpan(0, 9, 14), None, None)
    assert torch.allclose(film[9], 0.6 * old[9] + 0.4 * free[0])
    assert torch.allclose(film[10], 0.2 * old[10] + 0.8 * free[1])
    assert torch.equal(film[11], free[2])


def test_the_end_becomes_the_old_film() -> None:
    """Latents are mixed by shares that grow evenly; later frames of the clip are held wholly."""
    old, new = old_film(), Takes(2)
    part = Retake(first=10, last=12, blend_frames=2)
    film = joined(retake_clips(generate_clips(Takes(1), **SIZES), new, part, **SIZES))
    (_, _, held), free = new.made[0], Takes(2)(ClipSpan(0, 10, 14), None, None)
    assert torch.allclose(held.share_F, torch.tensor([0.0, 0.0, 1 / 3, 2 / 3, 1.0]))
    assert torch.allclose(film[12], free[2] * 2 / 3 + old[12] / 3)
    assert torch.allclose(film[13], free[3] / 3 + old[13] * 2 / 3)
    assert torch.equal(held.latents_FChw[2:], old[12:15])


def test_the_old_film_is_made_no_further_than_needed() -> None:
    first = Takes(1)
    part = Retake(first=20, last=FRAMES, blend_frames=4)
    joined(retake_clips(generate_clips(first, **SIZES), Takes(2), part, **SIZES))
    assert [span.index for span, *_ in first.made] == [0, 1, 2, 3]


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize(("first", "last"), [(0, 6), (1, 6), (1, 2), (1, FRAMES)])
def test_a_part_at_the_films_start(first: int, last: int, overlap: int) -> None:
    """Too few frames lie before it to lead a clip, so these are held and stay, though a sampler
    hardly gives held frames back to the last digit."""
    sizes = SIZES | {"overlap": overlap}
    old, new = joined(generate_clips(Takes(1), **sizes)), Rounding(2)
    part = Retake(first=first, last=last, blend_frames=4)
    film = joined(retake_clips(generate_clips(Takes(1), **sizes), new, part, **sizes))
    span, led_by, held = new.made[0]
    assert span.first == 0 and led_by is None
    assert torch.equal(film[:first], old[:first])
    assert torch.equal(film[last + 4 :], old[last + 4 :])
    assert not torch.isclose(film[first:last], old[first:last]).any()
    if first:
        assert held.share_F[0] == 1.0 and torch.equal(held.latents_FChw[0], old[0])
        assert held.share_F[1] == 0.0
    if last == FRAMES:
        assert [held is not None for *_, held in new.made[1:]] == [False] * (len(new.made) - 1)


def test_retakes_of_retakes() -> None:
    old = old_film()
    stretches = generate_clips(Takes(1), **SIZES)
    for seed, (first, last) in ((2, (5, 20)), (3, (10, 12))):
        part = Retake(first=first, last=last, blend_frames=3)
        stretches = retake_clips(stretches, Takes(seed), part, **SIZES)
    film = joined(stretches)
    once = retake_clips(
        generate_clips(Takes(1), **SIZES),
        Takes(2),
        Retake(first=5, last=20, blend_frames=3),
        **SIZES,
    )
    once = joined(once)
    assert torch.equal(film[:10], once[:10]) and torch.equal(film[15:], once[15:])
    assert not torch.equal(film[10:12], once[10:12])
    assert torch.equal(film[23:], old[23:])


def test_frames_made_together_are_held_on_both_sides() -> None:
    old = torch.arange(30.0)[:, None, None, None].expand(30, *SHAPE)
    seen = []

    def make(span: ClipSpan, motion: Tensor | None, held: Held) -> Tensor:
        seen.append((span, held))
        return held.mixed(torch.full((span.num_frames, *SHAPE), -1.0), held.latents_FChw)

    part = Retake(first=12, last=18, blend_frames=2)
    film = retake_together(old, make, part, context=4)
    ((span, held),) = seen
    assert (span.first, span.last) == (8, 24)
    assert torch.equal(film[:12], old[:12]) and torch.equal(film[20:], old[20:])
    assert (film[14:18] == -1).all()
    thirds = held.share_F[4:6].tolist() + held.share_F[10:12].tolist()
    assert thirds == pytest.approx([2 / 3, 1 / 3, 1 / 3, 2 / 3])


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_held_frames_come_out_as_they_are_to_be(solver: str, prediction_type: str) -> None:
    """The model sees them at each step as their latents under that step's noise."""
    config = DiffusionConfig(
        prediction_type=prediction_type, rescale_betas_zero_snr=prediction_type != "epsilon"
    )
    scheduler = make_scheduler(config, solver=solver)
    known = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(2))
    share = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 1.0])
    seen = []

    def predict(latents: Tensor, timestep: Tensor, step_index: int) -> Tensor:
        alpha = scheduler.alphas_cumprod[int(timestep)].double()
        expected = alpha.sqrt() * known + (1 - alpha).sqrt() * noise
        seen.append((latents - expected).abs()[3:].max())
        return 0.3 * latents

    def run(held: Held | None) -> Tensor:
        device = torch.device("cpu")
        generator = torch.Generator().manual_seed(1)
        return denoise(
            predict,
            noise,
            scheduler=scheduler,
            steps=6,
            device=device,
            held=held,
            generator=generator,
        )

    free = run(None)
    seen.clear()
    made = run(Held(known, share))
    assert max(seen) < 1e-5
    # The schedules end at a small noise level, not at none.
    assert torch.allclose(made[3:], known[3:], atol=0.15)
    assert torch.allclose(made[:2], free[:2], atol=1e-5), "nothing ties them in this model"
    assert not torch.allclose(made[2], free[2]) and not torch.allclose(made[2], known[2])


def refused(act: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        act()


def test_parts_that_cannot_be() -> None:
    film = {"fps": 25.0, "num_frames": 100, "blend_frames": 8}
    assert retake_part(1.0, 2.0, **film) == Retake(first=25, last=50, blend_frames=8)
    assert retake_part(3.0, 9.0, **film).last == 100
    refused(lambda: retake_part(2.0, 1.0, **film), "2 to 1 s: expected a start before its end")
    refused(lambda: retake_part(4.0, 5.0, **film), "inside the film's 4.00 s")
    refused(lambda: retake_part(-1.0, 1.0, **film), "-1 to 1 s")
    refused(lambda: Retake(first=0, last=1, blend_frames=0), "0 frames in which the new take")
