"""The generation loop with models that can be worked out by hand."""

import pytest
import torch
from torch import Tensor

from emo_core.config import DiffusionConfig
from emo_core.errors import InputError
from emo_core.sampling.clip_plan import ClipSpan, plan_clips
from emo_core.sampling.generate import generate_clips, guided
from emo_core.sampling.noise import FilmNoise
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


def test_noise_drawn_clip_by_clip_is_noise_drawn_at_once() -> None:
    whole = torch.randn(4 * CLIP, *SHAPE, generator=torch.Generator().manual_seed(3))
    noise = FilmNoise(3, clip_frames=CLIP, shape=SHAPE)
    assert torch.equal(torch.cat([noise.next_clip() for _ in range(4)]), whole)


def prepare_toy(span: ClipSpan, motion: Tensor | None):  # noqa: ANN201
    """A model that knows the clean frames: the clip's number plus the mean of its motion."""
    clean = span.index + (0.0 if motion is None else 0.1 * motion.mean())
    alphas = make_scheduler(DiffusionConfig(), solver="ddim").alphas_cumprod

    def predict(latents: Tensor, timestep: Tensor) -> tuple[Tensor, None]:
        alpha = alphas[int(timestep)].double()
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        noise = (latents.double() - signal * clean) / spread
        return (signal * noise - spread * clean).float(), None

    return predict


def generate(**changes: object) -> list:
    arguments = {
        "scheduler": make_scheduler(DiffusionConfig(), solver="ddim"),
        "steps": 4,
        "guidance": 1.0,
        "num_frames": 13,
        "clip_frames": CLIP,
        "num_motion_frames": MOTION,
        "noise": FilmNoise(0, clip_frames=CLIP, shape=SHAPE),
        "device": torch.device("cpu"),
    }
    return list(generate_clips(prepare_toy, **(arguments | changes)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_perfect_model_gives_the_clean_frames(solver: str) -> None:
    clips = generate(scheduler=make_scheduler(DiffusionConfig(), solver=solver), steps=8)
    assert [clip.latents.shape[0] for clip in clips] == [5, 5, 3]
    for clip, expected in zip(clips, (0.0, 1.0, 2.1), strict=True):
        # The schedules end at a small noise level, not at none.
        assert torch.allclose(clip.latents, torch.full_like(clip.latents, expected), atol=0.1)


def test_the_last_frames_lead_the_next_clip() -> None:
    clips = generate()
    assert torch.equal(clips[0].motion, clips[0].latents[-MOTION:])


def test_a_resumed_run_gives_the_clips_of_the_whole_run() -> None:
    whole = generate()
    resumed = generate(first_clip=1, motion=whole[0].motion)
    assert [clip.span for clip in resumed] == [clip.span for clip in whole[1:]]
    for ours, theirs in zip(resumed, whole[1:], strict=True):
        assert torch.equal(ours.latents, theirs.latents)


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
        if solver != "ddim":
            assert len(scheduler.sigmas) == steps + 1 and scheduler.sigmas[-1] == 0
    for steps in (0, 1001):
        with pytest.raises(InputError, match=f"{steps} steps: expected 1 to 1000"):
            set_steps(scheduler, steps)
