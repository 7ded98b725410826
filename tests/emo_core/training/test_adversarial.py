"""Adversarial training: who learns from what, where the noised frames come from, what comes out."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from tiny_data import toy_data
from torch import Tensor

from emo_core.checkpoints.emo import Networks, save_emo
from emo_core.checkpoints.load import load_networks
from emo_core.errors import InputError
from emo_core.models.vae import VAE
from emo_core.sampling.schedule import make_scheduler, set_steps
from emo_core.training import adversarial_task
from emo_core.training.adversarial_task import (
    LEAST_EYES,
    LEAST_SIGNAL,
    AdversarialTask,
    Guess,
    seen_by_critic,
)
from emo_core.training.adversary import Adversary
from emo_core.training.balance import (
    BLIND_LOSS,
    MEMORY,
    SEEING,
    Sight,
)
from emo_core.training.critic import Critic, hinge_losses
from emo_core.training.feeding import Reading
from emo_core.training.latent_reader import NUM_MOUTH_SIGNALS, LatentReader, speed_signal
from emo_core.training.latents import FACE_SIGNALS, Batch
from emo_core.training.loop import LoopSettings, fit

ADVERSARY = Adversary(
    steps=4,
    guidance=1.25,
    critic_weight=0.5,
    critic_focus=1.0,
    critic_factor=1.0,
    free_share=0.0,
    own_share=0.0,
    from_noise_share=0.0,
    own_motion_share=0.0,
    reading_weight=0.5,
    speed_weight=0.25,
    likeness_weight=0.25,
    change_weight=0.0,
    lead_weight=1.0,
    told_frames=3,
    first_weight=0.3,
)


@pytest.fixture(autouse=True)
def one_clip_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial_task, "NUM_HELD_OUT", 1)


def toy_task(networks: Networks | None = None, **changed: float) -> AdversarialTask:
    torch.manual_seed(0)
    return AdversarialTask(
        tiny_networks() if networks is None else networks,
        dataclasses.replace(ADVERSARY, **changed),
        toy_data(),
        reader=LatentReader(4).eval().requires_grad_(False),
        vae=VAE(scale=1.0),
        num_clips=2,
    )


def numbered(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_critic_that_tells_nothing_does_not_pull() -> None:
    def loss(judgement: float) -> float:
        task = toy_task(reading_weight=0.0, speed_weight=0.0, likeness_weight=0.0)
        for parameter in task.learning_parameters().values():
            parameter.requires_grad_(True)
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


@pytest.mark.parametrize("way", ["true", "own", "from noise"])
def test_what_is_noised(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth at a level of the grid; or what the network made of it at the level before, or of
    noise, under new noise."""
    is_own, is_from_noise = way != "true", way == "from noise"
    task = toy_task(own_share=float(is_own), from_noise_share=float(is_from_noise))
    batch = task.feeder.draw(numbered(0), num_clips=2)
    seen: list[tuple[Tensor, Tensor]] = []
    answers: list[Tensor] = []
    forward = task.networks.backbone.forward

    def spy(latents: Tensor, levels: Tensor, conditions: object) -> Tensor:
        seen.append((latents, levels))
        answers.append(forward(latents, levels, conditions).detach())
        return answers[-1]

    monkeypatch.setattr(task.networks.backbone, "forward", spy)
    reading = task.feeder.read(batch, numbered(1), is_dropping=False)
    guess = task.guess(task.feeder, batch, reading, numbered(1))
    assert guess.is_tied is not is_from_noise
    latents, levels = seen[-1]
    scheduler = make_scheduler(task.networks.config.diffusion, solver="lcm")
    set_steps(scheduler, ADVERSARY.steps)
    grid = scheduler.timesteps.tolist()
    frames = batch.frames
    first = grid.index(int(seen[0][1][0]))
    assert len(seen) == 1 + (grid.index(int(levels[0])) if is_from_noise else is_own)
    assert not is_from_noise or first == 0
    for clip, level in enumerate(levels.tolist()):
        assert level in {"true": grid, "own": grid[2:], "from noise": grid[1:]}[way]
        part = slice(clip * frames.shape[1], (clip + 1) * frames.shape[1])
        alpha = scheduler.alphas_cumprod[level]
        if is_own:
            for step, (latents_before, before) in enumerate(seen[:-1]):
                assert int(before[clip]) == grid[grid.index(level) - len(seen) + 1 + step]
                before_alpha = scheduler.alphas_cumprod[int(before[clip])]
                made = (
                    before_alpha.sqrt() * latents_before[part]
                    - (1 - before_alpha).sqrt() * answers[step][part]
                )
                next_alpha = scheduler.alphas_cumprod[int(seen[step + 1][1][clip])]
                noises = [
                    (noisy[part] - signal.sqrt() * clean) / (1 - signal).sqrt()
                    for noisy, signal, clean in (
                        (seen[step + 1][0], next_alpha, made),
                        (latents_before, before_alpha, 0.0 if is_from_noise else frames[clip]),
                    )
                ]
                assert float(noises[0].std()) == pytest.approx(1.0, abs=0.1)
                if step == 0:
                    together = torch.stack([noise.flatten() for noise in noises])
                    assert torch.corrcoef(together)[0, 1].abs() < 0.1
        else:
            noise = (latents[part] - alpha.sqrt() * frames[clip]) / (1 - alpha).sqrt()
            assert float(noise.std()) == pytest.approx(1.0, abs=0.1)
        clean = alpha.sqrt() * latents[part] - (1 - alpha).sqrt() * answers[-1][part]
        torch.testing.assert_close(guess.frames[part], clean, rtol=1e-4, atol=1e-5)
        known = 0.0 if is_from_noise else float(alpha.sqrt())
        assert float(guess.signal_N111[part].unique()) == pytest.approx(known, abs=1e-6)


