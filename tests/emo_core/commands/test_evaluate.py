"""What `evaluate` makes of its options, by a toy checkpoint."""

import argparse
import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks

from emo_core.commands import evaluate as command
from emo_core.errors import InputError
from emo_core.evaluation.cases import Case, make_cases
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator

SETTINGS = AnimateSettings(steps=2, speed_deg_s=12.0)


@pytest.fixture(scope="module")
def animator() -> Animator:
    networks = tiny_networks()
    torch.manual_seed(0)
    return Animator(networks, VAE(scale=1.0).eval(), networks.front_end)


@pytest.fixture(scope="module")
def case() -> Case:
    cases = make_cases(
        num_clips=2, seed=3, size=64, num_speed_portraits=1, speed_seconds=0.6, long_seconds=1.0
    )
    return cases.speed[0]


def made(
    animator: Animator,
    case: Case,
    *switched_off: str,
    settings: AnimateSettings = SETTINGS,
) -> torch.Tensor:
    answer = command.animate_case(
        animator, case, settings=settings, switched_off=list(switched_off)
    )
    assert answer.frames.shape == (case.num_frames, 64, 64, 3)
    assert answer.sampling_s > 0.0
    return answer.frames


def test_every_switch_changes_the_film_in_its_own_way(animator, case):
    whole = made(animator, case)
    films = [whole, *(made(animator, case, part) for part in command.SWITCHES)]
    for place, film in enumerate(films):
        assert not any(torch.equal(film, other) for other in films[:place])
    assert torch.equal(whole, made(animator, case))


def test_what_is_switched_off_is_not_read(animator, case):
    other_portrait = dataclasses.replace(case, picture=1.0 - case.picture)
    backwards = dataclasses.replace(
        case,
        utterance=dataclasses.replace(case.utterance, samples=case.utterance.samples[::-1].copy()),
    )
    faster = dataclasses.replace(SETTINGS, speed_deg_s=40.0)
    silenced = made(animator, case, "audio")
    assert torch.equal(silenced, made(animator, backwards, "audio"))
    assert not torch.equal(made(animator, case), made(animator, backwards))
    still = made(animator, case, "speed")
    assert torch.equal(still, made(animator, case, "speed", settings=faster))
    assert not torch.equal(made(animator, case), made(animator, case, settings=faster))
    # The portrait is seen nowhere else: motion frames are those of the film itself.
    unknown = made(animator, case, "reference")
    assert torch.equal(unknown, made(animator, other_portrait, "reference"))
    assert not torch.equal(made(animator, case), made(animator, other_portrait))


def test_without_motion_frames_the_first_clip_stays(animator, case):
    clip_frames = animator.networks.config.sampling.clip_frames
    whole, unled = made(animator, case), made(animator, case, "motion")
    assert torch.equal(whole[:clip_frames], unled[:clip_frames])
    assert not torch.equal(whole[clip_frames:], unled[clip_frames:])


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--out", "somewhere", *given])


def test_options():
    usual = options()
    assert (usual.seeds, usual.long, usual.switch_off) == (1, 30.0, [])
    chosen = options("--switch-off", "audio", "--switch-off", "motion", "--long", "90")
    assert (chosen.long, chosen.switch_off) == (90.0, ["audio", "motion"])
    assert options().switch_off == []


def test_no_seeds_are_refused_before_anything_is_loaded(tmp_path: Path):
    with pytest.raises(InputError, match="--seeds 0"):
        command.run(options("--seeds", "0", "--checkpoint", str(tmp_path / "missing")))


def test_a_speed_is_refused_as_every_film_has_its_own(tmp_path: Path):
    with pytest.raises(InputError, match="--speed 12.*Leave it out"):
        command.run(options("--speed", "12", "--checkpoint", str(tmp_path / "missing")))


def test_a_family_without_speed_layers_is_told_what_to_switch_off(animator, monkeypatch):
    backbone = dataclasses.replace(animator.networks.config.backbone, speed=None)
    config = dataclasses.replace(animator.networks.config, backbone=backbone)
    mute = Animator(
        dataclasses.replace(animator.networks, config=config), animator.vae, animator.audio_encoder
    )
    monkeypatch.setattr(command, "load_animator", lambda _: mute)
    with pytest.raises(InputError, match="no speed layers.*--switch-off speed"):
        command.run(options("--width", "64", "--height", "64"))
