"""What the tests of clients share: a gateway that keeps pictures, and a way to start them."""

from collections.abc import Iterator

import pytest

from tests.acceptance.clients.running import Start, starting
from tests.acceptance.programs import Served, Simulator, serving, settings


@pytest.fixture(scope="session")
def keeping(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that keeps the pictures, so that their URLs begin as its own do."""
    with serving(settings(simulator.url, tmp_path_factory.mktemp("data"), media="local")) as running:
        yield running


@pytest.fixture(scope="session")
def start(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(simulator, tmp_path_factory.mktemp("pictures")) as start:
        yield start
