"""A small network that reads a face: mouth, head pose, box, and who it is.

It knows drawn faces only (`reader_task` trains it) and stands for the eye of the viewer when a
model's films are measured. How well it reads pictures whose truth is known travels with its
weights, so that every measurement can be judged against the error of its instrument.

Letters: N pictures, H and W rows and columns, S the side that the network sees, C channels,
D width of an identity.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..assets import FACE_READER
from ..errors import InputError
from ..files.read import read_tensors
from ..files.write import write_tensors

POSE_UNIT_DEG = 15.0
NUM_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """Shape of the network."""

    side: int = 96
    """Pixels; every picture is resized to this square. A multiple of 16."""
    widths: tuple[int, ...] = (16, 32, 64, 112)
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the side; multiples of 8."""
    squeezed: int = 24
    """Channels that keep their place in the picture until the end."""
    hidden: int = 96
    identity_dim: int = 64


@dataclass(frozen=True, kw_only=True)
class ReaderErrors:
    """Mean absolute errors on drawn people that the reader did not learn from."""

    mouth_open: float
    """In the unit of mouth_open, 0..1."""
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    box: float
    """Of an edge of the face box, in fractions of the picture."""
    identity_top1: float
    """Share of pictures that lie nearest to another picture of the same person."""
    num_people: int
    num_pictures: int


@dataclass(frozen=True)
class Reading:
    """What the reader saw, one row per picture."""

    mouth_open_N: Tensor
    """0 lips closed .. 1 wide open."""
    pose_N3: Tensor
    """Yaw, pitch and roll in degrees, signs as in `synthetic.face_state`."""
    boxes_N4: Tensor
    """The face as x0, y0, x1, y1 in fractions of the picture."""
    identity_ND: Tensor
    """Of unit length; the dot product of two is their likeness, 1 for the same."""


class FaceReader(nn.Module):
    """Pictures -> `Reading`."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        first, *others = config.widths
        self.conv_in = nn.Conv2d(3, first, 5, stride=2, padding=2)
        self.steps = nn.ModuleList(
            _Step(before, after) for before, after in zip(config.widths[:-1], others, strict=True)
        )
        last = config.widths[-1]
        num_places = (config.side // 2 ** len(config.widths)) ** 2
        self.norm = nn.GroupNorm(NUM_GROUPS, last)
        self.squeeze = nn.Conv2d(last, config.squeezed, 1)
        self.hidden = nn.Linear(config.squeezed * num_places, config.hidden)
        self.mouth = nn.Linear(config.hidden, 1)
        self.pose = nn.Linear(config.hidden, 3)
        self.box = nn.Linear(config.hidden, 4)
        self.identity = nn.Linear(config.hidden + last, config.identity_dim)

    def forward(self, pictures_N3SS: Tensor) -> Reading:
        """Read pictures of 0..1 at the network's own size; mouth_open is not clamped."""
        features = self.conv_in(pictures_N3SS * 4.0 - 2.0)
        for step in self.steps:
            features = step(features)
        features = functional.silu(self.norm(features))
        placed = functional.silu(self.squeeze(features)).flatten(1)
        hidden = functional.silu(self.hidden(placed))
        whole = torch.cat([hidden, features.mean(dim=(2, 3))], dim=1)
        return Reading(
            mouth_open_N=self.mouth(hidden)[:, 0].float() + 0.5,
            pose_N3=self.pose(hidden).float() * POSE_UNIT_DEG,
            boxes_N4=self.box(hidden).float() + 0.5,
            identity_ND=functional.normalize(self.identity(whole).float(), dim=1),
        )

    @torch.no_grad()
    def read(self, frames_NHW3: Tensor, *, chunk: int = 64) -> Reading:
        """Read frames of any size, 0..1, floating point or uint8; mouth_open is within 0..1.

        Raises:
            InputError: the tensor is no set of colour pictures, or is empty.
        """
        if frames_NHW3.ndim != 4 or frames_NHW3.shape[-1] != 3 or len(frames_NHW3) == 0:
            raise InputError(
                f"Face reader: the frames have shape {tuple(frames_NHW3.shape)}, expected "
                "[frames, height, width, 3] with at least one frame. Give colour pictures."
            )
        parts = [
            self.forward(resized(part, side=self.config.side)) for part in frames_NHW3.split(chunk)
        ]
        names = [field.name for field in dataclasses.fields(Reading)]
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        joined["mouth_open_N"] = joined["mouth_open_N"].clamp(0.0, 1.0)
        return Reading(**joined)


