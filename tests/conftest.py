"""Makes `emo_core`, and the tests' own `tiny`, importable from any start folder.

The folders are appended, never inserted: inside a ComfyUI environment the name `nodes` must keep
meaning ComfyUI's own module.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
for folder in (TESTS.parent, TESTS / "emo_core"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmarks", action="store_true", help="also compare speeds (make bench)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks run only when asked for."""
    if collection_path == TESTS / "benchmarks" and not config.getoption("--benchmarks"):
        return True
    return None