def test_the_critic_sees_frames_their_change_the_reference_and_how_the_mouth_should_be() -> None:
    task = toy_task()
    batch = task.feeder.draw(numbered(0), num_clips=2)
    signals = batch.face_signals.clone()
    signals[1] = torch.nan
    batch = dataclasses.replace(
        batch, begins_film_B=torch.tensor([False, True]), face_signals=signals
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
    task = toy_task(own_motion_share=1.0)
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
    task.adversary = dataclasses.replace(task.adversary, own_motion_share=0.0)
    assert torch.equal(task._with_own_motion(next_batch, numbered(0)).motion, batch.motion)


def test_a_step_hands_out_own_motion_frames_and_judges_their_seams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is made follows the network's own frames; what is true follows true ones."""
    task = toy_task(own_motion_share=1.0)
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)
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


def test_the_reading_asks_for_a_mouth_at_any_noise_and_for_expression_where_it_shows() -> None:
    task = toy_task()
    batch = task.feeder.draw(numbered(0), num_clips=2)
    reading = task.feeder.read(batch, numbered(0), is_dropping=False)

    def error(signals: Tensor, signal: float, *, is_heard: bool = True) -> float:
        changed = dataclasses.replace(batch, face_signals=signals)
        heard = dataclasses.replace(reading, is_audio_kept_B=torch.full((2,), is_heard))
        made = batch.frames.flatten(0, 1)
        signal_N111 = torch.full((len(made), 1, 1, 1), signal)
        guess = Guess(made, signal_N111, is_tied=True)
        return float(task._face_error(changed, guess, made, heard))

    mouth, expression = batch.face_signals.clone(), batch.face_signals.clone()
    mouth[..., NUM_MOUTH_SIGNALS:] = torch.nan
    expression[..., :NUM_MOUTH_SIGNALS] = torch.nan
    assert error(mouth, 0.0) == error(mouth, 1.0) > 0
    assert error(mouth, 0.0, is_heard=False) == 0
    eyes, rest = expression.clone(), expression.clone()
    is_eyes = torch.tensor([name.startswith("blink") for name in FACE_SIGNALS])
    eyes[..., ~is_eyes], rest[..., is_eyes] = torch.nan, torch.nan
    assert error(rest, 0.0) == 0
    assert error(rest, 1.0) > 0
    assert error(eyes, 0.0) == pytest.approx(LEAST_EYES * error(eyes, 1.0))
    assert error(eyes, 0.9) == pytest.approx(0.9 * error(eyes, 1.0))
    assert error(torch.full_like(mouth, torch.nan), 1.0) == 0


def test_the_reading_draws_the_network_towards_the_true_mouth() -> None:
    task = toy_task()
    batch = task.feeder.draw(numbered(0), num_clips=2)
    reading = task.feeder.read(batch, numbered(0), is_dropping=False)
    made = batch.frames.flatten(0, 1).clone().requires_grad_(True)
    signal_N111 = torch.ones(len(made), 1, 1, 1)

    def error(frames: Tensor) -> Tensor:
        guess = Guess(frames, signal_N111, is_tied=True)
        return task._face_error(batch, guess, frames, reading)

    before = error(made)
    (gradient,) = torch.autograd.grad(before, made)
    assert error(made - 0.01 * gradient / gradient.abs().max()) < before
    assert all(parameter.grad is None for parameter in task.reader.parameters())
    assert not any(name.startswith("reader") for name in task.learning_parameters())


class OneSpeed(LatentReader):
    """Reads the same speed everywhere, and notes the pairs."""

    pairs: tuple[Tensor, Tensor]

    def read_speed(self, latents: Tensor, before: Tensor) -> Tensor:
        self.pairs = (latents, before)
        return 0.0 * latents.sum(dim=(1, 2, 3))


