"""Times of several ways to do one thing, side by side."""

import statistics
import time
from collections.abc import Callable

ROUNDS = 7


def alternating(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each way, all ways in turn so that a busy machine slows them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
