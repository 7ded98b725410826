"""How often what is injected, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

PLAN = {
    "kill in a step": 10,
    "kill in an entry": 8,
    "kill before an entry's name": 5,
    "kill behind an entry": 5,
    "kill in the film": 6,
    "kill at the film's end": 2,
    "kill in a picture": 4,
    "kill by the clock": 8,
    "stop in a step": 8,
    "stop in an entry": 4,
    "stop in the film": 4,
    "stop by the clock": 6,
    "no memory in the model": 8,
    "no memory in the decoder but for less": 4,
    "no memory in the decoder": 4,
    "no memory in the encoder": 6,
    "no room for an entry": 5,
    "no room for the film": 4,
    "no room for what is shown": 3,
    "no room for a picture": 4,
    "no room for the sound": 3,
    "refused": 6,
    "entry cut short": 4,
    "entry with a changed bit": 6,
    "entry without content": 3,
    "entry gone": 4,
    "no file can be opened": 4,
    "room is made under two films": 2,
}
"""Injections of each kind where nothing more is asked for."""
NODES_PLAN = {
    "nodes: interrupted": 8,
    "nodes: no memory in the model": 8,
    "nodes: entry cut short": 3,
    "nodes: entry with a changed bit": 4,
    "nodes: entry gone": 3,
    "nodes: no room for latents": 4,
}
"""The same inside ComfyUI."""
COMMAND_LINE_KILLS = 3
"""Of `make faults`, times what is asked for: each is a start of Python."""
LEAST = 100


class Tally:
    """Counts over a test session."""

    def __init__(self, times: int) -> None:
        """Count; every kind is injected `times` as often as planned."""
        self.times = times
        self.injected: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def planned(self, kind: str) -> Iterator[Random]:
        """Yield a generator for each injection of a kind; the same ones in every session.

        Each must be followed by `count`.
        """
        number = (PLAN | NODES_PLAN)[kind] * self.times
        rng = Random(kind)
        for _ in range(number):
            yield rng
        assert self.injected[kind] == number, f"{self.injected[kind]} of {number} were counted"

    def count(self, kind: str, *, lost: int) -> None:
        """Note an injection, and how many finished clips were lost by it."""
        self.injected[kind] += 1
        self.lost[kind] += lost

    def table(self) -> str:
        width = max(map(len, self.injected), default=4)
        rows = [("kind", "injections", "clips lost")]
        rows += [(kind, *self._numbers(kind)) for kind in self.injected]
        rows += [("all", self.injected.total(), self.lost.total())]
        return "\n".join(f"{kind:{width}}  {done:>10}  {lost:>10}" for kind, done, lost in rows)

    def _numbers(self, kind: str) -> tuple[int, int]:
        return self.injected[kind], self.lost[kind]
