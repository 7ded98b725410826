"""Makes `emo_core`, and the tests' own `tiny` and `tally`, importable from any start folder.

The folders are appended, never inserted: inside a ComfyUI environment the name `nodes` must keep
meaning ComfyUI's own module.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
for folder in (TESTS.parent, TESTS / "emo_core", TESTS / "faults" / "kit"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from tally import Tally  # noqa: E402, only now it can be found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmarks", action="store_true", help="also compare speeds (make bench)")
    parser.addoption(
        "--faults",
        type=int,
        default=1,
        metavar="TIMES",
        help="inject faults so many times as often (make faults)",
    )


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts what is injected; with -s, the table is shown at the end."""
    tally = Tally(request.config.getoption("--faults"))
    yield tally
    sys.stdout.write(f"\n{tally.table()}\n")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Side by side run files, but those of tests/faults in a row: they count together."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return "tests/faults" if scope.startswith("tests/faults/") else scope

    return Scheduling(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks run only when asked for, faults only where processes can be forked."""
    if collection_path == TESTS / "benchmarks" and not config.getoption("--benchmarks"):
        return True
    if collection_path == TESTS / "faults" and not hasattr(os, "fork"):
        return True
    return None
