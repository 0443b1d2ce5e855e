"""The log: one JSON line an event, and whoever does not read it holds up nobody."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.log import Bridge, LineLog, describe
from gateway.core.outcome import Outcome
from tests.fakes import FakeClock

SECRET = "the prompt of a caller"


def _fail() -> None:
    raise ValueError(SECRET)


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def logged(path: Path, write: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever writes
    with path.open("wb") as file:
        log = LineLog(file.fileno(), FakeClock())
        write(log)
        log.close()
    return lines(path)


def test_a_request_is_a_line(tmp_path: Path) -> None:
    outcome = Outcome(request_id="req_1", method="POST")
    outcome.endpoint, outcome.status, outcome.code, outcome.ms = "generations", 200, "ok", 1.5

    seen = logged(tmp_path / "log", lambda log: log.request(outcome))

    assert seen == [
        {
            "ts": "2027-01-15T08:00:00.000Z",
            "level": "info",
            "event": "request",
            "request_id": "req_1",
            "method": "POST",
            "endpoint": "generations",
            "status": 200,
            "code": "ok",
            "ms": 1.5,
        }
    ]


def test_lines_of_several_workers_on_one_pipe_stay_whole() -> None:
    ours, theirs = os.pipe()
    logs = [LineLog(theirs, FakeClock()) for _ in range(4)]
    for number in range(2000):
        for log in logs:
            log.write("info", "test", {"number": number})
    closing = [threading.Thread(target=log.close) for log in logs]
    for thread in closing:
        thread.start()

    with os.fdopen(ours, "rb") as pipe:
        numbers = [orjson.loads(pipe.readline())["number"] for _ in range(2000 * len(logs))]

    for thread in closing:
        thread.join()
    os.close(theirs)
    assert sorted(numbers) == sorted(4 * [*range(2000)])


@pytest.mark.parametrize(("status", "level"), [(200, "info"), (404, "info"), (500, "error"), (504, "error")])
def test_only_what_the_server_did_wrong_is_an_error(tmp_path: Path, status: int, level: str) -> None:
    outcome = Outcome(request_id="req_1", method="POST")
    outcome.status = status

    assert logged(tmp_path / "log", lambda log: log.request(outcome))[0]["level"] == level


def test_a_fault_is_told_by_its_type_and_place_and_never_by_its_words(tmp_path: Path) -> None:
    def fail(log: LineLog) -> None:
        try:
            _fail()
        except ValueError as error:
            log.fault("flight", error)

    (line,) = logged(tmp_path / "log", fail)

    assert (line["level"], line["event"], line["where"], line["error"]["type"]) == (
        "error",
        "fault",
        "flight",
        "ValueError",
    )
    assert line["error"]["trace"][-1].endswith(" _fail")
    assert SECRET not in (tmp_path / "log").read_text()


def test_what_libraries_log_comes_as_lines_too(tmp_path: Path) -> None:
    def tell(log: LineLog) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(Bridge(log))
        logger.warning("Invalid %s", "request")
        try:
            _fail()
        except ValueError:
            logger.exception("it broke")

    first, second = logged(tmp_path / "log", tell)

    assert (first["level"], first["event"], first["logger"], first["message"]) == (
        "warning",
        "log",
        "uvicorn.error",
        "Invalid request",
    )
    assert second["error"]["type"] == "ValueError"
    assert SECRET not in (tmp_path / "log").read_text()


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_the_lost_lines_are_counted() -> None:
    reading, writing = os.pipe()
    log = LineLog(writing, FakeClock())
    total = 60_000

    for number in range(total):
        log.write("info", "x" * 100, {"number": number})  # far more than a pipe holds: it returns none the less

    received = bytearray()
    reader = threading.Thread(target=_drain, args=(reading, received))
    reader.start()
    # The writer may be given up after two seconds with a line half written: then it goes on in its own time.
    log.close()
    log._thread.join()
    os.close(writing)
    reader.join()
    seen = [orjson.loads(line) for line in received.splitlines()]
    dropped = sum(line.get("dropped_lines", 0) for line in seen)
    assert dropped > 0
    assert len([line for line in seen if "number" in line]) + dropped == total


def _drain(descriptor: int, into: bytearray) -> None:
    while chunk := os.read(descriptor, 65536):
        into += chunk
    os.close(descriptor)


def test_a_pipe_that_is_closed_is_no_matter() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = LineLog(writing, FakeClock())

    log.write("info", "started", {})
    log.close()

    os.close(writing)


def test_a_description_has_at_most_twelve_places() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise KeyError(SECRET)

    with pytest.raises(KeyError) as caught:
        deep(50)

    told = describe(caught.value)
    assert (told["type"], len(told["trace"])) == ("KeyError", 12)