def test_speed_is_asked_for_at_any_noise_and_from_the_last_motion_frame_on() -> None:
    task = toy_task()
    task.reader = OneSpeed(4)
    batch = task.feeder.draw(numbered(0), num_clips=2)
    margin = batch.speed_windows.shape[-1] // 2
    batch = dataclasses.replace(batch, begins_film_B=torch.tensor([False, True]))
    reading = task.feeder.read(batch, numbered(0), is_dropping=False)
    made = batch.frames.flatten(0, 1)

    def error(signal: float, speed_windows: Tensor | None) -> float:
        guess = Guess(made, torch.full((len(made), 1, 1, 1), signal), is_tied=False)
        told = dataclasses.replace(reading, speed_windows=speed_windows)
        return float(task._speed_error(batch, guess, made, batch.motion[:, -1:], told))

    wanted = speed_signal(batch.speed_windows[..., margin]).square()
    wanted[1, 0] = 0.0  # Into a film's first frame no speed leads.
    asked = batch.speed_windows
    assert error(0.0, asked) == pytest.approx(float(wanted.mean()), rel=1e-5)
    assert error(1.0, asked) == error(0.0, asked)
    assert error(1.0, None) == error(1.0, asked)
    assert error(0.0, None) == 0


def test_every_frame_should_be_the_references_person() -> None:
    task = toy_task()
    batch = task.feeder.draw(numbered(0), num_clips=2)
    reading = task.feeder.read(batch, numbered(0), is_dropping=False)
    true = batch.frames.flatten(0, 1)
    person = true[:1].expand_as(true)

    def error(made: Tensor, *kept: bool, true: Tensor = person) -> float:
        shown = dataclasses.replace(reading, is_reference_kept_B=torch.tensor(kept))
        return float(task._likeness_error(batch, made, true, shown))

    assert error(person, True, True) == pytest.approx(0.0, abs=1e-5)
    strange = person.clone()
    strange[0] = torch.randn(true[0].shape, generator=numbered(1))
    one_frame = error(strange, True, True)
    assert one_frame > 1e-3
    assert error(strange, False, True) == pytest.approx(0.0, abs=1e-5)
    assert error(strange, True, False) == pytest.approx(one_frame, rel=1e-3)
    # Where a true frame is as strange, nothing is asked.
    assert error(strange, True, True, true=strange) == pytest.approx(0.0, abs=1e-5)


def test_a_step_is_pulled_towards_the_person() -> None:
    def pull(likeness_weight: float) -> Tensor:
        others = {"reading_weight": 0.0, "speed_weight": 0.0, "critic_weight": 0.0}
        task = toy_task(likeness_weight=likeness_weight, **others)
        for parameter in task.learning_parameters().values():
            parameter.requires_grad_(True)
        losses = task.loss(numbered(0))
        return (losses["loss"] - losses["error"] - losses["critic"]).detach()

    once = pull(1.0)
    assert once > 0
    torch.testing.assert_close(pull(3.0), 3.0 * once, rtol=1e-3, atol=0.0)


def test_the_reader_sees_the_guess_and_what_leads_it_through_noise() -> None:
    task = toy_task()
    task.reader = OneSpeed(4)
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)
    batch = task.feeder.draw(numbered(3), num_clips=2)
    task.loss(numbered(3))
    latents, before = task.reader.pairs
    shape = batch.frames.shape[:2]
    frames, leads = latents.unflatten(0, shape), before.unflatten(0, shape)
    assert torch.equal(leads[:, 1:], frames[:, :-1])
    noise = (leads[:, 0] - batch.motion[:, -1]).std()
    assert float(noise) == pytest.approx(0.1, rel=0.2)


def test_films_that_began_from_noise_are_judged_without_the_truth() -> None:
    """Their frames go another way than the data's: critic and reader as usual, and an error only
    where motion frames tell the way."""
    task = toy_task(own_share=1.0)
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)
    for seed in range(3):
        task.loss(numbered(seed))
    usual = dict(task.usual_lengths.lengths)
    assert not torch.equal(task.made, task.feeder.data.latents), "nothing was remembered"
    assert usual["critic"] > 0
    assert usual["reader"] > 0
    assert usual["speed"] > 0
    made = task.made.clone()
    task.adversary = dataclasses.replace(task.adversary, from_noise_share=1.0)
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
    batch = dataclasses.replace(batch, begins_film_B=torch.tensor([False, True]))

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
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)

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
        for parameter in task.learning_parameters().values():
            parameter.requires_grad_(True)
        task.made += 1.0
        return float(task.loss(numbered(0))["error"].detach())

    monkeypatch.setattr(adversarial_task, "squared_with_change", spy)
    assert error(3.0) == pytest.approx(3.0 * error(1.0))
    for (lead_error, weight, lead_weight), expected in zip(asked, (3.0, 1.0), strict=True):
        torch.testing.assert_close(lead_error, torch.ones_like(lead_error), atol=1e-2, rtol=0)
        assert (weight, lead_weight) == (expected, 5.0)


def test_the_critic_looks_at_mouth_and_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy_task(critic_focus=3.0)
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)
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
                guess = task.guess(task.feeder, batch, reading, numbered(seed))
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
        guesses.append(task.guess(task.feeder, batch, reading, numbered(1)).frames)
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
