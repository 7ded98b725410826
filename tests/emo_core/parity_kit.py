"""The parity kits: what the published families' own code computes, and weights to compute it with.

The weights are made from their names by `tests/parity/weights.py`; none are stored.
"""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

KITS = Path(__file__).resolve().parents[1] / "parity"


@dataclass(frozen=True)
class Kit:
    """One family's kit."""

    config: dict
    inputs: dict[str, Tensor]
    expected: dict[str, Tensor]
    files: dict[str, dict[str, Tensor]]
    """Name of an upstream file -> its tensors."""

    def save(self, folder: Path, *names: str) -> None:
        """Write files of the checkpoint as upstream publishes them."""
        for name in names:
            torch.save(self.files[name], folder / name)


@cache
def kit(name: str) -> Kit:
    """Load a kit and rebuild its weights."""
    spec = importlib.util.spec_from_file_location("parity_weights", KITS / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    return Kit(
        config=json.loads((KITS / name / "config.json").read_text()),
        inputs=load_file(KITS / name / "inputs.safetensors"),
        expected=load_file(KITS / name / "expected.safetensors"),
        files={
            file: {key: torch.from_numpy(value) for key, value in tensors.items()}
            for file, tensors in weights.state_dicts(KITS / name).items()
        },
    )


CHECKPOINTS = {
    "hallo": ("net.pth",),
    "echomimic": (
        "denoising_unet.pth",
        "reference_unet.pth",
        "motion_module.pth",
        "face_locator.pth",
    ),
    "vexpress": (
        "denoising_unet.bin",
        "reference_net.bin",
        "motion_module.bin",
        "v_kps_guider.bin",
        "audio_projection.bin",
    ),
}
"""Files of a checkpoint, the main one first."""
