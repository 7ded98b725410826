"""Teach the demo's audio encoder to hear mouth shapes.

EMO takes a wav2vec model that others trained on speech. The demo has none of that size, so its
small front end is trained first and by itself: from the generated voices' sound to their true
articulation. The linear layer that reads the shapes off is thrown away afterwards; what the
backbone sees are the layers' features.

Letters: B utterances, N samples, T steps of 20 ms, A articulation channels.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from ..audio.encoder import normalized
from ..audio.front_end import SAMPLE_RATE_HZ, STEP_SAMPLES, FrontEnd
from ..errors import InputError
from ..synthetic.voices import ARTICULATION_CHANNELS, articulation
from .generate import ENCODER_VOICES, SOUND_SECONDS, clip_utterance
from .loop import show_correlations

CROP_STEPS = 100
CHANNEL_WEIGHTS = (2.0, 1.0, 1.0, 0.5, 0.5)
LARGEST_STRETCH = 0.15
"""Of lessons, in natural logarithms: slower and deeper voices, quicker and higher ones."""


class FrontEndTask:
    """Hear the articulation of generated voices such as the clips': plain, whispered, shouted,
    sung and rap.

    Args:
        front_end: a new encoder, or one to go on with.

    Raises:
        InputError: more voices are asked for than are kept from clips.
    """

    def __init__(
        self, front_end: FrontEnd, *, num_voices: int, batch: int, num_held_out: int = 64
    ) -> None:
        if not 1 <= num_voices <= len(ENCODER_VOICES):
            raise InputError(
                f"audio encoder: {num_voices} voices; expected 1 to {len(ENCODER_VOICES)}, which "
                "no clip has. Give another number."
            )
        self.front_end = front_end
        self.reader = nn.Linear(front_end.config.width, len(ARTICULATION_CHANNELS))
        self.network: nn.Module = nn.ModuleDict(
            {"front_end": self.front_end, "reader": self.reader}
        )
        self.batch = batch
        self.sound_BN, self.shapes_BTA = _voices("train", ENCODER_VOICES[:num_voices])
        self.held_out = _voices("validation", range(num_held_out))

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def rate_factor(self, name: str) -> float:
        return 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.sound_BN), (self.batch,), generator=generator)
        num_steps = self.shapes_BTA.shape[1]
        sounds, shapes = [], []
        for index in pick.tolist():
            chance = float(torch.empty(1).uniform_(-1.0, 1.0, generator=generator))
            length = round(CROP_STEPS * math.exp(LARGEST_STRETCH * chance))
            first = int(torch.randint(num_steps - length + 1, (1,), generator=generator))
            sound, shape = stretched(
                self.sound_BN[index, first * STEP_SAMPLES : (first + length) * STEP_SAMPLES],
                self.shapes_BTA[index, first : first + length],
                num_steps=CROP_STEPS,
            )
            gain = 10.0 ** float(torch.empty(1).uniform_(-0.4, 0.4, generator=generator))
            hiss = 10.0 ** float(torch.empty(1).uniform_(-3.0, -0.8, generator=generator))
            noise = torch.randn(sound.shape, generator=generator)
            sounds.append(gain * (sound + hiss * noise))
            shapes.append(shape)
        device = next(self.network.parameters()).device
        error = self._read(torch.stack(sounds).to(device)) - torch.stack(shapes).to(device)
        weights = torch.tensor(CHANNEL_WEIGHTS, device=device)
        loss = ((error.square() + 0.1 * error.abs()) * weights).mean()
        return {"loss": loss, "mouth_open": error[..., 0].abs().mean()}

    def show(self, folder: Path, name: str) -> None:
        """Write the correlation of heard and true shapes on voices of the validation split."""
        sound_BN, shapes_BTA = self.held_out
        heard = self._read(sound_BN.to(next(self.network.parameters()).device)).cpu()
        show_correlations(
            folder / f"{name}.txt",
            ARTICULATION_CHANNELS,
            heard.flatten(0, 1),
            shapes_BTA.flatten(0, 1),
        )

    def _read(self, sound_BN: Tensor) -> Tensor:
        return self.reader(self.front_end(sound_BN)[:, :, -1]).float()


def stretched(sound_N: Tensor, shapes_TA: Tensor, *, num_steps: int) -> tuple[Tensor, Tensor]:
    """Return sound and shapes that take another number of steps, as a tape at another speed."""
    sound = interpolate(sound_N[None, None], num_steps * STEP_SAMPLES, mode="linear")[0, 0]
    return sound, interpolate(shapes_TA.T[None], num_steps, mode="linear")[0].T


def _voices(split: str, numbers: range) -> tuple[Tensor, Tensor]:
    """Return sound (B, N) at 16 kHz, normalised as at inference, and shapes (B, T, A)."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(partial(_voice, split), numbers, chunksize=8)
        voices = list(tqdm(made, total=len(numbers), desc=f"{split} voices", unit="voice"))
    sounds, shapes = (
        torch.stack([torch.from_numpy(v) for v in kind]) for kind in zip(*voices, strict=True)
    )
    return sounds, shapes


def _voice(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    torch.set_num_threads(1)
    utterance = clip_utterance(split, index)
    num_steps = round(SOUND_SECONDS * SAMPLE_RATE_HZ) // STEP_SAMPLES
    sound = torchaudio.functional.resample(
        torch.from_numpy(utterance.samples), utterance.sample_rate_hz, SAMPLE_RATE_HZ
    )
    shapes = articulation(utterance, fps=SAMPLE_RATE_HZ / STEP_SAMPLES, num_frames=num_steps)
    return normalized(sound[: num_steps * STEP_SAMPLES]).numpy(), shapes
