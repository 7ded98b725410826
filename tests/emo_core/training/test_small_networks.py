"""Training of the VAE and of the audio front end, in a few steps."""

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from emo_core.audio.encoder import normalized
from emo_core.audio.front_end import STEP_SAMPLES, FrontEnd
from emo_core.config import FrontEndConfig
from emo_core.errors import InputError
from emo_core.models.vae import VAE
from emo_core.training import front_end
from emo_core.training import vae as vae_task
from emo_core.training.balance import BLIND_LOSS, SEEING
from emo_core.training.clips import save_clip
from emo_core.training.front_end import (
    CROP_STEPS,
    LARGEST_STRETCH,
    FrontEndTask,
    stretched,
)
from emo_core.training.generate import ENCODER_VOICES, clip_utterance, make_clip
from emo_core.training.guesses import Guesses
from emo_core.training.loop import LoopSettings, fit
from emo_core.training.vae import CROP, VAETask, initialise

SHORT = LoopSettings(steps=10, learning_rate=1e-4, warmup_steps=2, ema_decay=0.5, is_bfloat16=False)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    clip = make_clip("train", 0, num_frames=4, num_references=0, fps=25.0, size=128)
    save_clip(clip, folder / "clip_000000.safetensors")
    return folder


@torch.no_grad()
def test_a_fresh_vae_paints_local_mean_colours() -> None:
    torch.manual_seed(0)
    vae = VAE(scale=1.0, latent_channels=8)
    initialise(vae)
    flat = torch.rand(4, 1, 1, 3).expand(4, 64, 64, 3)
    decoded = vae.decode(vae.encode(flat))[:, 24:40, 24:40]
    random_vae = VAE(scale=1.0, latent_channels=8)
    untrained = random_vae.decode(random_vae.encode(flat))[:, 24:40, 24:40]
    expected = flat[:, 24:40, 24:40]
    error = (decoded.mean(dim=(1, 2)) - expected.mean(dim=(1, 2))).abs().mean()
    assert error < 0.5 * (untrained - expected).abs().mean()


def test_learning_lowers_the_error_of_the_vae(clips: Path, tmp_path: Path) -> None:
    task = VAETask(clips, batch=2)
    generator = torch.Generator()

    def loss() -> float:
        with torch.no_grad():
            return float(task.loss(generator.manual_seed(99))["loss"])

    at_first = loss()
    fit(task, SHORT, tmp_path / "vae")
    assert loss() < at_first
    assert list((tmp_path / "vae" / "samples").glob("*.png"))


