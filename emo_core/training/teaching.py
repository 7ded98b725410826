"""What a distilled network learns from: clips that the full model samples, seen on their way.

A lesson is a batch of clips, the noise that they begin with, and where the teacher stands at every
point of the student's grid on its way from that noise to its result. All that is random in a lesson
comes from its number, so that only the teacher's path, which takes long to make, is kept in a file.

Letters: S steps of the student, N images (clips * frames), C channels, h and w of latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..checkpoints.emo import Networks
from ..errors import InputError
from ..files.write import write_tensors
from ..sampling.denoising import denoise
from ..sampling.schedule import make_scheduler
from .batches import Batch
from .feeding import Feeder, Reading


@dataclass(frozen=True)
class Lesson:
    """Clips, and how the teacher makes them."""

    batch: Batch
    reading: Reading
    noise_NChw: Tensor
    path_SNChw: Tensor
    """Where the teacher stands after each of the student's steps; the last is its result."""


class Teacher:
    """Samples clips of the data under the guidance that the checkpoint itself is sampled under.

    Args:
        networks: only read.
        solver: one of `sampling.schedule.SOLVERS`.
        num_points: steps of the student, S.
        substeps: of the teacher, for each of the student's.
        folder: keeps the paths. It is made when the first is kept.
    """

    def __init__(
        self,
        networks: Networks,
        feeder: Feeder,
        *,
        solver: str,
        num_points: int,
        substeps: int,
        folder: Path,
    ) -> None:
        self.networks = networks
        self.feeder = feeder
        self.guidance = networks.config.sampling.guidance
        self.solver = solver
        self.num_points = num_points
        self.substeps = substeps
        self.folder = folder

    def lesson(self, number: int, *, num_clips: int) -> Lesson:
        """Return lesson number `number`; its path is made only once."""
        generator = torch.Generator().manual_seed(number)
        batch = self.feeder.draw(generator, num_clips=num_clips)
        reading = self.feeder.read(batch, generator, is_dropping=True)
        noise = torch.randn(batch.frames.flatten(0, 1).shape, generator=generator)
        noise = noise.to(batch.frames.device)
        path = self.folder / f"{number:06d}.safetensors"
        if not path.exists():
            self._keep(self.path(batch, reading, noise), noise, path)
        return Lesson(batch, reading, noise, self._kept(noise, path))

    @torch.no_grad()
    def path(self, batch: Batch, reading: Reading, noise_NChw: Tensor) -> Tensor:
        """Sample and return where the latents are after each of the student's steps."""
        predict = self.feeder.predictor(
            self.networks.backbone, batch, reading, guidance=self.guidance
        )
        points: list[Tensor] = []

        def on_step(step_index: int, latents: Tensor) -> None:
            if (step_index + 1) % self.substeps == 0:
                points.append(latents)

        denoise(
            lambda latents, timestep, _: predict(latents, timestep),
            noise_NChw,
            scheduler=make_scheduler(self.networks.config.diffusion, solver=self.solver),
            steps=self.substeps * self.num_points,
            device=noise_NChw.device,
            on_step=on_step,
        )
        return torch.stack(points)

    def _about(self, noise_NChw: Tensor) -> dict[str, str]:
        how = f"{self.solver}, {self.num_points} x {self.substeps} steps, guidance {self.guidance}"
        # The noise is drawn last, so it differs where anything was drawn in another way.
        return {"taught": f"{how}, noise {float(noise_NChw.double().sum()):.6f}"}

    def _keep(self, path_SNChw: Tensor, noise_NChw: Tensor, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"path": path_SNChw}, metadata=self._about(noise_NChw))

    def _kept(self, noise_NChw: Tensor, path: Path) -> Tensor:
        with safe_open(path, framework="pt") as file:
            if file.metadata() != self._about(noise_NChw):
                raise InputError(
                    f"{path}: was taught otherwise ({file.metadata()}), by other settings or of "
                    "other data. Give another folder."
                )
            return file.get_tensor("path").to(noise_NChw)
