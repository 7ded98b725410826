"""The generation loop with models that can be worked out by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from emo_core.config import DiffusionConfig
from emo_core.errors import InputError
from emo_core.sampling.clip_plan import ClipSpan, plan_clips
from emo_core.sampling.denoising import denoise, guided
from emo_core.sampling.generate import MakeClip, Motion, Stretch, faded, generate_clips
from emo_core.sampling.held import Held
from emo_core.sampling.noise import NUM_CLIP_SEEDS, FilmNoise, clip_seed, step_generator
from emo_core.sampling.schedule import SOLVERS, make_scheduler, set_steps

SHAPE = (4, 4, 4)
CLIP, MOTION = 5, 2


def test_plan_covers_every_frame_once() -> None:
    for num_frames in (1, 4, 5, 6, 10, 23):
        spans = plan_clips(num_frames, clip_frames=CLIP)
        frames = [frame for span in spans for frame in range(span.first, span.last)]
        assert frames == list(range(num_frames))
        assert [span.index for span in spans] == list(range(len(spans)))
        assert all(span.num_frames == CLIP for span in spans[:-1])
    with pytest.raises(InputError, match="0 frames"):
        plan_clips(0, clip_frames=CLIP)


@pytest.mark.parametrize("overlap", [1, 2, 4])
def test_clips_that_share_frames_cover_every_frame_and_all_bring_a_new_one(overlap: int) -> None:
    for num_frames in range(1, 24):
        spans = plan_clips(num_frames, clip_frames=CLIP, overlap=overlap)
        own = [frame for span in spans for frame in range(span.first, span.first + span.num_own)]
        assert own == list(range(num_frames))
        assert all(span.num_frames == CLIP for span in spans[:-1])
        assert all(span.num_shared == overlap for span in spans[:-1])
        assert spans[-1].num_shared == 0 and spans[-1].last == num_frames
        assert len(spans) == 1 or spans[-1].num_frames > overlap


def test_noise_drawn_clip_by_clip_is_noise_drawn_at_once() -> None:
    whole = torch.randn(4 * CLIP, *SHAPE, generator=torch.Generator().manual_seed(3))
    noise = FilmNoise(3, clip_frames=CLIP, shape=SHAPE)
    assert torch.equal(torch.cat([noise.clip(index) for index in range(4)]), whole)
    assert torch.equal(noise.clip(3), whole[3 * CLIP :])
    assert torch.equal(noise.clip(1), whole[CLIP : 2 * CLIP])


def test_frames_that_clips_share_begin_with_one_noise() -> None:
    whole = torch.randn(4 * CLIP, *SHAPE, generator=torch.Generator().manual_seed(3))
    noise = FilmNoise(3, clip_frames=CLIP, overlap=2, shape=SHAPE)
    for index in (0, 1, 2, 1, 4):
        assert torch.equal(noise.clip(index), whole[3 * index : 3 * index + CLIP])


def toy_clips(
    *,
    solver: str = "ddim",
    steps: int = 4,
    on_step: Callable[[int, int, Tensor], None] = lambda clip, step, latents: None,
) -> MakeClip:
    """A model that knows the clean frames: the clip's number plus a tenth of its motion's mean."""
    noise = FilmNoise(0, clip_frames=CLIP, shape=SHAPE)
    scheduler = make_scheduler(DiffusionConfig(), solver=solver)
    alphas = scheduler.alphas_cumprod

    def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        clean = span.index + (0.0 if motion is None else 0.1 * motion.mean())

        def predict(latents: Tensor, timestep: Tensor, step_index: int) -> Tensor:
            alpha = alphas[int(timestep)].double()
            signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
            noise = (latents.double() - signal * clean) / spread
            return (signal * noise - spread * clean).float()

        return denoise(
            predict,
            noise.clip(span.index),
            scheduler=scheduler,
            steps=steps,
            device=torch.device("cpu"),
            held=held,
            on_step=lambda step, latents: on_step(span.index, step, latents),
        )

    return make


def generate(**changes: object) -> list[Stretch]:
    sizes = {"num_frames": 13, "clip_frames": CLIP, "motion": Motion(num_frames=MOTION)}
    return list(generate_clips(toy_clips(**changes), **sizes))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_perfect_model_gives_the_clean_frames(solver: str) -> None:
    clips = generate(solver=solver, steps=8)
    assert [clip.latents.shape[0] for clip in clips] == [5, 5, 3]
    for clip, expected in zip(clips, (0.0, 1.0, 2.1), strict=True):
        # The schedules end at a small noise level, not at none.
        assert torch.allclose(clip.latents, torch.full_like(clip.latents, expected), atol=0.1)


def test_the_last_frames_lead_the_next_clip() -> None:
    led_by = []

    def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        led_by.append(motion)
        return torch.randn(CLIP, *SHAPE, generator=torch.Generator().manual_seed(span.index))

    motion = Motion(num_frames=MOTION, first=torch.ones(MOTION, *SHAPE), recode=torch.neg)
    clips = list(generate_clips(make, num_frames=13, clip_frames=CLIP, motion=motion))
    assert [(clip.first, clip.last) for clip in clips] == [(0, 5), (5, 10), (10, 13)]
    assert torch.equal(led_by[0], torch.ones(MOTION, *SHAPE))
    assert torch.equal(led_by[1], -clips[0].latents[-MOTION:])
    assert torch.equal(led_by[2], -clips[1].latents[-MOTION:])


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_takes_that_part_evenly_are_left_by_no_larger_step_than_they_are_entered(
    overlap: int,
) -> None:
    """Frame by frame the later take is farther from the earlier one, which stands still at 0."""
    before = torch.zeros(overlap, 1, 1, 1)
    distance = torch.arange(1.0, overlap + 3)
    joined = faded(before, distance[:, None, None, None])[:, 0, 0, 0]
    into, out = joined[0], (distance - joined)[overlap - 1]
    torch.testing.assert_close(into, out)
    share = joined / distance
    assert (share[:overlap].diff() > 0).all()
    assert share[overlap - 1] < 1
    assert torch.equal(joined[overlap:], distance[overlap:])


def test_clips_fade_into_each_other_and_are_led_by_what_lies_before() -> None:
    led_by = []

    def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        led_by.append(motion)
        ramp = torch.arange(CLIP)[:, None, None, None].expand(CLIP, *SHAPE)
        return 100.0 * span.index + ramp

    how = {"clip_frames": CLIP, "overlap": 2, "motion": Motion(num_frames=MOTION)}
    stretches = list(generate_clips(make, num_frames=10, **how))
    assert [(stretch.first, stretch.last) for stretch in stretches] == [(0, 3), (3, 6), (6, 10)]
    film = torch.cat([stretch.latents for stretch in stretches])[:, 0, 0, 0]
    # Frames 3 and 4 are 3 and 4 of the first clip, and 100 and 101 of the second.
    shares = 0.4, 0.8
    mixed = [first + place + 97 * shares[place] for first in (3, 103) for place in (0, 1)]
    expected = [0, 1, 2, *mixed[:2], 102, *mixed[2:], 202, 203]
    assert film.tolist() == pytest.approx(expected)
    assert led_by[0] is None
    assert led_by[1][:, 0, 0, 0].tolist() == [1, 2]
    assert led_by[2][:, 0, 0, 0].tolist() == [101, 102]
    # Cut instead of faded, they are the later clip's.
    cut = torch.cat(
        [s.latents for s in generate_clips(make, num_frames=10, are_faded=False, **how)]
    )
    expected = [0, 1, 2, 100, 101, 102, 200, 201, 202, 203]
    assert cut[:, 0, 0, 0].tolist() == expected
    # Another length changes only the clips that it cuts.
    longer = torch.cat([s.latents for s in generate_clips(make, num_frames=16, **how)])
    assert torch.equal(longer[:8, 0, 0, 0], film[:8])


@pytest.mark.parametrize("first", [None, torch.ones(MOTION, *SHAPE)])
def test_where_nothing_is_handed_on_every_clip_begins_like_the_first(first: Tensor | None) -> None:
    led_by = []

    def make(span: ClipSpan, motion: Tensor | None, held: Held | None) -> Tensor:
        led_by.append(motion)
        return torch.randn(CLIP, *SHAPE, generator=torch.Generator().manual_seed(span.index))

    motion = Motion(num_frames=0, first=first)
    list(generate_clips(make, num_frames=13, clip_frames=CLIP, motion=motion))
    assert len(led_by) == 3 and all(motion is first for motion in led_by)


def test_every_step_is_reported_and_may_cancel() -> None:
    seen = []
    generate(on_step=lambda clip, step, latents: seen.append((clip, step)))
    assert seen == [(clip, step) for clip in range(3) for step in range(4)]

    def cancel(clip: int, step: int, latents: Tensor) -> None:
        if (clip, step) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(on_step=cancel)


def test_guidance_leads_away_from_the_unconditional() -> None:
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert guided(two, one, guidance=3.0) == 4.0
    assert guided(two, None, guidance=3.0) == 2.0
    assert guided(two.half(), one.half(), guidance=1.0).dtype == torch.float32


def test_schedule_is_the_published_one() -> None:
    """Timesteps and cumulative alphas measured on the upstream programs (diffusers 0.27.2)."""
    scheduler = make_scheduler(DiffusionConfig(), solver="ddim")
    scheduler.set_timesteps(25)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -40))
    expected = {0: 0.99915, 166: 0.791434, 500: 0.241019, 833: 0.0108664, 974: 1.37084e-4, 999: 0}
    for timestep, alpha in expected.items():
        assert float(scheduler.alphas_cumprod[timestep]) == pytest.approx(alpha, rel=1e-4, abs=1e-8)


def test_lcm_visits_the_timesteps_of_ddim() -> None:
    schedulers = [make_scheduler(DiffusionConfig(), solver=name) for name in ("lcm", "ddim")]
    for steps in (1, 4, 7, 25):
        for scheduler in schedulers:
            set_steps(scheduler, steps)
        lcm, ddim = (scheduler.timesteps for scheduler in schedulers)
        # Where they do not divide, one rounds and the other cuts.
        assert (lcm - ddim).abs().max() <= (1000 % steps > 0), steps


def test_noise_on_the_way_is_a_clips_own_and_comes_again() -> None:
    """Also not that which the film begins with, at the last of all seeds too."""

    def drawn(seed: int, index: int) -> torch.Tensor:
        return torch.randn(CLIP, *SHAPE, generator=step_generator(clip_seed(seed, index)))

    for seed in (7, NUM_CLIP_SEEDS):
        first = FilmNoise(seed, clip_frames=CLIP, shape=SHAPE).clip(0)
        assert torch.equal(drawn(seed, 1), drawn(seed, 1))
        for other in (drawn(seed, 0), drawn(seed, 2), drawn(9, 1), first):
            assert not torch.equal(drawn(seed, 1), other)
        assert not torch.equal(drawn(seed, 0), first)


def test_unknown_solver() -> None:
    with pytest.raises(InputError, match="'eulr': unknown. Choose one of ddim"):
        make_scheduler(DiffusionConfig(), solver="eulr")


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_number_of_steps_is_that_number(solver: str) -> None:
    """Rounding makes diffusers list a timestep of -1 for some, such as 61."""
    scheduler = make_scheduler(DiffusionConfig(), solver=solver)
    for steps in (1, 2, 25, 60, 61, 62, 103, 244, 999, 1000):
        set_steps(scheduler, steps)
        assert len(scheduler.timesteps) == steps
        assert scheduler.timesteps.min() >= 0
        if solver in ("dpm++2m", "unipc"):
            assert len(scheduler.sigmas) == steps + 1 and scheduler.sigmas[-1] == 0
    for steps in (0, 1001):
        with pytest.raises(InputError, match=f"{steps} steps: expected 1 to 1000"):
            set_steps(scheduler, steps)