def test_the_encoder_rests_where_only_the_decoder_learns(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = VAE(scale=1.0, latent_channels=8)
    initialise(vae)
    before = {name: value.clone() for name, value in vae.net.state_dict().items()}
    fit(VAETask(clips, batch=2, begin=vae), SHORT, tmp_path / "decoder")
    moved = {name for name, value in vae.net.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


def test_both_halves_of_a_vae_go_on_and_latents_stay_where_they_are_held(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SHORT, learning_rate=1e-3)
    changes = []
    for hold in (0.0, 100.0):
        monkeypatch.setattr(vae_task, "HOLD", hold)
        torch.manual_seed(0)
        vae = VAE(scale=1.0, latent_channels=8)
        initialise(vae)
        before = copy.deepcopy(vae.net)
        task = VAETask(clips, batch=2, begin=vae, is_encoder_resting=False)
        fit(task, settings, tmp_path / f"hold_{hold}")
        moved = {
            name.split(".")[0]
            for name, value in vae.net.state_dict().items()
            if not value.equal(before.state_dict()[name])
        }
        assert moved == {"encoder", "decoder"}
        crops = 2.0 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) - 1.0
        with torch.no_grad():
            changes.append((vae.net.encoder(crops) - before.encoder(crops)).abs().mean())
    free, held = changes
    assert 0.0 < held < 0.5 * free


def test_a_critic_of_pictures_pulls_as_far_as_it_sees(clips: Path) -> None:
    torch.manual_seed(0)
    vae = VAE(scale=1.0, latent_channels=8)
    initialise(vae)
    factors = []
    for usual_loss in (BLIND_LOSS + 1.0, BLIND_LOSS - 2.0 * SEEING):
        task = VAETask(clips, batch=2, begin=vae)
        task.sight.usual_loss = usual_loss
        factors.append(float(task.loss(torch.Generator().manual_seed(1))["factor"].detach()))
    blind, seeing = factors
    assert blind == 0.0 < seeing


def test_a_vae_that_goes_on_looks_at_mouths_more_often(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vae_task, "MOUTH_SHARE", 0.0)
    monkeypatch.setattr(vae_task, "LATER_MOUTH_SHARE", 1.0)

    def share_with_mouth(task: VAETask) -> float:
        generator = torch.Generator().manual_seed(1)
        x0, y0, x1, y1 = (128 * task.mouth_boxes_N4[0]).tolist()
        places = [task._place(0, generator) for _ in range(40)]
        held = [
            top <= y0 and y1 <= top + CROP and left <= x0 and x1 <= left + CROP
            for top, left in places
        ]
        return sum(held) / len(held)

    assert share_with_mouth(VAETask(clips, batch=2)) < 0.5
    vae = VAE(scale=1.0, latent_channels=8)
    for rests in (True, False):
        task = VAETask(clips, batch=2, begin=vae, is_encoder_resting=rests)
        assert share_with_mouth(task) == 1.0


def test_held_latents_meet_more_noise_and_fewer_guesses(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vae = VAE(scale=1.0, latent_channels=8)
    initialise(vae)
    guesses = Guesses(
        torch.zeros(1, 8, 16, 16).half(), torch.zeros(1).long(), torch.zeros(1).long()
    )
    monkeypatch.setattr(
        vae.net.encoder, "forward", lambda crops: crops.new_zeros(len(crops), 8, 8, 8)
    )
    seen: list[torch.Tensor] = []
    vae.net.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    for rests, spread, num_guessed in ((True, 0.06, 4), (False, 0.1, 2)):
        task = VAETask(clips, batch=8, begin=vae, is_encoder_resting=rests, guesses=guesses)
        assert task.num_guessed == num_guessed
        task.loss(torch.Generator().manual_seed(1))
        assert float(seen.pop().std()) == pytest.approx(spread, rel=0.1)


def test_the_front_end_learns_to_hear(tmp_path: Path) -> None:
    config = FrontEndConfig(num_mels=20, width=16, dilations=(1, 2), num_returned_layers=2)
    torch.manual_seed(0)
    task = FrontEndTask(FrontEnd(config), num_voices=4, num_held_out=2, batch=4)
    sound, shapes = task.sound_BN, task.shapes_BTA

    def error() -> float:
        with torch.no_grad():
            return float(F.mse_loss(task._read(sound), shapes))

    at_first = error()
    settings = LoopSettings(
        steps=40, learning_rate=5e-3, warmup_steps=2, ema_decay=0.5, is_bfloat16=False
    )
    fit(task, settings, tmp_path / "hearing")
    assert error() < 0.8 * at_first
    text = next((tmp_path / "hearing" / "samples").glob("*.txt")).read_text()
    assert "mouth_open" in text


def test_the_front_end_hears_voices_such_as_the_clips() -> None:
    """Whispered, shouted and rap ones too: sound and shapes are those that a clip of the number
    would have; but no clip has such a number."""
    config = FrontEndConfig(num_mels=20, width=16, dilations=(1,), num_returned_layers=1)
    encoder = FrontEnd(config)
    task = FrontEndTask(encoder, num_voices=12, num_held_out=1, batch=2)
    assert task.front_end is encoder
    manners = [clip_utterance("train", number).manner for number in ENCODER_VOICES[:12]]
    assert set(manners) - {"plain"}, "all of these voices are plain: take more"
    for index in range(12):
        clip = make_clip(
            "train", ENCODER_VOICES[index], num_frames=1, num_references=0, fps=25.0, size=16
        )
        torch.testing.assert_close(task.sound_BN[index], normalized(clip.waveform))
        torch.testing.assert_close(task.shapes_BTA[index], clip.articulation)


def test_stretched_voices_keep_sound_and_shapes_together() -> None:
    """A tone that is loud where the shape is 1, before and after."""
    for num_steps, factor in ((80, 0.8), (120, 1.2)):
        shape_T = (torch.arange(100) // 20 % 2).float()
        loud_N = shape_T.repeat_interleave(STEP_SAMPLES)
        tone_N = torch.sin(0.1 * torch.arange(len(loud_N)))
        sound, shapes = stretched(loud_N * tone_N, shape_T[:, None], num_steps=num_steps)
        assert (sound.shape, shapes.shape) == ((num_steps * STEP_SAMPLES,), (num_steps, 1))
        is_loud_T = sound.unflatten(0, (num_steps, STEP_SAMPLES)).square().mean(1) > 0.1
        assert ((shapes[:, 0] > 0.5) == is_loud_T).float().mean() > 0.95
        crossings = [(x[1:] * x[:-1] < 0).sum() for x in (loud_N * tone_N, sound)]
        assert crossings[1] / crossings[0] == pytest.approx(1.0, abs=0.05)
        assert len(sound) / len(loud_N) == pytest.approx(factor)


def test_more_voices_than_are_kept_from_clips_are_refused() -> None:
    front_end = FrontEnd(FrontEndConfig())
    for num_voices in (0, len(ENCODER_VOICES) + 1):
        with pytest.raises(InputError, match=f"{num_voices} voices; expected 1 to 24000"):
            FrontEndTask(front_end, num_voices=num_voices, batch=1)


def test_the_front_end_hears_lessons_at_other_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FrontEndConfig(num_mels=20, width=16, dilations=(1,), num_returned_layers=1)
    task = FrontEndTask(FrontEnd(config), num_voices=2, num_held_out=1, batch=16)
    lengths = []

    def spy(sound_N: torch.Tensor, shapes_TA: torch.Tensor, *, num_steps: int) -> tuple:
        assert len(sound_N) == len(shapes_TA) * STEP_SAMPLES
        lengths.append(len(shapes_TA))
        return stretched(sound_N, shapes_TA, num_steps=num_steps)

    monkeypatch.setattr(front_end, "stretched", spy)
    task.loss(torch.Generator().manual_seed(0))
    least, most = (CROP_STEPS * math.exp(sign * LARGEST_STRETCH) for sign in (-1, 1))
    assert (
        least - 1 < min(lengths) < 0.95 * CROP_STEPS < 1.05 * CROP_STEPS < max(lengths) < most + 1
    )
