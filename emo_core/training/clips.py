"""One clip of training data as a file: the interface between any source of video and training.

Whatever makes clips, drawing or a film of a real face, writes these tensors; nothing later asks
where they came from.

Letters: F frames, R reference pictures, H and W rows and columns, N sound samples, K articulation
samples, E columns of expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..errors import InputError
from ..files.write import write_tensors

SOUND_RATE_HZ = 16000
ARTICULATION_RATE_HZ = 50
EXPRESSION_COLUMNS = ("blink_left", "blink_right", "brow_raise", "gaze_x", "gaze_y", "smile")
"""As in `synthetic.face_state`."""


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one person, with the sound around them."""

    frames: Tensor
    """uint8 [F, H, W, 3]."""
    references: Tensor
    """uint8 [R, H, W, 3]: other pictures of the same person; R may be 0."""
    reference_frames: Tensor
    """int64 [R]: the frame whose head a picture shows, with another look; -1: it is anywhere."""
    waveform: Tensor
    """float32 [N], mono, 16 kHz; may begin before the first frame and end after the last."""
    first_frame: int
    """Frames of sound before the first picture."""
    fps: float
    face_boxes: Tensor
    """float32 [F, 4]: x0, y0, x1, y1 in fractions of the picture."""
    mouth_boxes: Tensor
    """float32 [F, 4], likewise."""
    speed_deg_s: Tensor
    """float32 [F]: angular speed of the head."""
    articulation: Tensor
    """float32 [K, 5]: true mouth shapes at 50 Hz from the start of the sound; K is 0 where
    unknown (a film of a real face)."""
    expression: Tensor
    """float32 [F, E]: EXPRESSION_COLUMNS of each frame; or [0, E] where unknown."""


TENSORS = (
    "frames",
    "references",
    "reference_frames",
    "waveform",
    "face_boxes",
    "mouth_boxes",
    "speed_deg_s",
    "articulation",
    "expression",
)
METADATA = ("fps", "first_frame")


def save_clip(clip: Clip, path: Path) -> None:
    """Write one clip."""
    write_tensors(
        path,
        {name: getattr(clip, name) for name in TENSORS},
        metadata={"fps": repr(clip.fps), "first_frame": str(clip.first_frame)},
    )


def load_clip(path: Path) -> Clip:
    """Read one clip."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        missing = sorted({*TENSORS, *METADATA} - {*file.keys(), *metadata})
        if missing:
            raise InputError(
                f"{path}: not a training clip (missing {missing}). "
                "Make clips with 'python -m emo_core data'."
            )
        return Clip(
            **{name: file.get_tensor(name) for name in TENSORS},
            first_frame=int(metadata["first_frame"]),
            fps=float(metadata["fps"]),
        )


def clip_paths(folder: Path) -> list[Path]:
    """All clips of a folder in a fixed order."""
    paths = sorted(folder.glob("clip_*.safetensors"))
    if not paths:
        raise InputError(
            f"{folder}: holds no clip_*.safetensors. Make clips with 'python -m emo_core data'."
        )
    return paths
