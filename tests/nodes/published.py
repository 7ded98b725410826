"""The published families' files under the names that the shipped workflows ask for, as toys.

Networks and audio encoders are the parity kits', a tenth as wide as the real ones.
"""

from pathlib import Path

import torch
from conftest import ToyFiles
from parity_kit import CHECKPOINTS, kit
from safetensors.torch import save_file

FOLDERS = {"hallo": "hallo", "echomimic": "echomimic", "vexpress": "v_express"}
"""Name of a kit -> folder in models/emo, and name of its workflow."""
SIDE = 64
FACE = {"x": 120, "y": 120, "width": 260, "height": 280}
"""On the bundled portrait."""


def install_published(models: Path, toy: ToyFiles) -> None:
    """Write everything that the families' workflows name below a `models` folder."""
    for name, folder in FOLDERS.items():
        (models / "emo" / folder).mkdir(parents=True)
        kit(name).save(models / "emo" / folder, *CHECKPOINTS[name])
    files = kit("echomimic").files
    for name in ("denoising_unet", "motion_module"):
        torch.save(files[f"{name}.pth"], models / "emo" / "echomimic" / f"{name}_acc.pth")
    for folder in ("audio_encoders", "detection", "vae"):
        (models / folder).mkdir(exist_ok=True)
    whisper = {"dims": {}, "model_state_dict": files["whisper_tiny.pt"]}
    torch.save(whisper, models / "audio_encoders" / "whisper_tiny.pt")
    wav2vec2 = models / "audio_encoders" / "wav2vec2-base-960h.safetensors"
    save_file(kit("hallo").files["wav2vec2"], wav2vec2)
    vae = models / "vae" / "vae-ft-mse-840000-ema-pruned.safetensors"
    vae.write_bytes(toy.vae.read_bytes())
    # Only its name is needed: `without_detector` takes the nodes out that would load it.
    save_file({"x": torch.zeros(1)}, models / "detection" / "mediapipe_face_fp32.safetensors")


def made_small(prompt: dict) -> dict:
    """A family's workflow without the face detector, whose weights no test has, at a toy's size."""
    gone = {key for key, node in prompt.items() if "MediaPipe" in node["class_type"]}
    small = {key: node for key, node in prompt.items() if key not in gone}
    for node in small.values():
        inputs = node["inputs"]
        for name in [k for k, v in inputs.items() if isinstance(v, list) and v[0] in gone]:
            del inputs[name]
            if node["class_type"] == "EMO_CropFace":
                inputs["boxes"] = FACE
        for name in ("width", "height"):
            if name in inputs:
                inputs[name] = SIDE
    return small
