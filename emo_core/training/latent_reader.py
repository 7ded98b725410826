"""A small network that reads mouth, expression, head speed and likeness off latents, and so tells a
film's maker what its mouths say, how fast its heads turn and whether they are still one person's.

What squared errors of latents cannot ask for where the head's way is anyone's guess: that the mouth
is open when the voice opens it, wherever it is in the picture, that the head is as fast as was
asked, whichever way it goes, and that it is the reference's. The reader is taught on true frames
only, varied a little, and rests while it teaches. It is another network than the reader of pictures
that evaluation measures with, which takes no part in training.

Source: a resting expert that judges lips, as in Wav2Lip (Prajwal et al., arXiv 2008.10010); there
it says whether sound and lips agree, here what the lips do, since generated data know it. Likeness
is learned as in CLIP (Radford et al., arXiv 2103.00020): of many pictures, find the one that shows
the same person.

Letters: N images, P pictures that belong together, C channels, h and w of latents, S signals, D
numbers of a likeness.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ..face.region import boxes_to_mask
from ..files.write import write_tensors
from ..synthetic.articulation import ARTICULATION_CHANNELS
from .handover import load_made
from .latents import FACE_SIGNALS, NUM_HELD_OUT, LatentClips
from .loop import show_correlations

WIDTHS = (64, 96, 128, 128)
STRIDES = (1, 2, 1, 1)
NUM_LOOKS = 8
"""Places that are looked at."""
DROPOUT = 0.2
NUM_GROUPS = 8
NUM_MOUTH_SIGNALS = len(ARTICULATION_CHANNELS)
HIGHEST_NOISE = 0.5
"""Standard deviation of noise on what faces are learned from; the least is none."""
HIGHEST_PAIR_NOISE = 0.2
"""The same for pairs, whose frames differ by little."""
SLOW_DEG_S = 5.0
"""Below it differences of head speed count as they are, above it by their ratio."""
FARTHEST_SHIFT = 2
"""Rows and columns that a lesson is moved by at the most."""
GAINS = (0.8, 1.2)
OFFSET = 0.3
"""Of whole channels of a lesson: skins and lights that the people do not have."""
LIKENESS_SIZE = 32
"""D."""
TEMPERATURE = 0.1
"""Cosines are divided by it, so that strangers have to be well apart."""
LIKENESS_WEIGHT = 0.2
"""Of its loss beside squared errors of signals, whose weights it does not share."""
LIKENESS_GROWTH = 0.1
"""How much the boxes of faces are widened, in fractions of their size."""
SIGNAL_WEIGHTS = torch.tensor([2.0, 1.0, 0.25, 0.5, 0.5, 1.0, 1.0, 0.25, 0.1, 0.1, 0.25])
"""Of the squared errors, in the order of FACE_SIGNALS. Roundness is read worst: with a correlation
of 0.3 on unseen people."""


class Look(nn.Module):
    """Latents (N, C, h, w) -> signals (N, S).

    It looks at a few places, wherever they are in the picture, and reads what is there. Where
    things are it is not told, so that it learns its own people less by heart.
    """

    def __init__(self, channels: int, num_signals: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            layers += [
                nn.Conv2d(before, width, 3, stride=stride, padding=1),
                nn.GroupNorm(NUM_GROUPS, width),
                nn.SiLU(),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.look = nn.Conv2d(before, NUM_LOOKS, 1)
        self.dropout = nn.Dropout(DROPOUT)
        self.signals = nn.Linear(NUM_LOOKS * before, num_signals)

    def forward(self, latents_NChw: Tensor) -> Tensor:
        features = self.layers(latents_NChw)
        weights = self.look(features).flatten(2).softmax(dim=-1)
        seen = weights @ features.flatten(2).transpose(1, 2)
        return self.signals(self.dropout(seen.flatten(1)))


class LatentReader(nn.Module):
    """Reads single frames, pairs of frames that follow each other, and who it is."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.face = Look(latent_channels, len(FACE_SIGNALS))
        self.pair = Look(2 * latent_channels, 1)
        self.person = Look(latent_channels, LIKENESS_SIZE)

    def read_face(self, latents_NChw: Tensor) -> Tensor:
        """Return FACE_SIGNALS (N, S)."""
        return self.face(latents_NChw)

    def read_speed(self, latents_NChw: Tensor, before_NChw: Tensor) -> Tensor:
        """Return the `speed_signal` (N,) of frames and those before them."""
        change = latents_NChw - before_NChw
        return self.pair(torch.cat([latents_NChw, change], dim=1))[:, 0]

    def read_likeness(self, latents_NChw: Tensor, region_N1hw: Tensor) -> Tensor:
        """Return what tells a person from others (N, D), of length 1: the product of two pictures'
        is near 1 where they show the same.

        Args:
            region_N1hw: 1 where faces are looked for.
        """
        return normalize(self.person(region_N1hw * latents_NChw), dim=-1)


def speed_signal(speed_deg_s: Tensor) -> Tensor:
    """Return head speeds so that differences count alike to the eye: ln(1 + speed / SLOW_DEG_S)."""
    return (speed_deg_s / SLOW_DEG_S).log1p()


def save_latent_reader(reader: LatentReader, path: Path) -> None:
    """Write a reader."""
    write_tensors(path, reader.state_dict())


def load_latent_reader(path: Path, *, latent_channels: int) -> LatentReader:
    """Read a reader, at rest.

    Raises:
        InputError: there is no such file, or it is of another network.
    """
    reader = LatentReader(latent_channels)
    load_made(reader, path, made_by="train latent-reader")
    return reader.eval().requires_grad_(False)


