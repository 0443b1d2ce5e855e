"""The log: one JSON line a request, on standard output, written by a thread of its own.

The event loop only appends to a list. A reader of the log that stalls costs lines, which are counted, and never a
request.
"""

import logging
import math
import os
import select
import stat
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson

from gateway.core.outcome import Outcome
from gateway.ports import Clock

_FLUSH_EVERY: Final = 0.2
_MOST_WAITING: Final = 20_000
_SERVER_ERROR: Final = 500
_ENCODE: Final = msgspec.json.Encoder().encode


class LineLog:
    """Writes JSON lines to a file descriptor; `close` flushes."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor: Final = descriptor
        self._most_at_once: Final = _most_at_once(descriptor)
        self._clock: Final = clock
        self._waiting: list[bytes] = []
        self._dropped = 0
        self._second, self._date = -1, b""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def request(self, outcome: Outcome) -> None:
        """Write a request's line."""
        level = b"error" if outcome.status >= _SERVER_ERROR else b"info"
        self._append(level, b"request", _ENCODE(outcome))

    def fault(self, where: str, error: BaseException) -> None:
        """Write down a fault of ours that no request's line can carry."""
        self.write("error", "fault", {"where": where, "error": describe(error)})

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Append a line of other fields."""
        self._append(level.encode(), event.encode(), orjson.dumps(fields, default=str))

    def _append(self, level: bytes, event: bytes, fields: bytes) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        head = b'{"ts":"%b","level":"%b","event":"%b"' % (self._stamp(), level, event)
        self._waiting.append(head + b"," + fields[1:] if len(fields) > len(b"{}") else head + b"}")

    def _stamp(self) -> bytes:
        now = self._clock.now()
        if int(now) != self._second:
            self._second = int(now)
            self._date = datetime.fromtimestamp(self._second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        return b"%b.%03dZ" % (self._date, int(now % 1 * 1000))

    def close(self) -> None:
        """Write what waits and stop the thread; a stalled reader gets two seconds."""
        self._closing.set()
        self._thread.join(timeout=2)

    def _work(self) -> None:
        while True:
            last = self._closing.wait(_FLUSH_EVERY)
            self._flush()
            if last:
                return

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        if self._dropped:
            lines.append(orjson.dumps({"level": "warning", "event": "log", "dropped_lines": self._dropped}))
            self._dropped = 0
        try:
            for piece in self._pieces(lines):
                data = memoryview(piece)
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except OSError:
            # Nobody reads the log any more (a closed pipe): the requests go on.
            return

    def _pieces(self, lines: list[bytes]) -> Iterator[bytes]:
        """Whole lines, together as long as what other workers write at the same time does not come in between."""
        begin, size = 0, 0
        for index, line in enumerate(lines):
            size += len(line) + 1
            if size > self._most_at_once and index > begin:
                yield b"\n".join([*lines[begin:index], b""])
                begin, size = index, len(line) + 1
        yield b"\n".join([*lines[begin:], b""])


class Bridge(logging.Handler):
    """Brings what libraries log (uvicorn, asyncio) into the same stream, as lines of the same form."""

    def __init__(self, lines: LineLog) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = describe(record.exc_info[1])
        self._lines.write(record.levelname.lower(), "log", fields)


def _most_at_once(descriptor: int) -> float:
    """How many bytes one write takes as a whole: a file any, a pipe no more than this (pipe(7))."""
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # it was closed before we began: nobody reads this log
        is_file = False
    return math.inf if is_file else select.PIPE_BUF


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as its type and the lines of our code it came through: never its text, which may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "type": type(error).__name__,
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
