"""Train the face reader on drawn faces, by the one loop: `python -m emo_core train reader`.

Mouth, pose and box are learnt from the known truth. Identity is learnt by contrast (NT-Xent of
SimCLR, arXiv 2002.05709): of all pictures of a batch, the nearest to a picture shall be the other
one of the same person, although pose, expression, clothes and background differ.

Letters: N pictures of a batch, P people, K pictures of each, V reconstructed pictures, S the
reader's side.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ..checkpoints.load import load_vae
from ..models.vae import VAE
from ..training.loop import LoopSettings, fit
from ..training.presets import Training
from ..video.stills import contact_sheet, save_image
from .drawn_faces import FaceSet, draw_faces, generate_faces, load_faces
from .reader import (
    POSE_UNIT_DEG,
    FaceReader,
    ReaderConfig,
    ReaderErrors,
    resized,
    save_reader,
)
from .wear import wear

logger = logging.getLogger(__name__)

READER_TRAINING = Training(
    loop=LoopSettings(steps=2800, learning_rate=2e-3, weight_decay=0.02, ema_decay=0.998), batch=64
)
"""Pictures of a step are pairs: half as many people."""
TEMPERATURE = 0.1
MOUTH_WEIGHT = 4.0
POSE_WEIGHT = 2.0
BOX_WEIGHT = 10.0
IDENTITY_WEIGHT = 0.15
CLEAN_SHARE = 0.2
"""Share of pictures that are learnt as they were drawn."""
GREATEST_ZOOM = 0.05
GREATEST_SHIFT = 0.03
RECONSTRUCTED_SHARE = 0.3
"""Share of pictures that pass through the VAE, where one is given."""
LATENT_NOISE = 0.1
"""Greatest noise on the latents, of unit variance, before they are decoded."""


class ReaderTask:
    """Read drawn faces."""

    def __init__(self, faces: FaceSet, *, validation: FaceSet, batch: int) -> None:
        self.reader = FaceReader(ReaderConfig())
        self.network: nn.Module = self.reader
        self.validation = validation
        self.num_pairs = batch // 2
        side = self.reader.config.side
        pictures = [
            (resized(person, side=side) * 255.0).round().to(torch.uint8)
            for person in faces.pictures_PKHW3
        ]
        self.pictures_PK3SS = torch.stack(pictures)
        self.mouth_open_PK = faces.mouth_open_PK
        self.pose_PK3 = faces.pose_PK3
        self.boxes_PK4 = faces.boxes_PK4

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def rate_factor(self, name: str) -> float:
        return 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        num_people, num_pictures = self.mouth_open_PK.shape
        pairs = (self.num_pairs,)
        person = torch.randint(num_people, pairs, generator=generator).repeat(2)
        first = torch.randint(num_pictures, pairs, generator=generator)
        apart = torch.randint(1, num_pictures, pairs, generator=generator)
        picture = torch.cat([first, (first + apart) % num_pictures])
        is_mirrored = (torch.rand(pairs, generator=generator) < 0.5).repeat(2)
        pixels = self.pictures_PK3SS[person, picture].float() / 255.0
        pose, boxes = self.pose_PK3[person, picture], self.boxes_PK4[person, picture]
        pixels, pose, boxes = mirror(pixels, pose, boxes, is_mirrored=is_mirrored)
        pixels, boxes = reframe(pixels, boxes, generator=generator)
        is_clean = torch.rand(len(pixels), generator=generator) < CLEAN_SHARE
        pixels = torch.where(is_clean[:, None, None, None], pixels, wear(pixels, generator))

        reading = self.network(pixels)
        mouth = functional.smooth_l1_loss(
            reading.mouth_open_N, self.mouth_open_PK[person, picture], beta=0.05
        )
        pose_error = functional.smooth_l1_loss(
            reading.pose_N3 / POSE_UNIT_DEG, pose / POSE_UNIT_DEG, beta=0.1
        )
        box = functional.smooth_l1_loss(reading.boxes_N4, boxes, beta=0.02)
        # A mirrored person counts as another person; the same person twice in a batch does not.
        identity = contrast(reading.identity_ND, person=2 * person + is_mirrored)
        loss = (
            MOUTH_WEIGHT * mouth
            + POSE_WEIGHT * pose_error
            + BOX_WEIGHT * box
            + IDENTITY_WEIGHT * identity
        )
        return {
            "loss": loss,
            "mouth": (reading.mouth_open_N - self.mouth_open_PK[person, picture]).abs().mean(),
            "pose": (reading.pose_N3 - pose).abs().mean(),
            "box": (reading.boxes_N4 - boxes).abs().mean(),
            "identity": identity,
        }

    def show(self, folder: Path, name: str) -> None:
        logger.info("step %s: %s", name, reader_errors(self.reader, self.validation))
        frames = self.validation.pictures_PKHW3.flatten(0, 1)[:32]
        truth = self.validation.mouth_open_PK.flatten()
        yaw = self.validation.pose_PK3.flatten(0, 1)[:, 0]
        reading = self.reader.read(frames)
        labels = [
            f"{float(reading.mouth_open_N[i]):.2f}/{float(truth[i]):.2f} "
            f"{float(reading.pose_N3[i, 0]):+.0f}/{float(yaw[i]):+.0f}"
            for i in range(len(frames))
        ]
        save_image(contact_sheet(frames, columns=8, labels=labels), folder / f"{name}.png")


def train_reader(
    out_folder: Path,
    *,
    training: Training = READER_TRAINING,
    num_people: int = 2000,
    num_pictures: int = 7,
    num_validation: int = 50,
    vae_path: Path | None = None,
    num_workers: int = 1,
    resume: bool = False,
) -> Path:
    """Draw faces into `out_folder`/faces, train a reader and write it beside them.

    Args:
        out_folder: of the run.
        num_people: who are drawn, each in `num_pictures` pictures. Pictures already there are kept.
        num_validation: people of the validation split by whom the reader is measured.
        vae_path: a VAE through which part of the pictures pass; None for none.
        num_workers: processes that draw.
        resume: go on from the folder's last checkpoint.

    Returns:
        The path of the reader, whose metadata hold its errors on people of the validation split.

    Raises:
        InputError: `out_folder` holds another run.
    """
    faces_folder = out_folder / "faces"
    generate_faces(
        faces_folder,
        split="train",
        num_people=num_people,
        num_pictures=num_pictures,
        num_workers=num_workers,
    )
    faces = load_faces(faces_folder)
    if vae_path is not None:
        reconstruct_some(faces, load_vae(vae_path, scale=1.0))
    validation = draw_faces("validation", 0, num_people=num_validation, num_pictures=8)
    torch.manual_seed(training.loop.seed)
    task = ReaderTask(faces, validation=validation, batch=training.batch)
    fit(task, training.loop, out_folder, resume=resume)
    reader = task.reader.eval()
    errors = reader_errors(reader, validation)
    worn_errors = reader_errors(reader, worn_faces(validation, side=reader.config.side))
    path = out_folder / "reader.safetensors"
    save_reader(reader, path, errors=errors, worn_errors=worn_errors)
    logger.info("%s: errors on clean drawings %s, on worn ones %s", path, errors, worn_errors)
    return path


@torch.no_grad()
def reader_errors(reader: FaceReader, faces: FaceSet) -> ReaderErrors:
    """Measure a reader. The first picture of each person is the one to be recognised by."""
    num_people, num_pictures = faces.mouth_open_PK.shape
    reading = reader.read(faces.pictures_PKHW3.flatten(0, 1))
    pose = (reading.pose_N3 - faces.pose_PK3.flatten(0, 1)).abs().mean(dim=0)
    identity_PKD = reading.identity_ND.unflatten(0, (num_people, num_pictures))
    nearest = (identity_PKD[:, 1:] @ identity_PKD[:, 0].T).argmax(dim=-1)
    is_right = nearest == torch.arange(num_people)[:, None]
    return ReaderErrors(
        mouth_open=float((reading.mouth_open_N - faces.mouth_open_PK.flatten()).abs().mean()),
        yaw_deg=float(pose[0]),
        pitch_deg=float(pose[1]),
        roll_deg=float(pose[2]),
        box=float((reading.boxes_N4 - faces.boxes_PK4.flatten(0, 1)).abs().mean()),
        identity_top1=float(is_right.float().mean()),
        num_people=num_people,
        num_pictures=num_people * num_pictures,
    )


def worn_faces(faces: FaceSet, *, side: int) -> FaceSet:
    """Wear every picture of a set, always the same way, at the reader's own size."""
    pictures = resized(faces.pictures_PKHW3.flatten(0, 1), side=side)
    worn = wear(pictures, torch.Generator().manual_seed(0))
    return FaceSet(
        pictures_PKHW3=worn.movedim(1, -1).unflatten(0, faces.mouth_open_PK.shape),
        mouth_open_PK=faces.mouth_open_PK,
        pose_PK3=faces.pose_PK3,
        boxes_PK4=faces.boxes_PK4,
    )


