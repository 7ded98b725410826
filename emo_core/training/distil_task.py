"""Distillation as a task of the training loop: a few steps without guidance, as the full model.

The student takes its own few DDIM steps from a lesson's noise. At each of them it learns the
prediction whose one jump lands where the teacher, from the same noise, comes in many guided steps;
so it also learns to come back from its own errors. Only adapters (`lora.py`) on the backbone learn.

Source: progressive distillation (Salimans and Ho, arXiv 2202.00512, appendix G for the target),
guidance learned along with the steps (Meng et al., arXiv 2210.03142). Differently from both, all
of the student's steps are learned at once, from states that it reaches by itself instead of data
with noise, and the teacher runs its multistep solver without a break.

Letters: N images (clips * frames), C channels, h and w of latents, S steps of the student.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from ..checkpoints.emo import Networks
from ..errors import InputError
from ..models.vae import VAE
from ..pipeline import USUAL_SOLVER
from ..sampling.schedule import make_scheduler, set_steps
from ..video.stills import contact_sheet, save_image
from .feeding import Feeder, errors_of, film_rows
from .guessing import check_predicts_v
from .latents import NUM_HELD_OUT, LatentClips
from .lora import Adapter, adapted_twin, adapter_lora, merged
from .stages import Feed
from .teaching import Lesson, Teacher

SOLVER = "ddim"
"""A jump is a step of DDIM, which reads nothing but the present."""
SHOWN_CLIPS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a student is, and how much it is taught."""

    steps: int
    """That the student takes."""
    substeps: int
    """Steps of the teacher for one of them."""
    rank: int
    """Of its adapters."""
    num_lessons: int
    """Different lessons; the teacher makes each once, and the student goes through it again and
    again."""


def distil_feed(networks: Networks) -> Feed:
    """What a film is sampled with: reference and sound always, speed and motion frames mostly."""
    return Feed(
        is_temporal=True,
        is_audio_fed=True,
        is_speed_fed=True,
        num_frames=networks.config.sampling.clip_frames,
        reference_dropout=0.0,
        audio_dropout=0.0,
        mouth_weight=2.0,
    )


class DistilTask:
    """Teach adapters on a checkpoint's backbone to take few steps."""

    def __init__(
        self,
        networks: Networks,
        distillation: Distillation,
        data: LatentClips,
        *,
        vae: VAE,
        num_clips: int,
        folder: Path,
    ) -> None:
        check_predicts_v(networks.config.diffusion, training="distillation")
        if networks.config.sampling.solver == "lcm":
            raise InputError(
                "distillation: the checkpoint is sampled by lcm, which draws new noise at every "
                "step, so its result does not follow from what it begins with; it takes few steps "
                "already. Give a checkpoint of another solver."
            )
        self.networks = networks
        self.distillation = distillation
        self.vae = vae
        self.num_clips = num_clips
        self.student = adapted_twin(networks.backbone, rank=distillation.rank)
        self.network: nn.Module = nn.ModuleDict({**networks.parts(), "student": self.student})
        self.feed = distil_feed(networks)
        taught, held_out = data.split(NUM_HELD_OUT)
        self.teacher = self._teacher(taught, folder / "lessons")
        self.examiner = self._teacher(held_out, folder / "shown")

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return {
            f"{name}.{key}": parameter
            for name, module in self.network.named_modules()
            if isinstance(module, Adapter)
            for key, parameter in module.named_parameters()
        }

    def rate_factor(self, name: str) -> float:
        return 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        number = int(torch.randint(self.distillation.num_lessons, (1,), generator=generator))
        lesson = self.teacher.lesson(number, num_clips=self.num_clips)
        scalars, made = self.walk(lesson)
        return {**scalars, "end": (made - lesson.path_SNChw[-1]).square().mean()}

    def walk(self, lesson: Lesson) -> tuple[dict[str, Tensor], Tensor]:
        """Take the student's steps from a lesson's noise.

        Returns:
            Its mean errors over the steps (see `errors_of`), and the latents (N, C, h, w) that it
            arrives at, which no gradient goes through.
        """
        scheduler = make_scheduler(self.networks.config.diffusion, solver=SOLVER)
        set_steps(scheduler, self.distillation.steps)
        conditions = self.teacher.feeder.prepare(self.student, lesson.batch, lesson.reading)
        latents = lesson.noise_NChw
        errors = []
        for timestep, aim in zip(scheduler.timesteps, lesson.path_SNChw, strict=True):
            timestep = timestep.to(latents.device)
            prediction = self.student(latents, timestep, conditions).float()
            error = (prediction - jump_target(scheduler, latents, aim, timestep)).square()
            errors.append(errors_of(error, lesson.batch, mouth_weight=self.feed.mouth_weight))
            latents = scheduler.step(prediction.detach(), timestep, latents).prev_sample
        means = {name: sum(each[name] for each in errors) / len(errors) for name in errors[0]}
        return means, latents

    def show(self, folder: Path, name: str) -> None:
        """Have held-out clips made: reference, the teacher's frames, the student's; and measure."""
        lesson = self.examiner.lesson(0, num_clips=SHOWN_CLIPS)
        scalars, made = self.walk(lesson)
        result = lesson.path_SNChw[-1]
        rows = film_rows(lesson.batch, result, made)
        pictures = self.vae.decode(rows.cpu())
        save_image(contact_sheet(pictures, columns=9), folder / f"{name}.png")
        end = errors_of((made - result).square(), lesson.batch, mouth_weight=0.0)
        lines = [f"{key} per step {float(value):.5f}" for key, value in scalars.items()]
        lines += [f"result {key} {float(end[key]):.5f}" for key in ("plain", "mouth")]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def finished(self) -> Networks:
        """Return the student as a checkpoint's networks, which say how they are to be sampled."""
        sampling = dataclasses.replace(
            self.networks.config.sampling,
            steps=self.distillation.steps,
            guidance=1.0,
            solver=SOLVER,
        )
        return dataclasses.replace(
            self.networks,
            config=dataclasses.replace(self.networks.config, sampling=sampling),
            backbone=merged(self.networks.backbone, self.student),
        )

    def lora(self) -> dict[str, Tensor]:
        """Return the student's difference to the checkpoint as the tensors of a LoRA file."""
        return adapter_lora(self.student)

    def _teacher(self, data: LatentClips, folder: Path) -> Teacher:
        return Teacher(
            self.networks,
            Feeder(self.networks, self.feed, data),
            solver=self.networks.config.sampling.solver or USUAL_SOLVER,
            num_points=self.distillation.steps,
            substeps=self.distillation.substeps,
            folder=folder,
        )


def jump_target(
    scheduler: DDIMScheduler, latents_NChw: Tensor, aim_NChw: Tensor, timestep: Tensor
) -> Tensor:
    """Return the v-prediction under which one step of DDIM leads from `latents_NChw` to an aim.

    With signal a and spread s now, a' and s' after the step, it leads to
    (a a' + s s') x + (s' a - a' s) v.
    """
    after = int(timestep) - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha_bar = scheduler.alphas_cumprod[int(timestep)].double()
    alpha_bar_after = (
        scheduler.alphas_cumprod[after] if after >= 0 else scheduler.final_alpha_cumprod
    ).double()
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    signal_after, spread_after = alpha_bar_after.sqrt(), (1 - alpha_bar_after).sqrt()
    kept = float(signal * signal_after + spread * spread_after)
    moved = float(spread_after * signal - signal_after * spread)
    return (aim_NChw - kept * latents_NChw) / moved
