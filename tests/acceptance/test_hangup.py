"""A gateway that was started by hand ends with its terminal; one without a terminal reloads."""

import os
import pty
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.acceptance.programs import PATIENCE, ROOT, Simulator, environment, settings


@pytest.mark.skipif(sys.platform != "linux", reason="terminals differ")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child becomes another program at once
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_terminal_ends_the_gateway(simulator: Simulator, tmp_path: Path, workers: str) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", workers]
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - becomes the gateway
        os.chdir(ROOT)
        os.execve(sys.executable, command, environment(settings(simulator.url, tmp_path)))  # noqa: S606 - no shell is wanted
    watchdog = threading.Timer(PATIENCE, os.kill, (pid, signal.SIGKILL))
    watchdog.start()
    seen = b""
    while seen.count(b'"event":"started"') < int(workers):
        seen += os.read(terminal, 4096)
    os.kill(pid, signal.SIGHUP)
    while b'"event":"reloaded"' not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    started = time.monotonic()
    _, status = os.waitpid(pid, 0)
    watchdog.cancel()

    assert os.waitstatus_to_exitcode(status) != -signal.SIGKILL
    assert time.monotonic() - started < PATIENCE
