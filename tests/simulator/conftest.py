"""What the simulator's tests share: the real catalogue, and a simulator on a real port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
import uvicorn

from gateway.core.catalogue import Catalogue, load
from gateway.simulator import Options, build
from tests.simulator.asking import Serve


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    path = Path(__file__).parents[2] / "config" / "models.toml"
    return load([(path.name, path.read_text("utf-8"))], "dall-e-3-t2i")


@pytest.fixture
def serve(catalogue: Catalogue) -> Iterator[Serve]:
    """Start simulators and hand out clients of them; each is stopped when the test ends."""
    opened = []

    def start(options: Options | None = None, http: Literal["httptools", "h11"] = "httptools") -> httpx.Client:
        context = _running(options or Options(), catalogue, http)
        opened.append(context)
        return context.__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def plain(catalogue: Catalogue) -> Iterator[httpx.Client]:
    """A client of a simulator with no options, shared by the tests that leave nothing behind."""
    with _running(Options(), catalogue, "httptools") as client:
        yield client


@contextmanager
def _running(options: Options, catalogue: Catalogue, http: Literal["httptools", "h11"]) -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # it listens at once, so nobody has to wait for uvicorn
        config = uvicorn.Config(build(options, catalogue), http=http, log_config=None, timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        host, port = listening.getsockname()
        headers = {"authorization": "Bearer sk-of-the-tests"}
        try:
            with httpx.Client(base_url=f"http://{host}:{port}", headers=headers, timeout=10, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
