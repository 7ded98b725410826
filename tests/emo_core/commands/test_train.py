"""`train`: what its commands leave behind."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_networks
from tiny_data import toy_data

from emo_core.__main__ import main
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import load_networks, load_vae, save_vae
from emo_core.models.vae import VAE
from emo_core.training.clips import save_clip
from emo_core.training.generate import make_clip
from emo_core.training.guesses import Guesses
from emo_core.training.presets import LATENT_CHANNELS
from emo_core.training.vae import initialise


def test_a_finished_run_is_exported_with_another_audio_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = tiny_networks()
    save_emo(networks, tmp_path / "model.safetensors", dtype=torch.float32)
    vae = VAE(scale=1.0)
    save_vae(vae, tmp_path / "vae.safetensors", dtype=torch.float32)
    toy_data().save(tmp_path / "latents.safetensors")
    other = {name: value + 0.5 for name, value in networks.front_end.state_dict().items()}
    save_file(other, tmp_path / "front_end.safetensors")
    command = ["train", "export", "--out", str(tmp_path / "export")]
    command += ["--checkpoint", str(tmp_path / "model.safetensors")]
    command += ["--vae", str(tmp_path / "vae.safetensors")]
    command += ["--data", str(tmp_path / "latents.safetensors")]

    for front_end, expected in (
        ([], networks.front_end.state_dict()),
        (["--front-end", str(tmp_path / "front_end.safetensors")], other),
    ):
        assert main(command + front_end) == 0
        exported = load_networks(tmp_path / "export" / "emo" / "emo_demo.safetensors")
        assert exported.config.latent_preview is not None
        for name, value in exported.front_end.state_dict().items():
            torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-3)
        for name, value in exported.backbone.state_dict().items():
            wanted = networks.backbone.state_dict()[name]
            torch.testing.assert_close(value, wanted, atol=1e-3, rtol=1e-3)
        exported_vae = load_vae(tmp_path / "export" / "vae" / "emo_demo_vae.safetensors", scale=1.0)
        for name, value in exported_vae.state_dict().items():
            torch.testing.assert_close(value, vae.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert (tmp_path / "export" / "loras" / "emo_demo_lora.safetensors").is_file()


@pytest.mark.parametrize(
    ("option", "learning"), [("--decoder-of", {"decoder"}), ("--begin", {"encoder", "decoder"})]
)
def test_a_vae_goes_on_by_its_decoder_or_by_both_halves(
    tmp_path: Path, option: str, learning: set[str]
) -> None:
    clip = make_clip("train", 0, num_frames=2, num_references=0, fps=25.0, size=64)
    save_clip(clip, tmp_path / "clip_000000.safetensors")
    torch.manual_seed(1)
    vae = VAE(scale=1.0, latent_channels=LATENT_CHANNELS)
    initialise(vae)
    save_vae(vae, tmp_path / "vae.safetensors", dtype=torch.float32)
    command = ["train", "vae", "--clips", str(tmp_path), option, str(tmp_path / "vae.safetensors")]
    command += ["--steps", "2", "--batch", "2", "--out", str(tmp_path / "run")]

    assert main(command) == 0
    later = load_vae(tmp_path / "run" / "vae.safetensors", scale=1.0)
    moved = {
        name.split(".")[0]
        for name, value in later.net.state_dict().items()
        if not torch.equal(value, vae.net.state_dict()[name])
    }
    assert moved == learning
    for name, value in later.net.state_dict().items():
        torch.testing.assert_close(value, vae.net.state_dict()[name], atol=1e-2, rtol=0)


def test_the_reader_of_faces_refuses_to_learn_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "reader", "--people", "1", "--out", str(tmp_path / "reader")]) != 0
    assert "without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "reader").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("stage 1 --begin b.safetensors --front-end f.safetensors", "no --begin"),
        ("stage 1", "--front-end"),
        ("stage 2 --begin b.safetensors --front-end f.safetensors", "no --front-end"),
        ("stage 3", "--begin"),
    ],
)
def test_a_stage_refuses_what_it_would_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture, command: str, message: str
) -> None:
    toy_data().save(tmp_path / "latents.safetensors")
    given = ["--data", str(tmp_path / "latents.safetensors"), "--vae", "v.safetensors"]
    assert main(["train", *command.split(), *given, "--out", str(tmp_path / "run")]) != 0
    error = capsys.readouterr().err
    assert command[:7] in error
    assert message in error


def test_guesses_need_the_vae_that_they_are_of(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "guesses.safetensors"
    one = torch.zeros(1, dtype=torch.int64)
    Guesses(torch.zeros(1, 8, 16, 16).half(), clip=one, frame=one).save(path)
    command = ["train", "vae", "--clips", str(tmp_path / "none"), "--guesses", str(path)]
    assert main([*command, "--out", str(tmp_path / "run")]) != 0
    assert "--decoder-of or --begin" in capsys.readouterr().err


def test_long_work_begins_only_where_its_result_can_go(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Before the files that it reads are even looked for."""
    for command in (["encode", "--clips", "c", "--vae", "v"], ["guess", "--data", "d"]):
        given = ["--checkpoint", "none", "--out", str(tmp_path / "none" / "out.safetensors")]
        assert main(["train", *command, *given]) != 0
        assert "there is no folder" in capsys.readouterr().err
