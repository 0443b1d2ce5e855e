"""The processes of a run: each in a group of its own, pinned to CPUs, and gone when the run ends, however it ends."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import proc

ROOT = Path(__file__).parent.parent
READY_WITHIN = 30.0
OURS = ("GATEWAY_", "AI302_")
GONE_WITHIN = 10.0


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


def cpus() -> tuple[set[int], set[int]]:
    """Split the CPUs we may use: the last one for the server under test, the others for everything else."""
    *others, last = sorted(os.sched_getaffinity(0))
    return {last}, set(others) or {last}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Take over the environment, but no setting of the gateway: every run measures the same one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


class Fleet:
    """Starts processes and, on leaving the `with` block, ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.logs: dict[int, Path] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process."""
        for process in reversed(self.running.copy()):
            self.stop(process)

    def start(
        self, command: Sequence[str], *, on: set[int], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command on these CPUs, its output in a file of the folder."""
        log = self.folder / f"{len(self.logs):02}.log"
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, on)  # inherited
        try:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**_environment(), **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, before)
        self.running.append(process)
        self.logs[process.pid] = log
        return process

    def output(self, process: subprocess.Popen[bytes], timeout: float) -> bytes:
        """Wait until a process ends by itself and return the last line it printed."""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{process.args!r} did not end within {timeout:.0f} s") from None
        if code:
            raise self.broken(process)
        self.running.remove(process)
        return self.logs[process.pid].read_bytes().splitlines()[-1]

    def ready(
        self, process: subprocess.Popen[bytes], port: int, path: str = "/livez", within: float = READY_WITHIN
    ) -> None:
        """Wait until a server answers `GET path` with 200; BenchError after `within` seconds, or if it has ended."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if process.poll() is not None:
                break
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", path)
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            time.sleep(0.05)  # no server tells when it begins to listen
        raise self.broken(process)

    def listener(self, process: subprocess.Popen[bytes], port: int) -> int:
        """Find which process of a family listens on a port; BenchError where none does."""
        pid = proc.listener(process.pid, port)
        if pid is None:
            raise BenchError(f"no process of {process.args!r} listens on port {port}")
        return pid

    def broken(self, process: subprocess.Popen[bytes]) -> BenchError:
        """Say which process did not do its part, with the end of its output."""
        tail = self.logs[process.pid].read_text(errors="replace")[-2000:]
        return BenchError(f"{process.args!r} (exit code {process.poll()}) did not do its part:\n{tail}")

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and its descendants, gently first."""
        alive = {pid: proc.began(pid) for pid in proc.family(process.pid)} if process.poll() is None else {}
        if alive:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GONE_WITHIN)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pid, began in alive.items():
            if proc.began(pid) == began:  # left the group and outlived its parent; the same one, not a later namesake
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.running.remove(process)
