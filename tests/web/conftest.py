"""A simulator, a Valkey and a gateway that the web tests share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.embedded import EmbeddedValkey
from tests.acceptance.programs import Simulator, simulating
from tests.web.served import Web, served, settings_for


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with simulating() as running:
        yield running


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = EmbeddedValkey(Path(folder), lambda: None)
        valkey.start()
        yield valkey.url
        valkey.stop()


@pytest.fixture(scope="module")
def web(simulator: Simulator, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    log_file = tmp_path_factory.mktemp("log") / "lines"
    with served(settings_for(simulator.url, redis_url, upstream_timeout=5.0), log_file) as running:
        yield running