@torch.no_grad()
def reconstruct_some(faces: FaceSet, vae: VAE) -> None:
    """Pass part of the pictures through a VAE, with noise on their latents, in place."""
    generator = torch.Generator().manual_seed(0)
    pictures = faces.pictures_PKHW3.flatten(0, 1)
    picked_V = (torch.rand(len(pictures), generator=generator) < RECONSTRUCTED_SHARE).nonzero()
    for index_V in tqdm(picked_V[:, 0].split(16), desc="reconstruct", unit="batch"):
        latents = vae.encode(pictures[index_V].float() / 255.0)
        amount = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        decoded = vae.decode(latents + amount * noise)
        pictures[index_V] = (decoded * 255.0).round().to(torch.uint8)


def mirror(
    pixels_N3SS: Tensor, pose_N3: Tensor, boxes_N4: Tensor, *, is_mirrored: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Swap left and right where wanted; yaw and roll change their sign."""
    pixels = torch.where(is_mirrored[:, None, None, None], pixels_N3SS.flip(3), pixels_N3SS)
    pose = torch.where(is_mirrored[:, None], pose_N3 * pose_N3.new_tensor([-1, 1, -1]), pose_N3)
    x0, y0, x1, y1 = boxes_N4.unbind(1)
    mirrored = torch.stack([1.0 - x1, y0, 1.0 - x0, y1], dim=1)
    return pixels, pose, torch.where(is_mirrored[:, None], mirrored, boxes_N4)


def reframe(
    pixels_N3SS: Tensor, boxes_N4: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Zoom and shift each picture a little; what lies outside is mirrored at the border."""
    chance = 2.0 * torch.rand(len(pixels_N3SS), 3, generator=generator) - 1.0
    zoom = 1.0 + GREATEST_ZOOM * chance[:, :1]
    shift = GREATEST_SHIFT * chance[:, 1:]
    # Picture coordinates run from 0 to 1 here and from -1 to 1 in grid_sample.
    theta = torch.zeros(len(pixels_N3SS), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom[:, 0]
    theta[:, :, 2] = 2.0 * shift
    grid = functional.affine_grid(theta, list(pixels_N3SS.shape), align_corners=False)
    moved = functional.grid_sample(
        pixels_N3SS, grid, padding_mode="reflection", align_corners=False
    )
    corners = (boxes_N4.unflatten(1, (2, 2)) - 0.5 - shift[:, None]) / zoom[:, None] + 0.5
    return moved, corners.flatten(1)


def contrast(identity_ND: Tensor, *, person: Tensor) -> Tensor:
    """NT-Xent: mean cross-entropy of finding a picture's partner, half a batch away."""
    num_pictures = len(identity_ND)
    likeness = identity_ND @ identity_ND.T / TEMPERATURE
    partner = torch.arange(num_pictures).roll(num_pictures // 2)
    is_partner = partner[:, None] == torch.arange(num_pictures)
    is_left_out = (person[:, None] == person) & ~is_partner
    return functional.cross_entropy(likeness.masked_fill(is_left_out, -1e4), partner)
