"""The command `animate` as its tests call it: sounds for it, and what it wrote."""

import wave
from pathlib import Path

import av
import numpy as np

from emo_core.__main__ import main


def write_sound(path: Path, samples: np.ndarray, *, rate: int = 8000) -> Path:
    """16-bit wav; samples [N] or [N, channels] of -1..1."""
    columns = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(columns.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((columns * 32767).astype("<i2").tobytes())
    return path


def animate(files: dict[str, Path], out: Path, *words: str, **options: object) -> int:
    """Run the command in this process, with more words at its end; return its status."""
    given = {name: str(path) for name, path in files.items()} | {"out": str(out), "steps": "1"}
    given |= {name.replace("_", "-"): str(value) for name, value in options.items()}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    return main(["animate", *options, *words])


def film_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
