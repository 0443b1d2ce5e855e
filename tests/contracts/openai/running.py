"""A simulator of 302.AI and gateways in front of it, as the real programs, while a block lasts."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
KEY: Final = "the key of the contract tests"
ADMIN_KEY: Final = "b1946ac92492d2347c6235b4d2611184"
_PATIENCE: Final = 60.0
# Variables that would make a program behave as this machine wants, not as the test says.
_FOREIGN: Final = re.compile(r"(GATEWAY|AI302|PROMETHEUS|OPENAI)_|.*_proxy$", re.IGNORECASE)


class Program:
    """A running command of the gateway; what it writes goes to a file."""

    def __init__(self, folder: Path, *arguments: str, env: Mapping[str, str]) -> None:
        folder.mkdir()
        self._output: Final = folder / "output"
        with self._output.open("wb") as file:
            self._process: Final = subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not _FOREIGN.match(name)} | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> str:
        """The first group of the pattern, once the program has written it."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            written = self._output.read_text("utf-8", errors="replace")
            if match := re.search(pattern, written, re.MULTILINE):
                return match[1]
            assert self._process.poll() is None, written
            assert time.monotonic() < deadline, written
            time.sleep(0.02)

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        finally:
            self._process.kill()


@contextmanager
def running(folder: Path, gateways: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """The URLs of a simulator's gateways, by their names in `gateways`, which gives the settings of each."""
    with ExitStack() as stack:

        def start(name: str, *arguments: str, env: Mapping[str, str]) -> Program:
            program = Program(folder / name, *arguments, "--port", "0", env=env)
            stack.callback(program.end)
            return program

        simulator = start("simulator", "simulate", "--balance", "1000000", env={})
        upstream = simulator.wait_for(r"^(http://\S+)")
        programs = {
            name: start(name, "serve", env=_settings(upstream, folder / name / "data", more))
            for name, more in gateways.items()
        }
        yield {name: program.wait_for(r"listening on (http://\S+)") for name, program in programs.items()}


def _settings(upstream: str, data_dir: Path, more: Mapping[str, str]) -> dict[str, str]:
    given = {
        "keys": f"contract={KEY}",
        "upstream_url": upstream,
        "upstream_keys": "sk-of-the-contract-tests",
        "data_dir": str(data_dir),
    }
    return {f"GATEWAY_{name.upper()}": value for name, value in {**given, **more}.items()}
