"""Adversarial training: who learns from what, what counts how much, what comes out."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from tiny_adversary import OneSpeed, going_on, numbered, toy_task
from torch import Tensor

from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import load_networks
from emo_core.errors import InputError
from emo_core.training import adversarial_task
from emo_core.training.adversarial_task import LEAST_SIGNAL, AdversarialTask, seen_by_critic
from emo_core.training.balance import BLIND_LOSS, MEMORY, SEEING, Sight
from emo_core.training.batches import Batch
from emo_core.training.critic import Critic, hinge_losses
from emo_core.training.feeding import Reading
from emo_core.training.guessing import Guess
from emo_core.training.latent_reader import NUM_MOUTH_SIGNALS
from emo_core.training.loop import LoopSettings, fit


def test_a_critic_that_tells_nothing_does_not_pull() -> None:
    def loss(judgement: float) -> float:
        task = toy_task(reading_weight=0.0, speed_weight=0.0, likeness_weight=0.0)
        task.sight.usual_loss = judgement
        losses = task.loss(numbered(0))
        return float((losses["loss"] - losses["error"] - losses["critic"]).detach())

    blind = loss(10 * BLIND_LOSS)
    assert blind == pytest.approx(0.0, abs=1e-6)
    half, full = (loss(BLIND_LOSS - share * SEEING / MEMORY) for share in (0.5, 9.0))
    assert full != pytest.approx(0.0, abs=1e-4)
    assert 0.2 < half / full < 0.8

    sight = Sight()
    sight.usual_loss = 1.5
    assert sight.after(torch.tensor(2.5)) == 1.0
    assert sight.usual_loss == pytest.approx(1.5 * MEMORY + 2.5 * (1 - MEMORY))


def test_the_critic_sees_frames_their_change_the_reference_and_how_the_mouth_should_be() -> None:
    task = toy_task()
    batch = task.feeder.draw(numbered(0), num_clips=2)
    signals = batch.face_signals.clone()
    signals[1] = torch.nan
    batch = dataclasses.replace(
        batch,
        begins_film_B=torch.tensor([True, True]),
        is_led_B=torch.tensor([True, False]),
        face_signals=signals,
    )
    channels = batch.frames.shape[2]
    seen = seen_by_critic(batch, batch.frames.flatten(0, 1)).unflatten(0, (2, -1))
    now, change, reference, mouth = seen.split([channels] * 3 + [NUM_MOUTH_SIGNALS], dim=2)
    torch.testing.assert_close(now, batch.frames)
    torch.testing.assert_close(now[:, :-1] + change[:, 1:], batch.frames[:, 1:])
    torch.testing.assert_close(batch.motion[0, -1] + change[0, 0], batch.frames[0, 0])
    assert not change[1, 0].any()
    torch.testing.assert_close(reference[:, -1], batch.reference)
    assert torch.equal(mouth.amin((-1, -2)), mouth.amax((-1, -2)))
    assert torch.equal(mouth[0, ..., 0, 0], signals[0, :, :NUM_MOUTH_SIGNALS])
    assert not mouth[1].any()


def test_motion_frames_are_what_was_last_made_of_them() -> None:
    """What was made from little noise is remembered in its place, and handed out from there."""
    task = going_on(toy_task(own_motion_share=1.0))
    batch = task.feeder.draw(numbered(0), num_clips=2)
    made = torch.randn(batch.frames.flatten(0, 1).shape, generator=numbered(1))
    signal = torch.tensor([LEAST_SIGNAL + 0.1, LEAST_SIGNAL - 0.1])
    signal_N111 = signal.repeat_interleave(batch.frames.shape[1])[:, None, None, None]
    before = task.made.clone()
    task._remember(batch, Guess(made, signal_N111, is_tied=True))
    clip, frames = int(batch.clip_B[0]), batch.frame_BF[0]
    torch.testing.assert_close(task.made[clip, frames], made[: len(frames)].half())
    other = before.clone()
    other[clip, frames] = task.made[clip, frames]
    assert torch.equal(task.made, other), "more was remembered than was made from little noise"

    next_batch = dataclasses.replace(batch, motion_BM=batch.frame_BF[:, :2], motion=batch.motion)
    own = task._with_own_motion(next_batch, numbered(0))
    torch.testing.assert_close(own.motion[0], made[:2].half().float())
    begins = dataclasses.replace(next_batch, begins_film_B=torch.tensor([True, True]))
    assert torch.equal(task._with_own_motion(begins, numbered(0)).motion, batch.motion)
    task.adversary = dataclasses.replace(task.adversary, own_motion_share=0.0)
    assert torch.equal(task._with_own_motion(next_batch, numbered(0)).motion, batch.motion)


def test_a_step_hands_out_own_motion_frames_and_judges_their_seams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is made follows the network's own frames; what is true follows true ones."""
    task = going_on(toy_task(own_motion_share=1.0))
    task.made += 1.0
    fed: list[Batch] = []
    judged: list[Batch] = []
    read = task.feeder.read

    def spy_on_feeder(batch: Batch, *arguments: object, **options: object) -> Reading:
        fed.append(batch)
        return read(batch, *arguments, **options)

    def spy_on_critic(batch: Batch, frames_NChw: Tensor) -> Tensor:
        judged.append(batch)
        return seen_by_critic(batch, frames_NChw)

    monkeypatch.setattr(task.feeder, "read", spy_on_feeder)
    monkeypatch.setattr(adversarial_task, "seen_by_critic", spy_on_critic)
    task.loss(numbered(0))
    of_true, of_made = judged
    data = task.feeder.data.latents[of_true.clip_B[:, None], of_true.motion_BM].float()
    assert torch.equal(of_true.motion, data)
    torch.testing.assert_close(fed[0].motion, data + 1.0, atol=1e-2, rtol=0)
    assert torch.equal(of_made.motion, fed[0].motion)


