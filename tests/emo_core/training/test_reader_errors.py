"""What the reader of latents asks of a guess: the mouth, the expression, the speed, the person."""

import dataclasses

import pytest
import torch
from tiny_adversary import OneSpeed, numbered, toy_task
from torch import Tensor

from emo_core.training.guessing import Guess
from emo_core.training.latent_reader import NUM_MOUTH_SIGNALS, speed_signal
from emo_core.training.latents import FACE_SIGNALS
from emo_core.training.reader_errors import LEAST_EYES, face_error, likeness_error, speed_error


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
        return float(face_error(task.reader, changed, guess, made, heard))

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
        return face_error(task.reader, batch, guess, frames, reading)

    before = error(made)
    (gradient,) = torch.autograd.grad(before, made)
    assert error(made - 0.01 * gradient / gradient.abs().max()) < before
    assert all(parameter.grad is None for parameter in task.reader.parameters())
    assert not any(name.startswith("reader") for name in task.learning_parameters())


def test_speed_is_asked_for_at_any_noise_and_from_the_last_motion_frame_on() -> None:
    task = toy_task()
    task.reader = OneSpeed(4)
    batch = task.feeder.draw(numbered(0), num_clips=2)
    margin = batch.speed_windows.shape[-1] // 2
    batch = dataclasses.replace(
        batch, begins_film_B=torch.tensor([False, True]), is_led_B=torch.tensor([True, True])
    )
    reading = task.feeder.read(batch, numbered(0), is_dropping=False)
    made = batch.frames.flatten(0, 1)

    def error(signal: float, speed_windows: Tensor | None) -> float:
        guess = Guess(made, torch.full((len(made), 1, 1, 1), signal), is_tied=False)
        told = dataclasses.replace(reading, speed_windows=speed_windows)
        return float(speed_error(task.reader, batch, guess, made, batch.motion[:, -1:], told))

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
        return float(likeness_error(task.reader, batch, made, true, shown))

    assert error(person, True, True) == pytest.approx(0.0, abs=1e-5)
    strange = person.clone()
    strange[0] = torch.randn(true[0].shape, generator=numbered(1))
    one_frame = error(strange, True, True)
    assert one_frame > 1e-3
    assert error(strange, False, True) == pytest.approx(0.0, abs=1e-5)
    assert error(strange, True, False) == pytest.approx(one_frame, rel=1e-3)
    # Where a true frame is as strange, nothing is asked.
    assert error(strange, True, True, true=strange) == pytest.approx(0.0, abs=1e-5)
