"""Guesses: where the noised frames come from, and who takes how many steps."""

import pytest
import torch
from tiny_adversary import ADVERSARY, numbered, toy_task
from torch import Tensor

from emo_core.sampling.schedule import make_scheduler, set_steps


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
    guess = task.guess(batch, reading, numbered(1))
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


def test_processes_that_learn_as_one_take_as_many_steps_each() -> None:
    """Their batches differ; the one with fewer steps would wait for the other."""
    num_steps: list[list[int]] = []
    for seed in (1, 2):
        task = toy_task(own_share=0.6, from_noise_share=0.5)
        batch = task.feeder.draw(numbered(seed), num_clips=2)
        levels: list[Tensor] = []

        def predict(noisy: Tensor, levels_B: Tensor, seen: list[Tensor] = levels) -> Tensor:
            seen.append(levels_B)
            return torch.zeros_like(noisy)

        generator = numbered(seed)
        num_steps.append([])
        for _ in range(40):
            levels.clear()
            task.guesser.guess(predict, batch, generator)
            num_steps[-1].append(len(levels))
    assert num_steps[0] == num_steps[1]
    counts = [num_steps[0].count(number) for number in (1, 2, 3, 4)]
    assert counts[0] == pytest.approx(16, abs=6)
    assert min(counts[1:]) > 0
