"""What the pack brings along: demo checkpoint and VAE, a portrait, a voice, the face reader."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent
MODELS = ASSETS / "emo"
VAES = ASSETS / "vae"
DEMO_CHECKPOINT = MODELS / "emo_demo.safetensors"
DEMO_VAE = VAES / "emo_demo_vae.safetensors"
PORTRAIT = ASSETS / "portrait.png"
VOICE = ASSETS / "voice.flac"
FACE_READER = ASSETS / "reader.safetensors"
