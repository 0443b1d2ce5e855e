"""Clients started together, for most of what each does is wait; a test waits for the one it is about."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.acceptance.clients.running import Client, Run, run
from tests.acceptance.programs import Served, Simulator, serving, settings

Start = Callable[[dict[str, Client], Served], dict[str, Future[Run]]]


@pytest.fixture(scope="session")
def keeping(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that keeps the pictures, so that their URLs begin as its own do."""
    with serving(settings(simulator.url, tmp_path_factory.mktemp("data"), media="local")) as running:
        yield running


@pytest.fixture(scope="session")
def start(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    folder = tmp_path_factory.mktemp("pictures")
    with ThreadPoolExecutor(4) as pool:
        yield lambda clients, gateway: {
            name: pool.submit(run, client, gateway, simulator, folder) for name, client in clients.items()
        }
