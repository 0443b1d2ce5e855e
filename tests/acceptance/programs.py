"""The real programs, started and stopped: what every acceptance test stands on. Nothing here imports the gateway."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

import httpx
import orjson

ROOT: Final = Path(__file__).parents[2]
KEY: Final = "the-first-key-of-the-tests"
OTHER_KEY: Final = "another key with spaces"
PATIENCE: Final = 60.0
# Variables that would make a program behave as this machine wants, not as the test says; one makes it compile itself
# anew at each start.
_FOREIGN: Final = re.compile(r"(GATEWAY|AI302|PROMETHEUS|OPENAI)_|PYTHONDONTWRITEBYTECODE$|.*_proxy$", re.IGNORECASE)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: this one's, without what is said about gateways, and what is given."""
    return {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)} | dict(given)


class Lines:
    """What a program writes to one of its pipes, line by line, without ever making it wait."""

    def __init__(self, pipe: IO[str]) -> None:
        self.all: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """The first line from number `after` on that has the pattern; raises AssertionError if none ever comes."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self.all[after:]:
                    if match := re.search(pattern, line):
                        return match
                left = deadline - time.monotonic()
                assert left > 0, (pattern, self.all)
                assert not self._ended, (pattern, self.all)
                self._news.wait(left)

    def close(self) -> None:
        """Wait for the end of the pipe."""
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            with self._news:
                self.all.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Program:
    """A running command of the gateway."""

    def __init__(self, *arguments: str, env: Mapping[str, str]) -> None:
        self.process: Final = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=ROOT,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.out: Final = Lines(self.process.stdout)
        self.err: Final = Lines(self.process.stderr)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines so far; every line must be one."""
        return [orjson.loads(line) for line in self.out.all]

    def log_of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of one request, once there is one."""
        self.out.wait_for(re.escape(request_id))
        return [line for line in self.log if line.get("request_id") == request_id]

    def end(self, signal_: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.out.close()
        self.err.close()
        return code


@contextmanager
def running(*arguments: str, env: Mapping[str, str], good: tuple[int, ...] = (0,)) -> Iterator[Program]:
    """A program while the block lasts; it must then end by itself with a good exit code."""
    program = Program(*arguments, env=env)
    try:
        yield program
    finally:
        code = program.end()
    assert code in good, (code, program.err.all)


@dataclass(frozen=True)
class Simulator:
    """A stand-in for 302.AI in a process of its own."""

    url: str

    def calls(self, prompt: str | None = None) -> list[dict[str, Any]]:
        """The calls it has seen; with a prompt, those of it."""
        listed: list[dict[str, Any]] = httpx.get(
            f"{self.url}/_simulator/calls", trust_env=False, timeout=PATIENCE
        ).json()
        return [call for call in listed if prompt is None or call["payload"]["prompt"] == prompt]

    def wait_for_call(self, prompt: str) -> None:
        """Wait until a call with this prompt has arrived."""
        deadline = time.monotonic() + PATIENCE
        while not self.calls(prompt):
            assert time.monotonic() < deadline, prompt
            time.sleep(0.01)

    def forget(self) -> None:
        """Empty its list of calls."""
        httpx.delete(f"{self.url}/_simulator/calls", trust_env=False).raise_for_status()


@contextmanager
def simulating(*options: str) -> Iterator[Simulator]:
    """A simulator on a free port."""
    with running(
        "simulate", "--port", "0", "--balance", "1000000", *options, env={}, good=(0, -signal.SIGTERM)
    ) as program:
        yield Simulator(program.out.wait_for(r"^(http://\S+)")[1])


@dataclass(frozen=True)
class Served:
    """A gateway in a process of its own."""

    url: str
    program: Program

    @property
    def v1(self) -> str:
        """What a client takes as its base URL."""
        return f"{self.url}/v1"

    def client(self, key: str = KEY) -> httpx.Client:
        """A plain HTTP client with a key."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE, trust_env=False
        )

    def async_client(self, key: str = KEY) -> httpx.AsyncClient:
        """The same for many requests at once."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=PATIENCE,
            trust_env=False,
            limits=httpx.Limits(max_connections=64),
        )


def settings(upstream: str, data_dir: Path, **more: str) -> dict[str, str]:
    """The environment of a gateway in front of a simulator; `more` are settings by their lower-case names."""
    return {
        "GATEWAY_KEYS": f"first={KEY},second={OTHER_KEY}",
        "GATEWAY_UPSTREAM_URL": upstream,
        "GATEWAY_UPSTREAM_KEYS": "sk-of-the-acceptance-tests",
        "GATEWAY_DATA_DIR": str(data_dir),
        **{f"GATEWAY_{name.upper()}": value for name, value in more.items()},
    }


@contextmanager
def serving(env: Mapping[str, str], *options: str) -> Iterator[Served]:
    """A gateway on a free port, once it answers."""
    with running("serve", "--port", "0", *options, env=env) as program:
        url = program.err.wait_for(r"listening on (http://\S+)")[1]
        wait_until_ready(url)
        yield Served(url, program)


def wait_until_ready(url: str) -> None:
    """Wait until `/livez` says so: a connection may be accepted before the application is up."""
    httpx.get(f"{url}/livez", trust_env=False, timeout=PATIENCE).raise_for_status()


def hang_up_once(gateway: Served, body: Mapping[str, object], event: Callable[[], None]) -> None:
    """Send a generation, wait for an event, and hang up without having read anything."""
    data = orjson.dumps(body)
    url = httpx.URL(gateway.url)
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + data)
        event()


def unique(words: str = "a fox") -> str:
    """A prompt that no other test has."""
    return f"{words} {uuid4().hex}"
