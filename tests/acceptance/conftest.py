"""One simulator and one gateway, shared by the tests that tell their requests apart by the prompt."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.programs import Served, Simulator, serving, settings, simulating


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with simulating() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    env = settings(simulator.url, tmp_path_factory.mktemp("data"), upstream_timeout="5")
    with serving(env) as running:
        yield running


@pytest.fixture
def limited(simulator: Simulator, tmp_path: Path) -> Iterator[Served]:
    """A gateway of its own, for what makes 302 busy: its key is left alone for seconds after that."""
    with serving(settings(simulator.url, tmp_path)) as running:
        yield running


@pytest.fixture(scope="session")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose upstream refuses every connection: the port is taken, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        with serving(settings(f"http://{host}:{port}", tmp_path_factory.mktemp("data"))) as running:
            yield running
