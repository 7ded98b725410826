"""The kits' checkpoints as networks, loaded once."""

from collections.abc import Callable
from functools import cache

import pytest
from parity_kit import CHECKPOINTS, kit

from emo_core.checkpoints.emo import Networks
from emo_core.checkpoints.load import load_networks


@pytest.fixture(scope="session")
def kit_networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Networks]:
    """Name of a kit -> its networks, through the loader that users take."""

    @cache
    def networks(name: str) -> Networks:
        folder = tmp_path_factory.mktemp(name)
        kit(name).save(folder, *CHECKPOINTS[name])
        return load_networks(folder)

    return networks
