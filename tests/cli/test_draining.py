"""The supervisor of several workers."""

import os
import time
from multiprocessing import get_context

import uvicorn

from gateway.cli.draining import Worker

LONG = 60.0


def test_a_worker_that_dies_while_it_is_asked_whether_it_lives_does() -> None:
    """It may die before it can answer at all, as a SIGTERM ends one that is still starting."""
    worker = Worker(uvicorn.Config("gateway.app:create"), [])
    worker.process = get_context("spawn").Process(target=os.getpid)
    worker.process.start()
    asked = time.monotonic()

    assert not worker.is_alive(LONG)
    assert time.monotonic() - asked < LONG / 2
