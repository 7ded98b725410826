"""One parent of forked films for all tests here, and the film as it should be."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaign import Campaign, Undisturbed
from forks import Forks
from studio import save_voice
from tally import Tally


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    folder = tmp_path_factory.mktemp("studio")
    save_voice(folder)
    forks = Forks(folder)
    yield forks
    forks.stop()


@pytest.fixture(scope="session")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed.make(forks, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def begin(
    forks: Forks, undisturbed: Undisturbed, tally: Tally, tmp_path: Path
) -> Callable[[str], Campaign]:
    return lambda kind: Campaign(kind, forks, undisturbed, tally, tmp_path)
