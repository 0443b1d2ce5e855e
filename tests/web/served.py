"""A gateway in this process: the real application behind a real server, with its log in a file."""

import gc
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import uvicorn
from prometheus_client import CollectorRegistry

from gateway.adapters.clock import SystemClock
from gateway.adapters.log import LineLog
from gateway.adapters.metrics import Metrics
from gateway.app import build
from gateway.settings import Settings

KEY = "key-of-the-web-tests"
PATH = "/v1/images/generations"


@dataclass
class Web:
    """A client of it, and its log once it has ended."""

    client: httpx.Client
    log_file: Path

    def ask(self, **body: object) -> httpx.Response:
        return self.client.post(PATH, json=body)

    def log(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.log_file.read_bytes().splitlines()]


@contextmanager
def served(settings: Settings, log_file: Path) -> Iterator[Web]:
    """Serve these settings on a free port; what the application changes in the process is put back."""
    if settings.data_dir == Settings().data_dir:
        settings = msgspec.structs.replace(settings, data_dir=str(log_file.parent / "data"))
    root = logging.getLogger()
    handlers, level, thresholds = root.handlers, root.level, gc.get_threshold()
    with log_file.open("wb") as file, socket.create_server(("127.0.0.1", 0)) as listening:
        app = build(settings, Metrics(CollectorRegistry()), LineLog(file.fileno(), SystemClock()))
        server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, server_header=False))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        host, port = listening.getsockname()
        headers = {"authorization": f"Bearer {KEY}"}
        try:
            with httpx.Client(base_url=f"http://{host}:{port}", headers=headers, timeout=60, trust_env=False) as client:
                yield Web(client, log_file)
        finally:
            server.should_exit = True
            thread.join()
            root.handlers, root.level = handlers, level
            gc.set_threshold(*thresholds)
            gc.unfreeze()


def settings_for(upstream: str, redis: str, **more: object) -> Settings:
    """The settings of a gateway in front of a simulator."""
    plain = Settings(keys=f"web={KEY}", upstream_url=upstream, upstream_keys=("sk-canary-upstream",), redis_url=redis)
    return msgspec.structs.replace(plain, **more)
