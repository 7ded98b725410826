"""Distillation: where the targets lead, what is learned, and what comes out of it."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from tiny_data import toy_data

from emo_core.checkpoints.emo import Networks, save_emo
from emo_core.checkpoints.load import load_networks
from emo_core.errors import InputError
from emo_core.models.vae import VAE
from emo_core.sampling.schedule import make_scheduler, set_steps
from emo_core.training import distil_task
from emo_core.training.distil_task import Distillation, DistilTask, distil_feed, jump_target
from emo_core.training.feeding import Feeder
from emo_core.training.loop import LoopSettings, fit
from emo_core.training.lora import Adapter, adapted_twin, adapter_lora, merged
from emo_core.training.stages import STAGES
from emo_core.training.teaching import Teacher

EXACT = {"rtol": 0.0, "atol": 2e-5}
"""Sums in float32 in another order."""


@pytest.fixture(autouse=True)
def one_clip_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil_task, "NUM_HELD_OUT", 1)


def toy_networks(**sampling: object) -> Networks:
    networks = tiny_networks()
    config = networks.config
    sampling = dataclasses.replace(config.sampling, **sampling)
    return dataclasses.replace(networks, config=dataclasses.replace(config, sampling=sampling))


def toy_task(
    folder: Path, networks: Networks | None = None, *, steps: int = 2, substeps: int = 1
) -> DistilTask:
    torch.manual_seed(0)
    return DistilTask(
        toy_networks() if networks is None else networks,
        Distillation(steps=steps, substeps=substeps, rank=4, num_lessons=3),
        toy_data(),
        vae=VAE(scale=1.0),
        num_clips=2,
        folder=folder,
    )


def moved(task: DistilTask) -> DistilTask:
    """A task whose student has learned something or other."""
    for parameter in task.learning_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return task


def numbered(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_a_jump_along_its_target_lands_on_the_aim(steps: int) -> None:
    scheduler = make_scheduler(tiny_networks().config.diffusion, solver="ddim")
    set_steps(scheduler, steps)
    latents, aim = torch.randn(2, 3, 4, 8, 8, generator=numbered(0))
    for timestep in scheduler.timesteps:
        target = jump_target(scheduler, latents, aim, timestep)
        assert torch.isfinite(target).all()
        reached = scheduler.step(target, timestep, latents).prev_sample
        torch.testing.assert_close(reached, aim, **EXACT)


@torch.no_grad()
def test_an_unguided_teacher_in_the_students_own_steps_has_nothing_to_teach(tmp_path: Path) -> None:
    networks = toy_networks(guidance=1.0, solver="ddim")
    task = toy_task(tmp_path, networks, steps=3)
    scalars = task.loss(numbered(0))
    assert all(float(value) < 1e-8 for value in scalars.values())
    # And it is not that nothing could be learned: guidance alone makes a difference.
    guided = toy_task(tmp_path / "guided", toy_networks(solver="ddim"), steps=3)
    assert float(guided.loss(numbered(0))["loss"]) > 1e-4


def test_checkpoints_that_are_sampled_with_new_noise_have_no_path_to_teach(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sampled by lcm"):
        toy_task(tmp_path, toy_networks(solver="lcm"))


@torch.no_grad()
def test_the_path_is_that_of_the_full_guided_sampling(tmp_path: Path) -> None:
    networks = toy_networks()
    feeder = Feeder(networks, distil_feed(networks), toy_data())
    teacher = Teacher(networks, feeder, solver="dpm++2m", num_points=2, substeps=3, folder=tmp_path)
    lesson = teacher.lesson(7, num_clips=2)
    scheduler = make_scheduler(networks.config.diffusion, solver="dpm++2m")
    set_steps(scheduler, 6)
    halves = [
        feeder.prepare(networks.backbone, lesson.batch, lesson.reading, is_conditional=is_known)
        for is_known in (True, False)
    ]
    latents, stands = lesson.noise_NChw, []
    for timestep in scheduler.timesteps:
        known, unknown = (networks.backbone(latents, timestep, half) for half in halves)
        latents = scheduler.step(unknown + 2.0 * (known - unknown), timestep, latents).prev_sample
        stands.append(latents)
    torch.testing.assert_close(lesson.path_SNChw, torch.stack(stands[2::3]), **EXACT)


@pytest.mark.parametrize("is_speed_guided", [False, True])
@torch.no_grad()
def test_the_unconditional_half_is_what_dropped_samples_learned(is_speed_guided: bool) -> None:
    networks = tiny_networks()
    backbone = networks.backbone
    backbone.backbone_config = dataclasses.replace(
        backbone.backbone_config, is_speed_guided=is_speed_guided
    )
    feeder = Feeder(networks, STAGES[3], toy_data())
    batch = feeder.draw(numbered(0), num_clips=2)
    reading = feeder.read(batch, numbered(1), is_dropping=False)
    nobody = torch.zeros(2, dtype=torch.bool)
    dropped = dataclasses.replace(
        reading,
        is_reference_kept_B=nobody,
        is_audio_kept_B=nobody,
        speed_windows=None if is_speed_guided else reading.speed_windows,
    )
    noise = torch.randn(batch.frames.flatten(0, 1).shape, generator=numbered(2))
    kept, rows, half = (
        networks.backbone(noise, torch.tensor(500), conditions)
        for conditions in (
            feeder.prepare(networks.backbone, batch, reading),
            feeder.prepare(networks.backbone, batch, dropped),
            feeder.prepare(networks.backbone, batch, reading, is_conditional=False),
        )
    )
    torch.testing.assert_close(rows, half, **EXACT)
    assert (kept - half).abs().max() > 1e-2


@torch.no_grad()
def test_a_lesson_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toy_task(tmp_path).teacher.lesson(1, num_clips=2)

    def never(*arguments: object) -> None:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(Teacher, "path", never)
    again = toy_task(tmp_path).teacher.lesson(1, num_clips=2)
    for name in ("noise_NChw", "path_SNChw"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(first.batch.frames, again.batch.frames)
    with pytest.raises(InputError, match="was taught otherwise"):
        toy_task(tmp_path, toy_networks(guidance=3.0)).teacher.lesson(1, num_clips=2)
    with pytest.raises(InputError, match="was taught otherwise"):
        toy_task(tmp_path).teacher.lesson(1, num_clips=1)
    with pytest.raises(InputError, match="was taught otherwise"):
        toy_task(tmp_path, substeps=2).teacher.lesson(1, num_clips=2)


def test_only_adapters_learn_and_they_lower_the_loss(tmp_path: Path) -> None:
    task = toy_task(tmp_path, substeps=2)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    named = dict(task.network.named_parameters())
    learning = task.learning_parameters()
    assert all(named[name] is parameter for name, parameter in learning.items())
    layers = [
        module
        for module in tiny_networks().backbone.modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
    ]
    assert len(learning) == 2 * len(layers)

    def loss() -> float:
        with torch.no_grad():
            return sum(float(task.loss(numbered(seed))["plain"]) for seed in range(4))

    at_first = loss()
    settings = LoopSettings(
        steps=16, learning_rate=2e-3, warmup_steps=2, ema_decay=0.5, is_bfloat16=False
    )
    fit(task, settings, tmp_path)
    assert loss() < 0.9 * at_first
    for name, value in task.network.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in learning), name
    assert list((tmp_path / "samples").glob("*.png"))
    assert "result mouth" in next((tmp_path / "samples").glob("*.txt")).read_text()


def test_a_resumed_run_ends_where_the_whole_run_ends(tmp_path: Path) -> None:
    settings = LoopSettings(
        steps=4, learning_rate=1e-3, warmup_steps=2, is_bfloat16=False, save_seconds=0.0
    )
    whole = toy_task(tmp_path / "whole")
    fit(whole, settings, tmp_path / "whole")

    class Interrupted(DistilTask):
        def loss(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
            if generator.initial_seed() == 2:
                raise KeyboardInterrupt
            return super().loss(generator)

    broken = toy_task(tmp_path / "broken")
    broken.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        fit(broken, settings, tmp_path / "broken")
    resumed = toy_task(tmp_path / "broken")
    fit(resumed, settings, tmp_path / "broken", resume=True)
    states = [task.network.state_dict() for task in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_twin_shares_the_memory_of_what_does_not_learn() -> None:
    backbone = tiny_networks().backbone
    twin = adapted_twin(backbone, rank=4)
    shared = {parameter.data_ptr() for parameter in backbone.parameters()}
    own = [p for p in twin.parameters() if p.data_ptr() not in shared]
    adapters = [module for module in twin.modules() if isinstance(module, Adapter)]
    assert len(own) == 2 * len(adapters)
    assert not [module for module in backbone.modules() if isinstance(module, Adapter)]


@torch.no_grad()
def test_the_finished_checkpoint_is_the_student(tmp_path: Path) -> None:
    task = moved(toy_task(tmp_path))
    path = tmp_path / "model.safetensors"
    save_emo(task.finished(), path, dtype=torch.float32)
    loaded = load_networks(path)
    sampling = loaded.config.sampling
    assert (sampling.steps, sampling.guidance, sampling.solver) == (2, 1.0, "ddim")
    lesson = task.teacher.lesson(0, num_clips=2)
    made = [
        backbone(
            lesson.noise_NChw,
            torch.tensor(999),
            task.teacher.feeder.prepare(backbone, lesson.batch, lesson.reading),
        )
        for backbone in (task.student, loaded.backbone, task.networks.backbone)
    ]
    torch.testing.assert_close(made[0], made[1], **EXACT)
    assert (made[0] - made[2]).abs().max() > 1e-2


@torch.no_grad()
def test_the_lora_file_makes_the_student_of_the_teacher() -> None:
    """As any loader of kohya's files merges it: W + alpha / r * up down."""
    backbone = tiny_networks().backbone
    twin = adapted_twin(backbone, rank=64)
    for module in twin.modules():
        if isinstance(module, Adapter):
            module.up.normal_(std=0.1)
    tensors = adapter_lora(twin)
    student = merged(backbone, twin).state_dict()
    changed = 0
    for key, weight in backbone.state_dict().items():
        name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        if f"{name}.alpha" in tensors:
            up, down = tensors[f"{name}.lora_up.weight"], tensors[f"{name}.lora_down.weight"]
            assert down.dtype == torch.float16
            assert down.shape[1:] == weight.shape[1:]
            assert up.shape[2:] == (1,) * (weight.dim() - 2)
            assert float(tensors[f"{name}.alpha"]) == len(down)
            change = (up.float().flatten(1) @ down.float().flatten(1)).view_as(weight)
            torch.testing.assert_close(weight + change, student[key], rtol=0.0, atol=2e-3)
            assert (weight - student[key]).abs().max() > 1e-2
            changed += 1
        else:
            assert torch.equal(weight, student[key])
    assert 3 * changed == len(tensors)


def test_checkpoints_that_do_not_predict_v_are_refused(tmp_path: Path) -> None:
    networks = tiny_networks()
    diffusion = dataclasses.replace(networks.config.diffusion, prediction_type="epsilon")
    config = dataclasses.replace(networks.config, diffusion=diffusion)
    with pytest.raises(InputError, match="expected v_prediction"):
        toy_task(tmp_path, dataclasses.replace(networks, config=config))


def test_held_out_clips_are_not_taught(tmp_path: Path) -> None:
    data = toy_data()
    task = toy_task(tmp_path)
    assert torch.equal(task.teacher.feeder.data.latents, data.latents[:-1])
    assert torch.equal(task.examiner.feeder.data.latents, data.latents[-1:])
    assert torch.equal(task.examiner.feeder.data.latent_scale, data.latent_scale)
    with pytest.raises(InputError, match="Encode more clips"):
        data.split(len(data.latents))