def test_a_step_is_pulled_towards_the_person() -> None:
    def pull(likeness_weight: float) -> Tensor:
        others = {"reading_weight": 0.0, "speed_weight": 0.0, "critic_weight": 0.0}
        task = toy_task(likeness_weight=likeness_weight, **others)
        losses = task.loss(numbered(0))
        return (losses["loss"] - losses["error"] - losses["critic"]).detach()

    once = pull(1.0)
    assert once > 0
    torch.testing.assert_close(pull(3.0), 3.0 * once, rtol=1e-3, atol=0.0)


def test_the_reader_sees_the_guess_and_what_leads_it_through_noise() -> None:
    task = toy_task()
    task.reader = OneSpeed(4)
    batch = task.feeder.draw(numbered(3), num_clips=2)
    task.loss(numbered(3))
    latents, before = task.reader.pairs
    shape = batch.frames.shape[:2]
    frames, leads = latents.unflatten(0, shape), before.unflatten(0, shape)
    assert torch.equal(leads[:, 1:], frames[:, :-1])
    noise = (leads[:, 0] - batch.motion[:, -1]).std().detach()
    assert float(noise) == pytest.approx(0.1, rel=0.2)


def test_films_that_began_from_noise_are_judged_without_the_truth() -> None:
    """Their frames go another way than the data's: critic and reader as usual, and an error only
    where motion frames tell the way."""
    task = toy_task(own_share=1.0)
    for seed in range(3):
        task.loss(numbered(seed))
    usual = dict(task.usual_lengths.lengths)
    assert not torch.equal(task.made, task.feeder.data.latents), "nothing was remembered"
    assert usual["critic"] > 0
    assert usual["reader"] > 0
    assert usual["speed"] > 0
    made = task.made.clone()
    task.guesser.adversary = dataclasses.replace(task.adversary, from_noise_share=1.0)
    losses = task.loss(numbered(9))
    assert losses["error"] > 0
    assert losses["critic"] > 0
    assert losses["reading"] > 0
    assert losses["speed"] > 0
    assert task.usual_lengths.lengths == usual
    assert torch.equal(task.made, made), "a film of another way became motion frames"
    losses["loss"].backward()
    assert task.networks.backbone.conv_out.weight.grad.abs().sum() > 0


def test_the_error_counts_where_noise_lets_the_truth_through_or_motion_frames_tell_it() -> None:
    task = toy_task(told_frames=2, first_weight=0.25)
    batch = task.feeder.draw(numbered(0), num_clips=2)
    num_frames = batch.frames.shape[1]
    batch = dataclasses.replace(
        batch, begins_film_B=torch.tensor([True, True]), is_led_B=torch.tensor([True, False])
    )

    def weights(signal: float, *, is_tied: bool = True) -> list[list[float]]:
        made = batch.frames.flatten(0, 1)
        guess = Guess(made, torch.full((len(made), 1, 1, 1), signal), is_tied=is_tied)
        return task._error_weight(batch, guess).reshape(2, num_frames).tolist()

    rest = num_frames - 2
    assert weights(0.0) == [[1.0, 0.5] + [0.25] * rest, [0.25] * num_frames]
    assert weights(1.0) == [[1.0] * num_frames] * 2
    assert weights(0.0, is_tied=False) == [[1.0, 0.5] + [0.0] * rest, [0.0] * num_frames]


