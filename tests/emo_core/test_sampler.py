"""Retakes of real films, in clips and in windows, with and without a store."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from torch import Tensor

from emo_core.audio.waveform import Waveform
from emo_core.config import WindowsConfig
from emo_core.errors import InputError
from emo_core.film import Film
from emo_core.models.backbone import Weights
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator, RetakeSettings
from emo_core.sampler import How
from emo_core.sampling.noise import FilmNoise
from emo_core.store.clips import ClipStore

SETTINGS = AnimateSettings(steps=2, seed=3, speed_deg_s=12.0)
NUM_FRAMES = 19
"""Of clips or windows of four."""


WINDOWS = {"windows": WindowsConfig(overlap=2)}
LOOP = {"windows": WindowsConfig(overlap=1, is_loop=True, shift=1)}
SHARED = {"clip_overlap": 1}


def animator_and_film(**changes: object) -> tuple[Animator, Film]:
    """The tiny checkpoint, sampled otherwise, and a film of it."""
    networks = tiny_networks()
    sampling = dataclasses.replace(networks.config.sampling, **changes)
    config = dataclasses.replace(networks.config, sampling=sampling)
    networks = dataclasses.replace(networks, config=config)
    torch.manual_seed(0)
    animator = Animator(networks, VAE(scale=1.0).eval(), networks.front_end)
    sound = 0.2 * torch.randn(1, 12160, generator=torch.Generator().manual_seed(1))
    portrait = torch.rand(80, 80, 3, generator=torch.Generator().manual_seed(2))
    film = animator.film(portrait, Waveform(sound, 16000), settings=SETTINGS)
    assert film.num_frames == NUM_FRAMES
    return animator, film


def sample(
    made: tuple[Animator, Film], retakes: list[RetakeSettings], store: ClipStore | None = None
) -> tuple[Tensor, int]:
    """The film's latents, and how many clips were really made."""
    animator, film = made
    steps: list[int] = []
    latents = animator.sample(
        film,
        settings=SETTINGS,
        retakes=retakes,
        store=store,
        on_step=lambda clip, step, latents: steps.append(clip),
    )
    return torch.cat(list(latents)), len(set(steps))


def part(**changes: object) -> RetakeSettings:
    """Frames 7 to 12 with a blend up to 15."""
    usual = {"start_s": 0.28, "end_s": 0.48, "seed": 9, "blend_frames": 3}
    return RetakeSettings(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "num_clips", "num_new"),
    [({}, 5, 2), (SHARED, 6, 3), (WINDOWS, 1, 1), (LOOP, 1, 1)],
)
def test_a_retake_changes_its_part_alone(
    changes: dict[str, object], num_clips: int, num_new: int, tmp_path: Path
) -> None:
    made, store = animator_and_film(**changes), ClipStore(tmp_path)
    old, count = sample(made, [], store)
    assert count == num_clips
    new, count = sample(made, [part()], store)
    assert count == num_new
    assert torch.equal(new[:7], old[:7]) and torch.equal(new[15:], old[15:])
    assert (new[7:15] != old[7:15]).flatten(1).any(dim=1).all()
    assert sample(made, [part()], store)[1] == 0
    assert torch.equal(sample(made, [part()])[0], new), "the store changes nothing"


