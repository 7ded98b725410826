"""What a network makes of true frames, and a decoder that learns from it."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from tiny_data import toy_data
from torch import Tensor

from emo_core.errors import InputError
from emo_core.models.unet import Conditions
from emo_core.models.vae import VAE
from emo_core.sampling.schedule import make_scheduler
from emo_core.training.batches import Batch
from emo_core.training.clips import save_clip
from emo_core.training.feeding import Feeder
from emo_core.training.generate import make_clip
from emo_core.training.guesses import Guesses, guess_frames
from emo_core.training.vae import CROP, VAETask


def numbered(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_frames_are_guessed_by_the_last_steps_with_guidance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backbone that sees the true frames, and beside them without conditions, tells all."""
    networks = tiny_networks()
    sampling = dataclasses.replace(networks.config.sampling, steps=4, guidance=3.0, solver="lcm")
    config = dataclasses.replace(networks.config, sampling=sampling)
    networks = dataclasses.replace(networks, config=config)
    data = dataclasses.replace(toy_data(), latent_scale=torch.tensor(0.5))
    alpha_bar = make_scheduler(networks.config.diffusion, solver="lcm").alphas_cumprod
    drawn: list[Batch] = []
    asked: list[tuple[int, bool]] = []
    draw = Feeder.draw

    def spy(self: Feeder, generator: torch.Generator, *, num_clips: int) -> Batch:
        drawn.append(draw(self, generator, num_clips=num_clips))
        return drawn[-1]

    def prepare(*_: object, is_conditional: bool) -> bool:
        return is_conditional

    def predict(noisy: Tensor, level: Tensor, is_conditional: bool) -> Tensor:
        asked.append((int(level[0]), is_conditional))
        signal, spread = alpha_bar[level[0]].sqrt(), (1 - alpha_bar[level[0]]).sqrt()
        clean = drawn[-1].frames.flatten(0, 1) + (0.0 if is_conditional else 1.0)
        return (signal * noisy - clean) / spread

    monkeypatch.setattr(Feeder, "draw", spy)
    monkeypatch.setattr(Feeder, "prepare", prepare)
    monkeypatch.setattr(networks.backbone, "forward", predict)
    guesses = guess_frames(networks, data, numbered(0), num_batches=2)
    assert asked == 2 * [(499, True), (499, False), (249, True), (249, False)]
    true = torch.cat([batch.frames.flatten(0, 1) for batch in drawn])
    torch.testing.assert_close(guesses.latents.float(), (true - 2.0) / 0.5, atol=0.02, rtol=0.01)
    assert guesses.latents.dtype == torch.float16
    torch.testing.assert_close(data.latents[guesses.clip, guesses.frame].float(), true)


def test_without_guidance_the_network_is_asked_once_and_any_checkpoint_has_a_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks = tiny_networks()
    sampling = dataclasses.replace(networks.config.sampling, steps=4, guidance=1.0, solver=None)
    config = dataclasses.replace(networks.config, sampling=sampling)
    networks = dataclasses.replace(networks, config=config)
    asked: list[int] = []
    forward = networks.backbone.forward

    def spy(noisy: Tensor, level: Tensor, conditions: Conditions) -> Tensor:
        asked.append(int(level[0]))
        return forward(noisy, level, conditions)

    monkeypatch.setattr(networks.backbone, "forward", spy)
    guesses = guess_frames(networks, toy_data(), numbered(0), num_batches=1)
    assert len(asked) == 2
    assert asked[0] > asked[1]
    assert guesses.latents.isfinite().all()


def test_guesses_need_a_network_that_predicts_v() -> None:
    networks = tiny_networks()
    diffusion = dataclasses.replace(
        networks.config.diffusion, prediction_type="epsilon", rescale_betas_zero_snr=False
    )
    config = dataclasses.replace(networks.config, diffusion=diffusion)
    with pytest.raises(InputError, match="train guess: .*'epsilon'"):
        guess_frames(
            dataclasses.replace(networks, config=config), toy_data(), numbered(0), num_batches=1
        )


def marked_guesses(num_clips: int = 1) -> Guesses:
    """Latents that say where they are, rows in the first channel and columns in the second, as a
    network returns them: channels last."""
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    latents = torch.zeros(3, 8, 16, 16)
    latents[:, 0], latents[:, 1] = row, column
    latents[:, 2] = torch.arange(3.0)[:, None, None]
    clip = torch.full((3,), num_clips - 1)
    packed = latents.half().contiguous(memory_format=torch.channels_last)
    return Guesses(packed, clip, torch.tensor([3, 1, 2]))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip whose pixels say where they are, and in which frame."""
    folder = tmp_path_factory.mktemp("clips")
    clip = make_clip("train", 0, num_frames=4, num_references=0, fps=25.0, size=128)
    place = torch.arange(128, dtype=torch.uint8)
    frames = torch.stack(
        [place[None, :, None].expand(4, 128, 128), place[None, None].expand(4, 128, 128)]
        + [torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 128, 128)],
        dim=-1,
    )
    save_clip(dataclasses.replace(clip, frames=frames), folder / "clip_000000.safetensors")
    return folder


def test_guessed_latents_lie_over_the_frames_that_they_mean(clips: Path, tmp_path: Path) -> None:
    marked_guesses().save(tmp_path / "guesses.safetensors")
    guesses = Guesses.load(tmp_path / "guesses.safetensors")
    task = VAETask(clips, batch=16, begin=VAE(scale=1.0, latent_channels=8), guesses=guesses)
    latents, crops = task._guessed_crops(numbered(0))
    assert latents.shape == (8, 8, CROP // 8, CROP // 8)
    pixels = (crops * 255.0).round()
    torch.testing.assert_close(8.0 * latents[:, 0], pixels[:, 0, ::8, ::8])
    torch.testing.assert_close(8.0 * latents[:, 1], pixels[:, 1, ::8, ::8])
    meant = guesses.frame.float()[latents[:, 2, 0, 0].long()]
    torch.testing.assert_close(pixels[:, 2, 0, 0], meant)
    assert len(latents[:, :2, 0, 0].unique(dim=0)) > 1, "all crops lie at the same place"


def test_half_of_a_decoders_lessons_are_guesses(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = VAE(scale=1.0, latent_channels=8)
    task = VAETask(clips, batch=4, begin=vae, guesses=marked_guesses())
    seen: list[Tensor] = []
    decode = vae.net.decoder.forward

    def spy(latents: Tensor) -> Tensor:
        seen.append(latents)
        return decode(latents)

    monkeypatch.setattr(vae.net.decoder, "forward", spy)
    task.loss(numbered(0))["loss"].backward()
    rows = seen[0][2:, 0].round()
    assert len(seen[0]) == 4
    assert torch.equal(rows.diff(dim=1), torch.ones_like(rows.diff(dim=1)))


def test_guesses_of_other_clips_and_without_a_decoder_are_refused(clips: Path) -> None:
    vae = VAE(scale=1.0, latent_channels=8)
    with pytest.raises(InputError, match=r"1 clips; the guesses are of at least 3"):
        VAETask(clips, batch=4, begin=vae, guesses=marked_guesses(num_clips=3))
    with pytest.raises(InputError, match="a VAE that exists"):
        VAETask(clips, batch=4, guesses=marked_guesses())
    with pytest.raises(InputError, match="train guess"):
        Guesses.load(clips / "none.safetensors")