def test_a_step_weighs_the_error_as_its_stage_says(monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy_task()

    def error(**weights: float) -> float:
        resting = {"mouth_weight": 0.0, "face_weight": 0.0, "eyes_weight": 0.0}
        monkeypatch.setattr(task, "stage", dataclasses.replace(task.stage, **resting | weights))
        return float(task.loss(numbered(0))["error"].detach())

    alike = error()
    for name in ("mouth_weight", "face_weight", "eyes_weight"):
        assert error(**{name: 9.0}) != pytest.approx(alike, rel=1e-3), name
    mouths = error(mouth_weight=9.0, round_weight=0.0)
    assert error(mouth_weight=9.0, round_weight=9.0) != pytest.approx(mouths, rel=1e-3)


def test_a_step_counts_flicker_from_the_last_motion_frame_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the motion frames are the network's own, the frames behind them follow these."""
    asked: list[tuple[Tensor, float, float]] = []

    def spy(
        error_NChw: Tensor,
        batch: Batch,
        lead_error_BChw: Tensor,
        *,
        change_weight: float,
        lead_weight: float,
    ) -> Tensor:
        asked.append((lead_error_BChw, change_weight, lead_weight))
        return change_weight * error_NChw.square()

    def error(change_weight: float) -> float:
        task = toy_task(own_motion_share=1.0, change_weight=change_weight, lead_weight=5.0)
        going_on(task)
        task.made += 1.0
        return float(task.loss(numbered(0))["error"].detach())

    monkeypatch.setattr(adversarial_task, "squared_with_change", spy)
    assert error(3.0) == pytest.approx(3.0 * error(1.0))
    for (lead_error, weight, lead_weight), expected in zip(asked, (3.0, 1.0), strict=True):
        torch.testing.assert_close(lead_error, torch.ones_like(lead_error), atol=1e-2, rtol=0)
        assert (weight, lead_weight) == (expected, 5.0)


def test_the_critic_looks_at_mouth_and_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy_task(critic_focus=3.0)
    weights: list[Tensor] = []

    def spy(critic: Critic, true: Tensor, made: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        weights.append(weight)
        return hinge_losses(critic, true, made, weight)

    monkeypatch.setattr(adversarial_task, "hinge_losses", spy)
    task.loss(numbered(0))
    batch = task.feeder.draw(numbered(0), num_clips=2)
    is_seen = (batch.mouth > 0) | (batch.eyes > 0)
    assert 0 < is_seen.float().mean() < 1
    assert torch.equal(weights[0], 1.0 + 3.0 * batch.mouth.maximum(batch.eyes).flatten(0, 1))


def test_training_learns_resumes_and_says_how_to_sample(tmp_path: Path) -> None:
    settings = LoopSettings(steps=30, learning_rate=2e-3, warmup_steps=1, ema_decay=0.9)
    torch.manual_seed(0)
    networks = tiny_networks()
    kept = {k: v.clone() for k, v in networks.front_end.state_dict().items()}

    def error_of(task: AdversarialTask) -> float:
        losses = []
        for seed in range(6):
            batch = task.feeder.draw(numbered(seed), num_clips=2)
            with torch.no_grad():
                reading = task.feeder.read(batch, numbered(seed), is_dropping=False)
                guess = task.guess(batch, reading, numbered(seed))
            losses.append(float((guess.frames - batch.frames.flatten(0, 1)).square().mean()))
        return sum(losses) / len(losses)

    task = toy_task(
        networks, own_share=0.3, free_share=0.3, own_motion_share=0.5, from_noise_share=0.5
    )
    before = error_of(task)
    fit(task, settings, tmp_path / "run")
    assert error_of(task) < before
    assert all(torch.equal(v, kept[k]) for k, v in networks.front_end.state_dict().items())
    assert (tmp_path / "run" / "samples" / "0000030.png").is_file()

    again = toy_task(tiny_networks())
    fit(again, settings, tmp_path / "run", resume=True)
    for name, parameter in task.learning_parameters().items():
        assert torch.equal(parameter, again.learning_parameters()[name]), name

    path = tmp_path / "model.safetensors"
    save_emo(task.finished(), path, dtype=torch.float32)
    sampling = load_networks(path).config.sampling
    assert (sampling.steps, sampling.guidance, sampling.solver) == (4, 1.25, "lcm")


def test_the_voice_counts_once_from_adversarial_training_on() -> None:
    loud = tiny_networks()
    scaled = dataclasses.replace(loud.config.backbone, audio_scale=3.0)
    loud.backbone.backbone_config = scaled
    loud = dataclasses.replace(loud, config=dataclasses.replace(loud.config, backbone=scaled))
    tasks = toy_task(), toy_task(loud)
    guesses = []
    for task in tasks:
        batch = task.feeder.draw(numbered(0), num_clips=2)
        reading = task.feeder.read(batch, numbered(0), is_dropping=False)
        guesses.append(task.guess(batch, reading, numbered(1)).frames)
        assert task.finished().config.backbone.audio_scale == 1.0
    assert torch.equal(*guesses)


def test_checkpoints_that_predict_noise_are_refused() -> None:
    networks = tiny_networks()
    diffusion = dataclasses.replace(
        networks.config.diffusion, prediction_type="epsilon", rescale_betas_zero_snr=False
    )
    config = dataclasses.replace(networks.config, diffusion=diffusion)
    with pytest.raises(InputError, match="v_prediction"):
        toy_task(dataclasses.replace(networks, config=config))
