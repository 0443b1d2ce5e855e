"""How a server and the supervisor of several workers end."""

import os
import signal
import time
from multiprocessing import get_context
from types import SimpleNamespace

import uvicorn

from gateway.cli.draining import DrainingServer, Worker
from gateway.flights import Drain
from gateway.lifetime import DRAIN
from tests.fakes import FakeClock

LONG = 60.0


class Never:
    """A flight that does not land."""

    def done(self) -> bool:
        return False

    def under_way(self) -> list["Never"]:
        return [self]


def test_who_asks_for_the_end_twice_does_not_wait_for_answers() -> None:
    clock = FakeClock()
    drain = Drain(Never(), clock, 0.0, 290.0)
    server = DrainingServer(uvicorn.Config("gateway.app:create", timeout_graceful_shutdown=30))
    server.lifespan = SimpleNamespace(state={DRAIN: drain})

    server.handle_exit(signal.SIGTERM, None)
    clock.advance(4)
    assert server.config.timeout_graceful_shutdown == 30
    server.handle_exit(signal.SIGTERM, None)

    assert server.config.timeout_graceful_shutdown == 1
    assert drain.is_over()


def test_a_worker_that_dies_while_it_is_asked_whether_it_lives_does() -> None:
    """It may die before it can answer at all, as a SIGTERM ends one that is still starting."""
    worker = Worker(uvicorn.Config("gateway.app:create"), [])
    worker.process = get_context("spawn").Process(target=os.getpid)
    worker.process.start()
    asked = time.monotonic()

    assert not worker.is_alive(LONG)
    assert time.monotonic() - asked < LONG / 2
