"""Single pictures of drawn people whose pose and mouth are known: what the reader learns from.

Every picture of a person has another pose, another expression, and also another background and
other clothes, so that who it is must be read from face and hair.

Letters: P people, K pictures of each, H and W rows and columns.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError
from ..files.write import write_tensors
from ..synthetic.drawing import FaceState, draw, face_box
from ..synthetic.portrait import Portrait, random_portrait

PEOPLE_PER_FILE = 40
CLOSED_SHARE = 0.25
"""Share of pictures with closed lips, which uniform chance would hardly draw."""


@dataclass(frozen=True)
class FaceSet:
    """Pictures with their truth."""

    pictures_PKHW3: Tensor
    """uint8."""
    mouth_open_PK: Tensor
    """float32, 0..1, as in `FaceState`."""
    pose_PK3: Tensor
    """float32: yaw, pitch and roll in degrees."""
    boxes_PK4: Tensor
    """float32: the face as x0, y0, x1, y1 in fractions of the picture."""


def random_face_state(rng: np.random.Generator) -> FaceState:
    """Draw a pose and an expression, evenly over the ranges that motions and voices use."""
    yaw, pitch, roll = rng.uniform(-30, 30), rng.uniform(-17, 17), rng.uniform(-14, 14)
    is_closed = rng.random() < CLOSED_SHARE
    blink = rng.uniform(0, 1) if rng.random() < 0.2 else 0.0
    return FaceState(
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        offset_x=rng.normal(0.0, 0.012) + 0.0011 * yaw + 0.0008 * roll,
        offset_y=rng.normal(0.0, 0.012) - 0.0009 * pitch,
        mouth_open=0.0 if is_closed else rng.uniform(0, 1),
        mouth_width=rng.uniform(-0.8, 0.8),
        lip_round=_often_zero(rng),
        teeth=_often_zero(rng),
        tongue=_often_zero(rng),
        blink_left=blink,
        blink_right=blink,
        brow_raise=rng.uniform(-0.6, 0.6),
        gaze_x=float(np.clip(rng.normal(0, 0.4), -1, 1)),
        gaze_y=float(np.clip(rng.normal(0, 0.3), -1, 1)),
        smile=rng.uniform(0, 0.7),
    )


def _often_zero(rng: np.random.Generator) -> float:
    return rng.uniform(0, 1) if rng.random() < 0.65 else 0.0


def draw_faces(
    split: str, first_person: int, *, num_people: int, num_pictures: int, size: int = 128
) -> FaceSet:
    """Draw people `first_person`, `first_person` + 1, ... of a split, always the same way."""
    pictures, mouth_open, poses, boxes = [], [], [], []
    for index in range(first_person, first_person + num_people):
        rng = np.random.default_rng([zlib.crc32(split.encode()), index, 11])
        person = random_portrait(split, index)
        for _ in range(num_pictures):
            dressed = _change_surroundings(rng, person, split=split)
            state = random_face_state(rng)
            pictures.append(draw(dressed, state, size=size))
            mouth_open.append(state.mouth_open)
            poses.append((state.yaw_deg, state.pitch_deg, state.roll_deg))
            boxes.append(face_box(dressed, state))
    shape = (num_people, num_pictures)
    return FaceSet(
        pictures_PKHW3=torch.from_numpy(np.stack(pictures)).reshape(*shape, size, size, 3),
        mouth_open_PK=torch.tensor(mouth_open).reshape(*shape),
        pose_PK3=torch.tensor(poses).reshape(*shape, 3),
        boxes_PK4=torch.tensor(boxes).reshape(*shape, 4),
    )


def generate_faces(
    folder: Path, *, split: str, num_people: int, num_pictures: int, num_workers: int
) -> None:
    """Fill `folder` with the people 0..num_people-1 of a split; files already there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(
        _make_file, folder=folder, split=split, num_people=num_people, num_pictures=num_pictures
    )
    firsts = range(0, num_people, PEOPLE_PER_FILE)
    with ProcessPoolExecutor(num_workers) as pool:
        for _ in tqdm(pool.map(make, firsts), total=len(firsts), desc=f"{split} faces"):
            pass


def load_faces(folder: Path) -> FaceSet:
    """Read all that `generate_faces` left in a folder.

    Raises:
        InputError: there is nothing.
    """
    paths = sorted(folder.glob("faces_*.safetensors"))
    if not paths:
        raise InputError(
            f"{folder}: holds no faces_*.safetensors, expected drawn faces. "
            "Make them with 'python -m emo_core train reader'."
        )
    parts = [load_file(path) for path in paths]
    names = FaceSet.__dataclass_fields__
    return FaceSet(**{name: torch.cat([part[name] for part in parts]) for name in names})


def _make_file(
    first_person: int, *, folder: Path, split: str, num_people: int, num_pictures: int
) -> None:
    path = folder / f"faces_{first_person:06d}.safetensors"
    if path.exists():
        return
    torch.set_num_threads(1)
    count = min(PEOPLE_PER_FILE, num_people - first_person)
    faces = draw_faces(split, first_person, num_people=count, num_pictures=num_pictures)
    write_tensors(path, vars(faces))


def _change_surroundings(rng: np.random.Generator, person: Portrait, *, split: str) -> Portrait:
    """Give a person the clothes and the background of somebody else of the split."""
    other = random_portrait(split, int(rng.integers(100_000)))
    return replace(
        person,
        clothes=other.clothes,
        cloth=other.cloth,
        cloth_accent=other.cloth_accent,
        background=other.background,
        background_color=other.background_color,
        background_accent=other.background_accent,
    )
