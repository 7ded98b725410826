"""Two processes that learn as one, against one process that reads both their batches."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from emo_core.training.loop import LoopSettings, fit

ROOT = Path(__file__).parents[3]
SETTINGS = LoopSettings(
    steps=6,
    learning_rate=0.05,
    warmup_steps=1,
    ema_decay=0.5,
    is_bfloat16=False,
    seed=3,
    max_gradient_norm=2.0,
)


class LineTask:
    """Fit a line to points that are drawn anew in each step, in batches of one or of two halves."""

    def __init__(self, *, num_halves: int) -> None:
        self.network: nn.Module = nn.Linear(3, 1)
        self.seldom = nn.Parameter(torch.ones(2))
        self.num_halves = num_halves
        self.shown: list[str] = []

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters()) | {"seldom": self.seldom}

    def rate_factor(self, name: str) -> float:
        return 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        seed = generator.initial_seed()
        losses = []
        for half in range(self.num_halves):
            own = torch.Generator().manual_seed(self.num_halves * seed + half)
            points = torch.randn(8, 3, generator=own)
            wanted = points.sum(dim=1, keepdim=True)
            loss = (self.network(points) - wanted).square().mean()
            if (self.num_halves * seed + half) % 2 == 0:  # The other process does not use it.
                loss = loss + self.seldom.square().sum()
            losses.append(loss)
        return {"loss": torch.stack(losses).mean()}

    def show(self, folder: Path, name: str) -> None:
        self.shown.append(name)


def learn(folder: Path) -> None:
    """What each process does: begin by a chance of its own, learn, say how it ended."""
    rank = int(os.environ["RANK"])
    torch.manual_seed(7 if rank == 0 else 8)
    task = LineTask(num_halves=1)
    keeps = fit(task, SETTINGS, folder / "run")
    said = {"keeps": keeps, "shown": task.shown, "weights": task.learning_parameters()}
    torch.save(said, folder / f"{rank}.pt")


def test_two_processes_learn_as_one_that_reads_both_their_batches(tmp_path: Path) -> None:
    torch.manual_seed(7)
    alone = LineTask(num_halves=2)
    assert fit(alone, SETTINGS, tmp_path / "alone")
    at_first = {name: value.detach().clone() for name, value in alone.learning_parameters().items()}

    environment = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *command, __file__, str(tmp_path)],
        check=True,
        cwd=ROOT,
        timeout=240,
        env=os.environ | environment,
    )
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert (first["keeps"], second["keeps"]) == (True, False)
    assert len(first["shown"]) == 1 and not second["shown"]
    for name, value in at_first.items():
        torch.testing.assert_close(first["weights"][name], value)
        torch.testing.assert_close(second["weights"][name], value)
    assert (tmp_path / "run" / "state.pt").exists()


if __name__ == "__main__":
    learn(Path(sys.argv[1]))
