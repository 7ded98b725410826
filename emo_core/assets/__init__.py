"""What the pack brings along: demo checkpoint and VAE, portrait, voice, song, face reader."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent
MODELS = ASSETS / "emo"
VAES = ASSETS / "vae"
LORAS = ASSETS / "loras"
DEMO_CHECKPOINT = MODELS / "emo_demo.safetensors"
DEMO_VAE = VAES / "emo_demo_vae.safetensors"
PORTRAIT = ASSETS / "portrait.png"
VOICE = ASSETS / "voice.flac"
SONG = ASSETS / "song.flac"
FACE_READER = ASSETS / "reader.safetensors"
