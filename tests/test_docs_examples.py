"""README's examples are run as they are written, against the demo that `make run` starts."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import httpx
import orjson
import pytest

from gateway.simulator import Failure
from gateway.web.openapi_answers import OF_LIMITS
from tests.test_docs import README, ROOT, fences, quoted, shown

# An example, and what it prints where README says so.
EXAMPLE: Final = re.compile(
    r"^```(python|sh)\n(.*?)^```\n(?:\n```(?:text|json)\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
PAGE: Final = "https://app.example.com"
EXAMPLES: Final = [found.groups() for found in EXAMPLE.finditer(README) if found[1] == "python" or "curl" in found[2]]


@dataclass(frozen=True)
class Demo:
    """`make run`, on a port of its own and with README's catalogue of one's own."""

    printed: str
    lines: SimpleQueue[str]
    env: dict[str, str]
    client: httpx.Client

    def draw(self, **body: object) -> httpx.Response:
        return self.client.post("/images/generations", json=body)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo") / "models.toml") as demo:
        yield demo


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One that keeps the pictures, and lets a page in."""
    settings = {"GATEWAY_MEDIA": "local", "GATEWAY_CORS_ORIGINS": PAGE}
    with running(tmp_path_factory.mktemp("keeping") / "models.toml", **settings) as demo:
        yield demo


@contextmanager
def running(models: Path, **settings: str) -> Iterator[Demo]:
    slow = '\n[models."slow-t2i"]\nshape = "free"\nimage = "none"\nprice = 0.0\ntimeout = 1.0\n'
    models.write_text(fences("toml", "[models]")[0] + slow, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "AI302_", "OPENAI_"))}
    env["NO_PROXY"] = "127.0.0.1"
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0"]
    env["GATEWAY_ADMIN_KEY"] = "2b8f0a6c1d9e4735b6a0c8f7e1d25394"
    started = {**env, **settings, "GATEWAY_MODELS": str(models)}
    with subprocess.Popen(command, cwd=ROOT, env=started, stdout=subprocess.PIPE, text=True) as process:
        lines: SimpleQueue[str] = SimpleQueue()
        reader = threading.Thread(target=read, args=(process.stdout, lines))
        reader.start()
        try:
            printed = ""
            while "curl " not in printed:
                line = lines.get(timeout=30)
                printed += "" if line.startswith("{") else line
            url, key = re.findall(r"http://[0-9.:]+|gw_live_\w+", printed)[1::-1]
            env |= {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key}
            headers = {"authorization": f"Bearer {key}"}
            with httpx.Client(base_url=env["OPENAI_BASE_URL"], headers=headers, timeout=30, trust_env=False) as client:
                yield Demo(printed, lines, env, client)
        finally:
            process.terminate()
            reader.join()


def read(stream: Iterable[str], lines: SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)


def like(example: str) -> str:
    """A pattern for an output as README shows it: … stands for anything, and JSON is laid out for reading."""
    return "(?s)" + ".*?".join(map(re.escape, plain(example).split("…")))


def plain(output: str) -> str:
    return re.sub(r"\s+", "", output) if output.startswith("{") else output.strip()


def test_the_demo_prints_what_is_shown(demo: Demo) -> None:
    [example] = fences("text", "Your key:")
    url = demo.env["OPENAI_BASE_URL"].removesuffix("/v1")

    assert re.fullmatch(like(example.replace("http://127.0.0.1:8302", url)), demo.printed.strip())


