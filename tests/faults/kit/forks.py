"""Films made in forked processes, of a parent that has loaded everything once.

`python forks.py FOLDER` is the parent: every line of its input is a list of films with their
faults, which are made at the same time; every line of its output is a list of what became of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from faults import Fault, install
from studio import Studio, Wanted

KIT = Path(__file__).resolve().parent
TESTS = KIT.parents[1]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS / "emo_core", KIT))),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a film."""

    status: int
    """0 for a film, 1 after an exception, -9 after SIGKILL."""
    lines: list[str]

    @property
    def made(self) -> list[int]:
        """Clips that were begun, in order."""
        return [int(text) for text in self._of("made")]

    @property
    def kept(self) -> list[str]:
        """Clips that were safe, by their fingerprints."""
        return self._of("kept")

    @property
    def latents(self) -> str:
        """A digest of the film's."""
        return "".join(self._of("latents"))

    @property
    def error(self) -> str:
        """Kind and message of what was raised."""
        return "".join(self._of("raised"))

    def _of(self, kind: str) -> list[str]:
        words = [line.partition(" ") for line in self.lines]
        return [rest for first, _, rest in words if first == kind]


class Forks:
    """The parent, seen from a test."""

    def __init__(self, folder: Path) -> None:
        """Start it; `folder` holds the voice."""
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
            text=True,
        )

    def make(self, wanted: Wanted, fault: Fault | None = None) -> Outcome:
        return self.make_together([(wanted, fault or Fault())])[0]

    def make_together(self, films: list[tuple[Wanted, Fault]]) -> list[Outcome]:
        asked = [[dataclasses.asdict(part) for part in film] for film in films]
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return [Outcome(**fields) for fields in json.loads(self.process.stdout.readline())]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@dataclass
class _Child:
    pid: int
    pipe: int
    fault: Fault
    stop_at_s: float | None = None
    text: bytes = b""


def _fork(studio: Studio, wanted: Wanted, fault: Fault) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Child(pid, reading, fault)
    status = 1
    try:
        os.close(reading)
        _make(studio, wanted, fault, writing)
        status = 0
    finally:
        os._exit(status)  # Not back into the parent's loop.


def _make(studio: Studio, wanted: Wanted, fault: Fault, pipe: int) -> None:
    def report(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    signal.signal(signal.SIGINT, signal.default_int_handler)
    report("begun")
    try:
        with install(fault):
            studio.render(wanted, report)
    except BaseException as error:
        message = " ".join(str(error).split())
        report(f"raised {type(error).__name__}: {message}")
        raise


def _watch(children: list[_Child]) -> list[Outcome]:
    """Read what children report, and stop those whose time has come, until all have ended."""
    open_pipes = {child.pipe: child for child in children}
    while open_pipes:
        ready, _, _ = select.select(list(open_pipes), [], [], 0.001)
        for pipe in ready:
            child, data = open_pipes[pipe], os.read(pipe, 65536)
            if not data:
                os.close(pipe)
                del open_pipes[pipe]
            elif child.stop_at_s is None and child.fault.after_s is not None:
                child.stop_at_s = time.monotonic() + child.fault.after_s
            child.text += data
        for child in open_pipes.values():
            if child.stop_at_s is not None and time.monotonic() >= child.stop_at_s:
                os.kill(child.pid, child.fault.signal)
                child.stop_at_s = math.inf
    outcomes = []
    for child in children:
        _, status = os.waitpid(child.pid, 0)
        lines = child.text.decode().splitlines()
        outcomes.append(Outcome(os.waitstatus_to_exitcode(status), lines))
    return outcomes


def main() -> None:
    torch.set_num_threads(1)
    studio = Studio.open(Path(sys.argv[1]))
    for line in sys.stdin:
        films = [(Wanted(**wanted), Fault(**fault)) for wanted, fault in json.loads(line)]
        outcomes = _watch([_fork(studio, *film) for film in films])
        sys.stdout.write(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
