"""The one training loop: whatever learns here learns through `fit`.

A `Task` says what the loss is and which parameters learn; the loop does the rest: mixed precision
by accelerate, gradient clipping, warm-up and cosine decay, a moving average of the weights,
checkpoints to resume from, a progress bar, and pictures to look at.

A run's folder holds `state.pt` (everything needed to resume, tensors only), `log.csv`, and
whatever the task shows in `samples/`. Several processes may learn as one (`together`); then the
first one writes all that, and its log tells of its own batches.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import InputError
from ..precision import is_half_slow
from .together import average_gradients, begin_alike

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What the loop needs to know of the thing that learns."""

    network: nn.Module
    """Holds every weight of the run, learning or not."""

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that the optimiser moves, by their name in `network`."""
        ...

    def rate_factor(self, name: str) -> float:
        """Factor on the learning rate of one of the learning parameters."""
        ...

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch by `generator` and return scalars; "loss" is the one that is minimised.

        `generator` lives on the CPU; a batch is where the network's weights are.
        """
        ...

    def show(self, folder: Path, name: str) -> None:
        """Write something to look at into `folder`, its file name beginning with `name`."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long and how fast."""

    steps: int
    learning_rate: float
    warmup_steps: int = 100
    final_learning_rate: float = 0.05
    """Where the cosine ends, as a share of `learning_rate`."""
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    max_gradient_norm: float = 1.0
    save_seconds: float = 300.0
    show_seconds: float = 600.0
    seed: int = 0
    is_bfloat16: bool = True
    """Whether networks compute in bfloat16 where that is safe, and not slower than float32."""


def fit(task: Task, settings: LoopSettings, folder: Path, *, resume: bool = False) -> bool:
    """Train `task` and leave its averaged weights in it.

    Args:
        folder: of the run. Must not hold an earlier run unless `resume` is set.
        resume: go on from `folder`'s last checkpoint, where there is one.

    Returns:
        Whether this is the process that keeps the result: the first of those that learn as one.

    Raises:
        InputError: the folder holds another run, or one of another shape.
    """
    state_path = folder / "state.pt"
    if state_path.exists() and not resume:
        raise InputError(
            f"{folder}: holds an earlier run. Give --resume to go on with it, or another folder."
        )
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator()
    # Not accelerate's own mixed precision: it allows only one kind in the life of a process.
    autocast = partial(
        torch.autocast,
        accelerator.device.type,
        torch.bfloat16,
        enabled=settings.is_bfloat16 and not is_half_slow(torch.bfloat16, accelerator.device),
    )
    named = task.learning_parameters()
    parameters = list(named.values())
    for parameter in task.network.parameters():
        parameter.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    task.network.to(accelerator.device)
    begin_alike(parameters, accelerator)
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        by_factor.setdefault(task.rate_factor(name), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": group, "factor": factor} for factor, group in sorted(by_factor.items())],
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
    )
    optimizer = accelerator.prepare(optimizer)
    average = EMAModel(parameters, decay=settings.ema_decay, use_ema_warmup=True, power=0.75)
    average.to(accelerator.device)

    first_step = 0
    if state_path.exists():
        first_step = _restore(state_path, named, optimizer, average)
        logger.info("resumed %s at step %d", folder, first_step)
    saved_at = shown_at = time.monotonic()
    progress = tqdm(
        range(first_step, settings.steps),
        initial=first_step,
        total=settings.steps,
        desc=folder.name,
        unit="step",
        mininterval=5.0,
        disable=not accelerator.is_main_process,
    )
    log = _Log(folder / "log.csv", every=20)
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate_at(step, settings)
        seed = settings.seed * 1_000_003 + step
        generator = torch.Generator().manual_seed(
            seed * accelerator.num_processes + accelerator.process_index
        )
        with autocast():
            scalars = task.loss(generator)
        accelerator.backward(scalars["loss"])
        average_gradients(parameters, accelerator)
        accelerator.clip_grad_norm_(parameters, settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        average.step(parameters)
        if not accelerator.is_main_process:
            continue
        mean = log.add(step, scalars)
        if mean is not None:
            progress.set_postfix({name: f"{value:.4f}" for name, value in mean.items()})
        now = time.monotonic()
        is_last = step + 1 == settings.steps
        if is_last or now - saved_at > settings.save_seconds:
            _store(state_path, step + 1, named, optimizer, average)
            saved_at = now
        if is_last or now - shown_at > settings.show_seconds:
            average.store(parameters)
            average.copy_to(parameters)
            with torch.no_grad(), autocast():
                task.show(folder / "samples", f"{step + 1:07d}")
            average.restore(parameters)
            shown_at = now
    average.copy_to(parameters)
    return accelerator.is_main_process


def show_correlations(path: Path, labels: Sequence[str], read_NS: Tensor, true_NS: Tensor) -> None:
    """Write how read and true signals correlate, a line for each of the S labels.

    Where the truth is NaN it is unknown and left out.
    """
    rows = []
    for column, label in enumerate(labels):
        known_N = ~true_NS[:, column].isnan()
        pair = torch.stack([read_NS[known_N, column], true_NS[known_N, column]])
        rows.append(f"{label} {float(torch.corrcoef(pair)[0, 1]):.3f}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    logger.info("%s, correlation of read and true: %s", path.stem, ", ".join(rows))


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine down to the final share."""
    warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    done = step / max(1, settings.steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    share = settings.final_learning_rate + (1.0 - settings.final_learning_rate) * cosine
    return settings.learning_rate * warmup * share


def _store(
    path: Path,
    step: int,
    named: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: EMAModel,
) -> None:
    partial_path = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "weights": {name: parameter.detach() for name, parameter in named.items()},
            "optimizer": optimizer.state_dict(),
            "average": dict(zip(named, average.shadow_params, strict=True)),
            "average_step": average.optimization_step,
        },
        partial_path,
    )
    partial_path.replace(path)


def _restore(
    path: Path,
    named: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: EMAModel,
) -> int:
    state = torch.load(path, weights_only=True, map_location="cpu")
    if set(state["weights"]) != set(named):
        raise InputError(
            f"{path}: holds {len(state['weights'])} learning tensors, this run has {len(named)}. "
            "It is of another stage or another model: give another folder."
        )
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    for shadow, value in zip(average.shadow_params, state["average"].values(), strict=True):
        shadow.copy_(value)
    average.optimization_step = state["average_step"]
    return state["step"]


class _Log:
    """Mean of the last scalars, written as CSV every few steps."""

    def __init__(self, path: Path, *, every: int) -> None:
        self.path = path
        self.every = every
        self.recent: list[dict[str, float]] = []

    def add(self, step: int, scalars: dict[str, Tensor]) -> dict[str, float] | None:
        """Return the means when they are due."""
        self.recent.append({name: float(value.detach()) for name, value in scalars.items()})
        if len(self.recent) < self.every:
            return None
        mean = {
            name: sum(row[name] for row in self.recent) / len(self.recent)
            for name in self.recent[0]
        }
        self.recent.clear()
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", *mean])
            writer.writerow([step + 1, *(f"{value:.6f}" for value in mean.values())])
        return mean