def test_a_store_reads_no_more_of_a_film_at_once_than_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key points that move are 3 MB a frame once they are drawn."""
    counts, moving_region = [], Film.moving_region

    def watched(film: Film, frames: tuple[int, ...]) -> Tensor | None:
        counts.append(len(frames))
        return moving_region(film, frames)

    monkeypatch.setattr(Film, "moving_region", watched)
    made = animator_and_film(**WINDOWS)
    sample(made, [part()], ClipStore(tmp_path))
    assert max(counts) == made[1].config.sampling.clip_frames == 4


@pytest.mark.parametrize("changes", [{}, SHARED, WINDOWS])
def test_what_a_retake_names_shapes_it(changes: dict[str, object], tmp_path: Path) -> None:
    made, store = animator_and_film(**changes), ClipStore(tmp_path)
    seen = [sample(made, [], store)[0]]
    for change in (
        {},
        {"seed": 10},
        {"guidance": 4.0},
        {"speed_deg_s": 30.0},
        {"weights": Weights(audio=1.5)},
        {"start_s": 0.24},
        {"blend_frames": 2},
    ):
        film, count = sample(made, [part(**change)], store)
        assert count > 0, change
        assert not any(torch.equal(film, other) for other in seen), change
        seen.append(film)


def test_a_head_speed_that_the_checkpoint_cannot_have() -> None:
    made = animator_and_film()
    with pytest.raises(InputError, match="500"):
        sample(made, [part(speed_deg_s=500.0)])


def test_seeds_that_torch_cannot_take_are_refused() -> None:
    how = How(solver="ddim", steps=2, guidance=1.0, seed=2**64 - 1)
    FilmNoise(how.seed, clip_frames=1, shape=(1, 1, 1)).clip(0)
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(InputError, match=f"seed {seed}: expected 0 to 18446744073709551615"):
            dataclasses.replace(how, seed=seed)


def test_where_guidance_holds_speed_too_its_other_half_knows_none() -> None:
    animator, film = animator_and_film()
    config = film.config
    backbone = dataclasses.replace(config.backbone, is_speed_guided=True)
    guided = dataclasses.replace(film, config=dataclasses.replace(config, backbone=backbone))
    faster = dataclasses.replace(guided, speed_deg_s_F=film.speed_deg_s_F + 20.0)
    like = animator.networks.like
    prepared = {}
    for name, each in (("usual", film), ("guided", guided), ("faster", faster)):
        whole = each.clip(range(4), motion=None)
        for half in (whole, whole.unconditional()):
            shared = half.share(animator.networks.backbone, like=like)
            conditions = half.prepare(animator.networks.backbone, shared, like=like)
            latents = torch.ones(4, 4, 8, 8)
            answer = animator.networks.backbone(latents, torch.tensor(500), conditions)
            prepared[name, half.is_conditional] = answer
    assert torch.equal(prepared["guided", True], prepared["usual", True])
    assert not torch.equal(prepared["faster", True], prepared["usual", True])
    assert not torch.equal(prepared["guided", False], prepared["usual", False])
    assert torch.equal(prepared["guided", False], prepared["faster", False])


def test_configs_that_cannot_be_sampled_are_refused() -> None:
    config = tiny_networks().config
    replace = dataclasses.replace
    with pytest.raises(InputError, match="4 frames that share 3; expected 0 to 2"):
        replace(config.sampling, clip_overlap=3)
    with pytest.raises(InputError, match="share 1; expected 0 to 0, since windows cover the film"):
        replace(config.sampling, clip_overlap=1, **WINDOWS)
    backbone = replace(
        config.backbone, temporal=replace(config.backbone.temporal, num_motion_frames=3)
    )
    with pytest.raises(InputError, match="share 2; before those, 3 motion frames are needed"):
        replace(config, backbone=backbone, sampling=replace(config.sampling, clip_overlap=2))
    with pytest.raises(InputError, match="is_speed_guided without speed layers"):
        replace(config.backbone, speed=None, is_speed_guided=True)


def test_a_film_that_is_not_led_has_clips_that_know_nothing_of_each_other() -> None:
    """Another voice in the first clip alone: only what it leads changes too."""
    animator, film = animator_and_film()
    rows = film.rows_RLD.clone()
    rows[:2] += 1.0
    for is_led in (True, False):
        as_it_is, changed = (
            sample((animator, dataclasses.replace(film, is_led=is_led, rows_RLD=each)), [])[0]
            for each in (film.rows_RLD, rows)
        )
        assert not torch.equal(as_it_is[:4], changed[:4])
        assert torch.equal(as_it_is[8:], changed[8:]) == (not is_led)
