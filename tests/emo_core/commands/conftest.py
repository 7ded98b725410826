"""What the tests of `animate` share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from animating import write_sound
from PIL import Image
from tiny import tiny_networks

from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.vae import VAE
from emo_core.training.vae import initialise


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A toy checkpoint, a portrait and a voice of 0.38 s: 10 frames at 25 fps."""
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    save_emo(tiny_networks(), folder / "model.safetensors", dtype=torch.float32)
    vae = VAE(scale=1.0)
    initialise(vae)  # decodes latents to colours, so that what differs in them can be seen
    save_vae(vae, folder / "vae.safetensors", dtype=torch.float32)
    picture = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "portrait.png")
    voice = 0.5 * np.sin(np.arange(3040) * 0.2)
    return {
        "checkpoint": folder / "model.safetensors",
        "vae": folder / "vae.safetensors",
        "portrait": folder / "portrait.png",
        "audio": write_sound(folder / "voice.wav", voice),
    }
