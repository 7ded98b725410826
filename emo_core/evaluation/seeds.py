"""The results of several seeds -> one set of numbers, with how far the seeds lie apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .listening import Group
from .results import Results


@dataclass(frozen=True)
class Summary:
    """Means over the seeds. What no film shows is None, and seeds that lack it do not count."""

    by_seed: tuple[Results, ...]
    metrics: dict[str, float | None]
    """`lip_sync_worst_language` is the lowest of `lip_sync_by_language`, so of a mean as well."""
    spread: dict[str, float | None]
    """Greatest minus least of the seeds; 0 for a single one."""
    lip_sync_by_kind: dict[str, float]
    lip_sync_by_language: dict[str, float]
    language_spread: dict[str, float]


def summarise(by_seed: Sequence[Results]) -> Summary:
    """Sum up at least one seed."""
    names = list(by_seed[0].metrics)
    values = {name: [results.metrics[name] for results in by_seed] for name in names}
    languages = _by_group(by_seed, lambda results: results.listening.by_language)
    kinds = _by_group(by_seed, lambda results: results.listening.by_kind)
    by_language = {name: float(np.mean(found)) for name, found in languages.items()}
    metrics = {name: _mean(found) for name, found in values.items()}
    metrics["lip_sync_worst_language"] = min(by_language.values(), default=None)
    return Summary(
        by_seed=tuple(by_seed),
        metrics=metrics,
        spread={name: _spread(found) for name, found in values.items()},
        lip_sync_by_kind={name: float(np.mean(found)) for name, found in kinds.items()},
        lip_sync_by_language=by_language,
        language_spread={name: float(np.ptp(found)) for name, found in languages.items()},
    )


def _by_group(
    by_seed: Sequence[Results], groups_of: Callable[[Results], dict[str, Group]]
) -> dict[str, list[float]]:
    """Correlations of each kind or language, one per seed that has it."""
    found: dict[str, list[float]] = {}
    for results in by_seed:
        for name, group in groups_of(results).items():
            found.setdefault(name, []).append(group.correlation)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.ptp(known)) if known else None
