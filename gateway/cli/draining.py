"""uvicorn, but a SIGTERM is not its end: while flights land it goes on listening, for hits and for probes.

uvicorn by itself closes the port at once, so that whoever asks meanwhile is refused.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait
from socket import socket
from types import FrameType
from typing import Any, Final, cast

from uvicorn import Config, Server
from uvicorn.supervisors import multiprocess

from gateway.adapters.hangup import has_terminal
from gateway.cli.listening import Listener
from gateway.flights import Drain
from gateway.lifetime import DRAIN

# So many seconds whoever waits for an answer still has where the end is asked for twice.
_HURRIED: Final = 1


class DrainingServer(Server):
    """A server that ends when the application's drain is over; a second signal ends it in seconds.

    It listens by itself: uvicorn's own way, through uvloop, leaves new connections waiting where many are open.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal."""
        drain = self._drain
        if drain is None:
            super().handle_exit(sig, frame)
            return
        if drain.draining:
            drain.hurry()
            if not drain.left:
                self.config.timeout_graceful_shutdown = _HURRIED
        drain.begin()
        if sig == signal.SIGINT:
            # Somebody sits at the terminal: Ctrl+C ends uvicorn as ever, and what is in flight is still waited for.
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the application, then listen."""
        if not sockets:
            raise ValueError("it listens on the sockets that it is given, and on no address of its own")
        await super().startup([])
        protocol_factory = partial(
            # What uvicorn calls it with, whatever its type says.
            cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        self._listeners = [Listener(at, protocol_factory, backlog=self.config.backlog) for at in sockets]

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Accept no more, and let the connections end."""
        for listener in self._listeners:
            await listener.aclose()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """End when there is nothing more to wait for."""
        if self._drain is not None and self._drain.is_over():
            self.should_exit = True
        return await super().on_tick(counter)

    @property
    def _drain(self) -> Drain | None:
        lifespan: Any = getattr(self, "lifespan", None)
        return None if lifespan is None else lifespan.state.get(DRAIN)


class Worker(multiprocess.Process):
    """One of several processes, with a server that drains."""

    def _healthcheck(self, timeout: float) -> bool | None:
        # uvicorn itself waits as long for one that has died meanwhile as for one that stands still, and is deaf to
        # signals till then: a SIGTERM that ends a worker which is still starting would take a minute.
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn in wait([self.parent_conn, self.process.sentinel], timeout):
                started: bool = self.parent_conn.recv()
                return started
        except (OSError, EOFError):
            pass
        return None

    @property
    def server(self) -> Server:
        """Its server."""
        if self._server is None:
            self._server = DrainingServer(config=self.config)
        return self._server


class Supervisor(multiprocess.Multiprocess):
    """uvicorn's supervisor, whose workers drain.

    It hands SIGHUP on to them, to reload; one that is about to start reads everything anew by itself.
    """

    had_terminal = False

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._told: set[int | None] = set()
        signal.signal(signal.SIGTERM, self._hand_on)

    def _hand_on(self, sig: int, _frame: FrameType | None) -> None:
        # At once, and the second one too: uvicorn looks for signals twice a second, and no more when it is ending.
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, sig)
                self._told.add(process.pid)
        self.signal_queue.append(sig)

    def terminate_all(self) -> None:
        """End the workers that were not told yet; a second signal would hurry them."""
        for process in self.processes:
            if process.pid not in self._told:
                process.terminate()

    def handle_hup(self) -> None:
        """Reload all workers; end with the terminal."""
        if self.had_terminal and not has_terminal():
            self.should_exit.set()
            return
        for process in self.processes:
            if process.pid is not None and process.is_ready():
                os.kill(process.pid, signal.SIGHUP)

    def run(self) -> None:
        """Run until a signal ends it and its workers."""
        # It names the class of its workers in three places, and takes none.
        multiprocess.Process = Worker  # type: ignore[misc]
        super().run()