def signal_errors(read_NS: Tensor, true_NS: Tensor) -> Tensor:
    """Squared errors (N, S), weighted; 0 where the truth is unknown."""
    true_NS = torch.where(true_NS.isnan(), read_NS.detach(), true_NS)
    return SIGNAL_WEIGHTS.to(read_NS) * (read_NS - true_NS).square()


def varied(latents_NPChw: Tensor, generator: torch.Generator, *, highest_noise: float) -> Tensor:
    """Return latents that show the same faces: moved, in other colours, noised.

    Pictures that belong together are varied alike, but for the noise itself.
    """
    num, num_pictures, channels, height, width = latents_NPChw.shape
    up, left = torch.randint(2 * FARTHEST_SHIFT + 1, (2,), generator=generator).tolist()
    flat = latents_NPChw.flatten(1, 2)
    wide = nn.functional.pad(flat, (FARTHEST_SHIFT,) * 4, mode="replicate")
    moved = wide[..., up : up + height, left : left + width].unflatten(1, (num_pictures, channels))
    chance = torch.rand(3, num, 1, channels, 1, 1, generator=generator)
    gain = GAINS[0] + (GAINS[1] - GAINS[0]) * chance[0]
    offset = OFFSET * (2.0 * chance[1] - 1.0)
    noise = torch.randn(latents_NPChw.shape, generator=generator)
    return gain * moved + offset + highest_noise * chance[2, :, :, :1] * noise


def face_region(boxes_NF4: Tensor, like_NChw: Tensor) -> Tensor:
    """Return where the faces of some films are, (N, 1, h, w) of 0 and 1."""
    height, width = like_NChw.shape[-2:]
    return boxes_to_mask(boxes_NF4, height=height, width=width, growth=LIKENESS_GROWTH)[:, None]


def stranger_loss(one_ND: Tensor, other_ND: Tensor, person_N: Tensor) -> Tensor:
    """Return how badly each picture finds its person's other one among all other pictures.

    Args:
        person_N: numbers of the people; who is there twice is no stranger to himself.
    """
    closeness_NN = one_ND @ other_ND.T / TEMPERATURE
    is_same_NN = person_N[:, None] == person_N
    is_same_NN.fill_diagonal_(False)
    closeness_NN = closeness_NN.masked_fill(is_same_NN, -torch.inf)
    own_N = torch.arange(len(person_N), device=person_N.device)
    return 0.5 * (cross_entropy(closeness_NN, own_N) + cross_entropy(closeness_NN.T, own_N))


class LatentReaderTask:
    """Read single frames and pairs of clips, and tell people apart."""

    def __init__(self, data: LatentClips, *, batch: int) -> None:
        self.taught, self.held_out = data.split(NUM_HELD_OUT)
        self.reader = LatentReader(data.latents.shape[2])
        self.network: nn.Module = self.reader
        self.batch = batch

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def rate_factor(self, name: str) -> float:
        return 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        data = self.taught
        device = next(self.network.parameters()).device
        num_clips, num_frames = data.latents.shape[:2]
        place = torch.randint(num_clips * (num_frames - 1), (self.batch,), generator=generator)
        clip, frame = place // (num_frames - 1), place % (num_frames - 1) + 1
        after, before = data.latents[clip, frame].float(), data.latents[clip, frame - 1].float()
        faces = varied(after[:, None], generator, highest_noise=HIGHEST_NOISE)[:, 0].to(device)
        pairs = torch.stack([after, before], dim=1)
        pairs = varied(pairs, generator, highest_noise=HIGHEST_PAIR_NOISE).to(device)
        face_errors = signal_errors(
            self.reader.read_face(faces), data.face_signals[clip, frame].to(device)
        )
        true_speed = speed_signal(data.speed_deg_s[clip, frame]).to(device)
        speed_errors = (self.reader.read_speed(*pairs.unbind(1)) - true_speed).square()
        other = data.latents[
            clip, torch.randint(num_frames, (self.batch,), generator=generator)
        ].float()
        others = varied(other[:, None], generator, highest_noise=HIGHEST_NOISE)[:, 0].to(device)
        region = face_region(data.face_boxes[clip], faces).to(device)
        of_likeness = stranger_loss(
            self.reader.read_likeness(faces, region),
            self.reader.read_likeness(others, region),
            clip.to(device),
        )
        return {
            "loss": face_errors.mean() + speed_errors.mean() + LIKENESS_WEIGHT * of_likeness,
            "mouth_open": face_errors[:, 0].mean(),
            "head_speed": speed_errors.mean(),
            "likeness": of_likeness,
        }

    def show(self, folder: Path, name: str) -> None:
        """Write the correlation of read and true signals on held-out clips, and the share of last
        frames that find their first among all."""
        device = next(self.network.parameters()).device
        latents = self.held_out.latents.float().to(device)
        after, before = latents[:, 1:].flatten(0, 1), latents[:, :-1].flatten(0, 1)
        self.reader.eval()
        speeds = self.reader.read_speed(after, before)[:, None]
        read = torch.cat([self.reader.read_face(after), speeds], dim=1).cpu()
        region = face_region(self.held_out.face_boxes.to(device), latents[:, 0])
        first, last = (self.reader.read_likeness(latents[:, i], region) for i in (0, -1))
        is_found = (last @ first.T).argmax(dim=1) == torch.arange(len(first), device=device)
        self.reader.train()
        signals = self.held_out.face_signals[:, 1:].flatten(0, 1)
        true_speeds = speed_signal(self.held_out.speed_deg_s[:, 1:]).flatten()[:, None]
        true = torch.cat([signals, true_speeds], dim=1)
        path = folder / f"{name}.txt"
        show_correlations(path, (*FACE_SIGNALS, "head_speed"), read, true)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"found {float(is_found.float().mean()):.3f}\n")
