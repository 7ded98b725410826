"""The three stages: what learns, what rests, and that learning works."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from tiny_data import CLIPS, FRAMES, toy_data

from emo_core.errors import InputError
from emo_core.models.vae import VAE
from emo_core.training.batches import draw_batch
from emo_core.training.initialise import initialise
from emo_core.training.loop import LoopSettings, fit, learning_rate_at
from emo_core.training.stage_task import StageTask
from emo_core.training.stages import STAGES, is_learning, rate_factor


def toy_task(number: int) -> StageTask:
    networks = tiny_networks()
    initialise(networks.backbone, networks.reference_net)
    if number > 1:  # as a stage before would have left it
        torch.nn.init.normal_(networks.backbone.conv_out.weight, std=0.1)
    return StageTask(networks, STAGES[number], toy_data(), vae=VAE(scale=1.0), num_clips=2)


EXAMPLES = {
    "backbone.conv_in.weight": {1, 2},
    "backbone.down_blocks.0.resnets.0.norm2.weight": {1, 2},
    "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": {1, 2},
    "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn1_5.to_q.weight": {1, 2},
    "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight": {2},
    "backbone.down_blocks.0.attentions.0.transformer_blocks.0.norm2.weight": {2},
    "backbone.audio_projection.proj1.weight": {2},
    "backbone.face_locator.conv_in.weight": {1, 2},
    "reference_net.conv_in.weight": {1, 2},
    "backbone.mid_block.motion_modules.0.temporal_transformer.proj_in.weight": {2, 3},
    "backbone.speed_embedding.linear_1.weight": {3},
    "front_end.stem.weight": set(),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_learns_in_which_stage(name: str) -> None:
    assert {number for number in STAGES if is_learning(name, STAGES[number])} == EXAMPLES[name]


def test_examples_are_real_names() -> None:
    networks = tiny_networks()
    names = {f"{p}.{k}" for p, n in networks.parts().items() for k, _ in n.named_parameters()}
    assert set(EXAMPLES) <= names
    speed = "transformer_blocks.0.speed_attention.to_q.weight"
    name = f"backbone.mid_block.motion_modules.0.temporal_transformer.{speed}"
    assert name in names
    assert [is_learning(name, STAGES[number]) for number in STAGES] == [False, False, True]


@pytest.mark.parametrize("number", STAGES)
def test_every_learning_parameter_gets_a_gradient(number: int) -> None:
    """Summed over batches, since zeroed outputs let nothing through in the very first step."""
    task = toy_task(number)
    named = task.learning_parameters()
    for parameter in task.network.parameters():
        parameter.requires_grad_(False)
    for parameter in named.values():
        parameter.requires_grad_(True)
        with torch.no_grad():
            parameter.add_(0.02 * torch.randn_like(parameter))
    for seed in range(2):
        task.loss(torch.Generator().manual_seed(seed))["loss"].backward()
    # The last block's own output tail in the ReferenceNet is never read.
    unread = ("reference_net.up_blocks.1.attentions.1.",)
    silent = [name for name, p in named.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in silent if not name.startswith(unread)] == []


@pytest.mark.parametrize("number", STAGES)
def test_learning_lowers_the_loss_and_moves_only_what_learns(number: int, tmp_path: Path) -> None:
    task = toy_task(number)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    generator = torch.Generator()

    def loss() -> float:
        with torch.no_grad():
            return sum(float(task.loss(generator.manual_seed(9 + i))["plain"]) for i in range(8))

    at_first = loss()
    settings = LoopSettings(
        steps=12, learning_rate=1e-2, warmup_steps=2, ema_decay=0.5, is_bfloat16=False
    )
    fit(task, settings, tmp_path / "run")
    assert loss() < 0.95 * at_first
    learning = set(task.learning_parameters())
    for name, value in task.network.state_dict().items():
        if name not in learning:
            assert torch.equal(value, before[name]), name
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_a_resumed_run_ends_where_the_whole_run_ends(tmp_path: Path) -> None:
    settings = LoopSettings(
        steps=6, learning_rate=1e-3, warmup_steps=2, is_bfloat16=False, save_seconds=0.0
    )
    whole = toy_task(2)
    fit(whole, settings, tmp_path / "whole")

    class Interrupted(StageTask):
        def loss(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
            if generator.initial_seed() == 3:
                raise KeyboardInterrupt
            return super().loss(generator)

    broken = toy_task(2)
    broken.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        fit(broken, settings, tmp_path / "broken")
    resumed = toy_task(2)
    with pytest.raises(InputError, match="holds an earlier run"):
        fit(resumed, settings, tmp_path / "broken")
    fit(resumed, settings, tmp_path / "broken", resume=True)
    states = [task.network.state_dict() for task in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_another_stage_cannot_resume_a_run(tmp_path: Path) -> None:
    settings = LoopSettings(steps=1, learning_rate=1e-3, is_bfloat16=False)
    fit(toy_task(1), settings, tmp_path)
    with pytest.raises(InputError, match="of another stage or another model"):
        fit(toy_task(3), settings, tmp_path, resume=True)


def test_clips_too_short_for_a_stage() -> None:
    data = toy_data()
    short = dataclasses.replace(data, latents=data.latents[:, :13])
    with pytest.raises(InputError, match="clips have 13 frames; needed are 14"):
        StageTask(tiny_networks(), STAGES[2], short, vae=VAE(scale=1.0), num_clips=2)


def test_new_parts_begin_by_adding_nothing() -> None:
    """Stage 2 begins as stage 1 ended: sound and time change nothing yet."""
    task = toy_task(2)
    batch = task.feeder.draw(torch.Generator().manual_seed(0), num_clips=2)
    backbone = task.networks.backbone
    arguments = {
        "num_frames": batch.frames.shape[1],
        "like": batch.frames,
        "num_conditions": 2,
    }
    with torch.no_grad():
        reference = task.networks.reference_net(batch.reference)
        shared = backbone.share(reference=reference, region_BCHW=batch.region)
        still = backbone.prepare(shared, **arguments, is_temporal=False)
        film = backbone.prepare(shared, **arguments, audio_windows_BFWLD=batch.audio_windows)
        latents = batch.frames.flatten(0, 1)
        results = [backbone(latents, torch.tensor(500), c) for c in (still, film)]
    assert torch.allclose(*results, atol=1e-6)
    assert results[0].std() > 0.1


def test_batches_hold_what_they_say() -> None:
    data = toy_data()
    batch = draw_batch(
        data,
        torch.Generator().manual_seed(0),
        num_clips=4,
        num_frames=5,
        num_motion=2,
        is_consecutive=True,
        window_margin=2,
    )
    assert batch.region.shape == (4, 1, 64, 64)
    assert batch.audio_windows.shape == (4, 5, 5, 2, 16)
    for row in range(4):
        whole = torch.cat([batch.motion[row], batch.frames[row]])
        starts = [
            (clip, start)
            for clip in range(CLIPS)
            for start in range(FRAMES - 6)
            if torch.equal(data.latents[clip, start : start + 7].float(), whole)
        ]
        assert len(starts) == 1, "motion frames and frames are not one stretch of a clip"
        clip, start = starts[0]
        assert torch.equal(
            batch.audio_windows[row, :, 2], data.audio[clip, start + 2 :][:5].float()
        )
        assert torch.equal(batch.speed_windows[row, :, 2], data.speed_deg_s[clip, start + 2 :][:5])
        pool = torch.cat([data.references[clip], data.latents[clip]]).float()
        assert (pool == batch.reference[row]).flatten(1).all(dim=1).any()


def test_learning_rate_warms_up_and_fades() -> None:
    settings = LoopSettings(steps=100, learning_rate=1.0, warmup_steps=10, final_learning_rate=0.1)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] or max(rates) == rates[10]
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_what_is_new_in_a_stage_learns_faster() -> None:
    names = {
        "temporal": "backbone.mid_block.motion_modules.0.temporal_transformer.proj_in.weight",
        "audio": "backbone.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",
        "spatial": "backbone.mid_block.attentions.0.transformer_blocks.0.attn1.to_v.weight",
        "speed": "backbone.speed_embedding.linear_1.weight",
    }
    faster = {
        number: {part for part, name in names.items() if rate_factor(name, stage) > 1.0}
        for number, stage in STAGES.items()
    }
    assert faster == {1: set(), 2: {"temporal", "audio"}, 3: {"speed"}}


def test_the_rate_factor_reaches_the_optimiser(tmp_path: Path) -> None:
    """After one step of Adam a weight has moved by about its learning rate."""

    class TwoWeights:
        def __init__(self) -> None:
            self.network = torch.nn.ParameterDict(
                {
                    "slow": torch.nn.Parameter(torch.zeros(1)),
                    "fast": torch.nn.Parameter(torch.zeros(1)),
                }
            )

        def learning_parameters(self) -> dict[str, torch.nn.Parameter]:
            return dict(self.network.items())

        def rate_factor(self, name: str) -> float:
            return 4.0 if name == "fast" else 1.0

        def loss(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
            return {"loss": -self.network["slow"].sum() - self.network["fast"].sum()}

        def show(self, folder: Path, name: str) -> None:
            pass

    task = TwoWeights()
    settings = LoopSettings(steps=1, learning_rate=0.01, warmup_steps=1, ema_decay=0.0)
    fit(task, settings, tmp_path)
    slow, fast = (float(task.network[name].detach()) for name in ("slow", "fast"))
    assert slow == pytest.approx(0.01, rel=1e-3)
    assert fast == pytest.approx(0.04, rel=1e-3)