class _Step(nn.Module):
    """Half the size, then one residual block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm0 = nn.GroupNorm(NUM_GROUPS, before)
        self.down = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm1 = nn.GroupNorm(NUM_GROUPS, after)
        self.conv1 = nn.Conv2d(after, after, 3, padding=1)
        self.norm2 = nn.GroupNorm(NUM_GROUPS, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, features_NCHW: Tensor) -> Tensor:
        features = self.down(functional.silu(self.norm0(features_NCHW)))
        hidden = self.conv1(functional.silu(self.norm1(features)))
        return features + self.conv2(functional.silu(self.norm2(hidden)))


def resized(frames_NHW3: Tensor, *, side: int) -> Tensor:
    """Bring frames of 0..1 or uint8 to [N, 3, side, side] float32 of 0..1."""
    pixels = frames_NHW3.movedim(-1, 1)
    pixels = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels.float()
    if pixels.shape[2:] == (side, side):
        return pixels
    return functional.interpolate(
        pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )


def save_reader(
    reader: FaceReader, path: Path, *, errors: ReaderErrors, worn_errors: ReaderErrors
) -> None:
    """Write weights in half precision, with the config and the measured errors.

    Args:
        errors: on clean drawings.
        worn_errors: on drawings that were blurred, tinted and made noisy (`wear`).
    """
    write_tensors(
        path,
        {name: value.half() for name, value in reader.state_dict().items()},
        metadata={
            "config": json.dumps(dataclasses.asdict(reader.config)),
            "errors": json.dumps(dataclasses.asdict(errors)),
            "worn_errors": json.dumps(dataclasses.asdict(worn_errors)),
        },
    )


@dataclass(frozen=True)
class LoadedReader:
    """A reader with what is known of its precision."""

    reader: FaceReader
    errors: ReaderErrors
    worn_errors: ReaderErrors


def load_reader(path: Path = FACE_READER) -> LoadedReader:
    """Read a file of `save_reader`, strictly, in float32 on the CPU.

    Raises:
        InputError: the file is missing, of another kind, or not of this version.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, expected the weights of the face reader. "
            "Install the pack again, or train one with 'python -m emo_core train reader'."
        )
    file = read_tensors(path)
    try:
        config, errors, worn_errors = (
            json.loads(file.metadata[name]) for name in ("config", "errors", "worn_errors")
        )
        reader = FaceReader(ReaderConfig(**{**config, "widths": tuple(config["widths"])}))
        known_errors = ReaderErrors(**errors), ReaderErrors(**worn_errors)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: the metadata cannot be used ({error}); expected config and errors of a face "
            "reader of this version. Train one with 'python -m emo_core train reader'."
        ) from error
    state = {name: value.float() for name, value in file.tensors.items()}
    wanted = reader.state_dict()
    differing = sorted(
        name
        for name in wanted.keys() | state.keys()
        if name not in wanted or name not in state or wanted[name].shape != state[name].shape
    )
    if differing:
        raise InputError(
            f"{path}: {len(differing)} tensors are missing, unknown or of another shape, such as "
            f"{differing[:3]}; expected those of its config. "
            "Train the reader again with 'python -m emo_core train reader'."
        )
    reader.load_state_dict(state)
    return LoadedReader(reader.eval().requires_grad_(False), *known_errors)
