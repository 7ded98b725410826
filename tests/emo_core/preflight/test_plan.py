"""The plan of a film is what rendering then really does."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_config

from emo_core.audio.waveform import Waveform
from emo_core.checkpoints.emo import build_networks
from emo_core.config import ModelConfig, WindowsConfig
from emo_core.film import Film
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator, RetakeSettings
from emo_core.preflight.plan import FilmPlan, first_part
from emo_core.store.clips import ClipStore

STEPS = 2
WINDOWED = {
    "line": WindowsConfig(overlap=1),
    "loop": WindowsConfig(overlap=1, is_loop=True, shift=1),
}


def config_of(kind: str) -> ModelConfig:
    config = tiny_config()
    if kind == "clips":
        return config
    temporal = dataclasses.replace(config.backbone.temporal, num_motion_frames=0)
    return dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, temporal=temporal),
        sampling=dataclasses.replace(config.sampling, windows=WINDOWED[kind]),
    )


def animator_of(kind: str) -> Animator:
    torch.manual_seed(0)
    networks = build_networks(config_of(kind))
    for network in networks.parts().values():
        network.eval().requires_grad_(False)
    return Animator(networks, VAE(scale=1.0).eval(), networks.front_end)


def film_of(animator: Animator, *, num_frames: int) -> Film:
    samples = torch.randn(1, num_frames * 640, generator=torch.Generator().manual_seed(1))
    return animator.film(
        torch.rand(80, 80, 3, generator=torch.Generator().manual_seed(2)),
        Waveform(0.2 * samples, 16000),
        settings=AnimateSettings(),
    )


@pytest.mark.parametrize("kind", ["clips", *WINDOWED])
@pytest.mark.parametrize("num_frames", [3, 4, 9, 15])
def test_the_plan_counts_what_rendering_does(kind: str, num_frames: int, tmp_path: Path) -> None:
    animator = animator_of(kind)
    film = film_of(animator, num_frames=num_frames)
    settings = AnimateSettings(steps=STEPS, guidance=1.0)  # One run of the backbone per pass.
    plan = FilmPlan.of(film, steps=STEPS)
    seen_frames, bar = [], []

    def count(module: torch.nn.Module, arguments: tuple, answer: torch.Tensor) -> None:
        seen_frames.append(len(arguments[0]))

    def on_step(clip: int, step: int, latents: torch.Tensor) -> None:
        bar.append((clip, step))

    animator.networks.backbone.register_forward_hook(count)
    store = ClipStore(tmp_path)
    clips = list(animator.sample(film, settings=settings, on_step=on_step, store=store))
    assert len(seen_frames) == plan.num_passes
    assert set(seen_frames) == {plan.clip_frames}
    assert len(bar) == plan.num_steps
    assert len(clips) == plan.num_clips
    assert sum(len(clip) for clip in clips) == plan.num_frames == num_frames
    assert clips[0][0].nbytes == plan.latent_bytes
    stored = sum(path.stat().st_size for path in tmp_path.iterdir())
    heads = 400 * plan.num_clips  # Names, shapes and the checksum.
    # A last clip of one frame has no two that could lead.
    least = plan.store_bytes - plan.latent_bytes * (num_frames == 9)
    assert least < stored <= plan.store_bytes + heads
    assert plan.seconds == num_frames / 25
    assert plan.pixels == num_frames * 64 * 64


@pytest.mark.parametrize("kind", ["clips", "line"])
@pytest.mark.parametrize(
    "seconds",
    [[(0.2, 0.3)], [(0.04, 0.44)], [(0.32, 0.6)], [(0.0, 0.6)], [(0.04, 0.2), (0.36, 0.6)]],
    ids=str,
)
def test_parts_made_again_are_counted_as_they_are_made(
    kind: str, seconds: list[tuple[float, float]]
) -> None:
    """Of a film of 15 frames. One motion frame after its start a part begins with the film, and
    what a part replaces up to the film's end is never made."""
    animator = animator_of(kind)
    film = film_of(animator, num_frames=15)
    retakes = [
        RetakeSettings(start_s=start, end_s=end, seed=9, blend_frames=2) for start, end in seconds
    ]
    plan = FilmPlan.of(film, steps=STEPS, parts=[retake.part(film) for retake in retakes])
    bar = []
    clips = animator.sample(
        film,
        settings=AnimateSettings(steps=STEPS),
        retakes=retakes,
        on_step=lambda clip, step, latents: bar.append((clip, step)),
    )
    assert sum(len(clip) for clip in clips) == 15
    assert len(bar) == plan.num_steps


def test_only_a_film_in_windows_grows_in_memory() -> None:
    for kind, copies in (("clips", 0), ("line", 8)):
        animator = animator_of(kind)
        plan = FilmPlan.of(film_of(animator, num_frames=9), steps=1)
        assert plan.growing_bytes == copies * 9 * 4 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("kind", "num_frames", "expected"),
    [("clips", 15, 8), ("clips", 5, 5), ("line", 15, 5), ("line", 3, 3), ("loop", 15, 5)],
)
def test_the_first_part_has_two_clips_or_windows_where_the_film_has(
    kind: str, num_frames: int, expected: int
) -> None:
    film = film_of(animator_of(kind), num_frames=num_frames)
    part = first_part(film)
    assert part.num_frames == expected
    found, whole = (FilmPlan.of(f, steps=1) for f in (part, film))
    assert found.num_passes == min(2, whole.num_passes)
    assert found.clip_frames == whole.clip_frames