@pytest.mark.parametrize(("language", "source", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_works_as_written(demo: Demo, tmp_path: Path, language: str, source: str, output: str) -> None:
    if language == "sh" and not shutil.which("curl"):
        pytest.skip("curl is missing")
    command = [sys.executable, "-c", source] if language == "python" else ["sh", "-euc", source]
    env = {**demo.env, "CURL_HOME": str(tmp_path)}
    (tmp_path / ".curlrc").write_text("max-time = 30", encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    if output:
        assert re.fullmatch(like(output), plain(done.stdout))


def test_the_commands_of_teams_work_as_written(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    program = tmp_path / ".venv/bin/gateway302"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "AI302_"))}
    scripts = [script for script in fences("sh", "gateway302 ") if re.search("gateway302 (teams|keys|usage) ", script)]
    for script in scripts:
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=tmp_path,
            env=env | {"PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    assert len(scripts) == 3


def test_a_catalogue_of_ones_own_is_served(demo: Demo) -> None:
    added = tomllib.loads(fences("toml", "[models]")[0])

    for name in [*added["models"], *added["aliases"]]:
        assert demo.draw(model=name, prompt="a fox").status_code == 200


def test_each_failure_becomes_the_error_shown(demo: Demo) -> None:
    def fail(name: str) -> str:
        body = {"model": "slow-t2i" if name == Failure.HANG else "dall-e-3", "prompt": f"[[fail:{name}]]"}
        return quoted(demo.draw(**body).json()["error"]["code"])

    table = {row[0].strip("`"): row[2] for row in shown("failures")}
    together = [name for name in table if name != Failure.RATE_LIMITED]  # it lets the one key rest: it comes last
    with ThreadPoolExecutor(len(together)) as threads:
        answers = dict(zip(together, threads.map(fail, together), strict=True))
    assert answers | {Failure.RATE_LIMITED: fail(Failure.RATE_LIMITED)} == table
    while (rested := demo.draw(model="dall-e-3", prompt="a fox after a rest")).status_code == 429:
        time.sleep(int(rested.headers["retry-after-ms"]) / 1000)


def test_the_media_store_answers_as_shown(keeping: Demo) -> None:
    [example] = fences("json", "/v1/media/")
    answer = keeping.draw(model="flux-dev", prompt="a fox")
    url = keeping.env["OPENAI_BASE_URL"].removesuffix("/v1")

    assert re.fullmatch(like(example.replace("http://127.0.0.1:8302", url)), answer.text)
    assert httpx.get(answer.json()["data"][0]["url"], trust_env=False).headers["content-type"] == "image/png"


def test_a_stream_ends_with_the_error_event_that_is_told(demo: Demo) -> None:
    assert "\nevent: error\n" in demo.draw(model="dall-e-3", prompt="[[fail:no-channel]]", stream=True).text


def test_every_answer_header_is_told(demo: Demo, keeping: Demo) -> None:
    picture = keeping.draw(model="dall-e-3", prompt="a fox").json()["data"][0]["url"]
    once = {"idempotency-key": "once"}
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answers = [
        demo.draw(model="dall-e-3", prompt="a fox", stream=True),
        demo.client.options("/models"),
        demo.client.post("/images/generations", json={"prompt": "a fox"}, headers={"prefer": "respond-async"}),
        keeping.client.get("/models", headers={"origin": PAGE}),
        keeping.client.options("/models", headers={"origin": PAGE, **preflight}),
        keeping.client.get(picture),
        keeping.client.get(picture, headers={"range": "bytes=0-9"}),
        demo.draw(model="dall-e-3", prompt="a fox", quality="hd"),
        demo.draw(model="dall-e-3", prompt="[[fail:no-channel]]"),
        demo.client.get("/images/generations"),
        demo.client.get("/models", headers={"authorization": "Bearer wrong"}),
        *(demo.client.post("/images/generations", json={"prompt": "a fox"}, headers=once) for _ in range(2)),
    ]
    plain_ones = {"connection", "content-length", "content-type", "transfer-encoding"}
    seen = {name for answer in answers for name in answer.headers} - plain_ones

    # The demo's key has no limits; tests/web hold these headers to the limits.
    assert {row[0].strip("`") for row in shown("response-headers")} == seen | set(OF_LIMITS)


def test_the_log_line_has_the_fields_shown(demo: Demo) -> None:
    [example] = fences("json", '"event"')
    answer = demo.draw(model="stable-sd3", prompt="a fox that is logged", size="1792x1024")
    log = iter(lambda: demo.lines.get(timeout=10), "")
    line = next(line for line in log if answer.headers["x-request-id"] in line)

    assert list(orjson.loads(line)) == list(orjson.loads(example)), line
