"""What the tests of evaluation share."""

import pytest

from emo_core.evaluation.reader import LoadedReader, load_reader


@pytest.fixture(scope="session")
def loaded_reader() -> LoadedReader:
    return load_reader()
