"""A receiver of webhooks, on a thread of its own: it writes down what comes and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue

from tests.acceptance.programs import PATIENCE


@dataclass(frozen=True)
class Message:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hooks:
    """Where it listens, what came, and the statuses that are still to be answered before it takes everything."""

    host: str = ""
    statuses: list[int] = field(default_factory=list)
    came: SimpleQueue[Message] = field(default_factory=SimpleQueue)

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?of=tests"

    def wait(self) -> Message:
        """The next message."""
        return self.came.get(timeout=PATIENCE)


@contextmanager
def receiving(*statuses: int) -> Iterator[Hooks]:
    """A receiver on a free port; a redirect leads to itself."""
    hooks = Hooks(statuses=list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = hooks.statuses.pop(0) if hooks.statuses else 204
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()
            hooks.came.put(Message(self.path, headers, body))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library names it
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hooks.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hooks
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
