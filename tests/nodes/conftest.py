"""Fixtures for tests against a real ComfyUI; without one they are left out, and a line says so."""

import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent))

from comfyui import ROOT, find_comfyui, load_pack
from tiny import tiny_networks

from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.vae import VAE

COMFYUI = find_comfyui()
SAMPLE_RATE_HZ = 16000


collect_ignore_glob = [] if COMFYUI else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COMFYUI is None:
        terminalreporter.write_line(
            "tests/nodes: not run, no ComfyUI. Set COMFYUI_PATH, or install it at ~/comfy/ComfyUI."
        )


@dataclass(frozen=True)
class ToyFiles:
    """A checkpoint with random weights, its VAE, a picture and a sound, as files."""

    model: Path
    vae: Path
    portrait: Path
    voice: Path


def voice_samples(seconds: float) -> torch.Tensor:
    """Noise that swells and fades like syllables, (N,)."""
    time_s = torch.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = torch.randn(time_s.shape, generator=torch.Generator().manual_seed(1))
    return 0.2 * noise * (2 * torch.pi * 3 * time_s).sin().square()


def save_voice(path: Path, *, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((voice_samples(seconds) * 32767).short().numpy().tobytes())


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyFiles:
    folder = tmp_path_factory.mktemp("toy")
    files = ToyFiles(
        model=folder / "toy.safetensors",
        vae=folder / "toy_vae.safetensors",
        portrait=folder / "portrait.png",
        voice=folder / "voice.wav",
    )
    save_emo(tiny_networks(), files.model, dtype=torch.float32)
    torch.manual_seed(0)
    save_vae(VAE(scale=1.0), files.vae, dtype=torch.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((100, 120), Image.Resampling.BICUBIC).save(files.portrait)
    save_voice(files.voice, seconds=0.6)
    return files


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory):
    """The pack's `nodes` package, imported inside ComfyUI, with folders of the test's own."""
    load_pack(COMFYUI)
    import folder_paths
    from emo_pack import nodes

    folder = tmp_path_factory.mktemp("comfyui_folders")
    folder_paths.set_temp_directory(str(folder / "temp"))
    folder_paths.set_user_directory(str(folder / "user"))
    return nodes


@pytest.fixture(scope="session")
def server(toy: ToyFiles, tmp_path_factory: pytest.TempPathFactory):
    """A real ComfyUI with the toy checkpoint beside the pack's own files."""
    # Imported here: what the client needs comes with ComfyUI.
    from comfy_server import install, start_server

    server = start_server(COMFYUI, tmp_path_factory.mktemp("comfyui"), ROOT)
    install(server, "models/emo", toy.model)
    install(server, "models/vae", toy.vae)
    install(server, "input", toy.portrait, toy.voice)
    yield server
    server.stop()
