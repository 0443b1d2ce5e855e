"""The commands as a person runs them."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.acceptance.pictures import MODELS
from tests.acceptance.programs import (
    KEY,
    PATIENCE,
    Program,
    Served,
    Simulator,
    environment,
    serving,
    settings,
    simulating,
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with simulating("--key", "sk-of-the-acceptance-tests") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(simulator.url, tmp_path_factory.mktemp("data"))) as running:
        yield running


def run(*arguments: str, text: str = "", **env: str) -> Result:
    """Run a command in this process, in an environment that says nothing but `env`."""
    foreign: dict[str, str | None] = dict.fromkeys(os.environ.keys() - environment({}).keys())
    return CliRunner().invoke(main, arguments, input=text, env={**foreign, **env})


def test_help_names_every_command() -> None:
    done = run("--help")

    assert done.exit_code == 0
    for command in ("serve", "demo", "simulate", "models", "plan", "check", "migrate"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_models_is_a_table_of_all() -> None:
    done = run("models")

    head, *rows = done.stdout.splitlines()
    assert head.split() == ["MODEL", "SHAPE", "TAKES", "IMAGE", "USD"]
    assert [row.split()[0] for row in rows] == list(MODELS)
    assert next(row for row in rows if row.startswith("stable-sd3-i2i ")).split() == [
        *["stable-sd3-i2i", "none", "-", "required", "0.1"]
    ]


BODY = '{"model": "stable-sd3", "prompt": "a cat", "size": "1792x1024", "n": 2}'


@pytest.mark.parametrize("on_standard_input", [False, True], ids=["argument", "standard-input"])
def test_plan_shows_what_the_gateway_itself_would_announce(gateway: Served, on_standard_input: bool) -> None:
    done = run("plan", "-", text=BODY) if on_standard_input else run("plan", BODY)
    with gateway.client() as client:
        announced = client.post("/v1/images/plan", content=BODY.encode()).json()

    del announced["cached"]
    assert (done.exit_code, orjson.loads(done.stdout)) == (0, announced)


def test_plan_takes_a_policy() -> None:
    refused = run("plan", '{"model": "dall-e-3", "prompt": "a cat", "size": "1792x1024"}', "--coercion", "strict")

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "invalid_value (size)" in refused.stderr


@pytest.mark.parametrize("body", ["", "{", "[]", '{"prompt": ""}', '{"prompt": "x", "model": "nobody"}', "\x00"])
def test_plan_refuses_what_the_gateway_would_refuse(body: str) -> None:
    done = run("plan", body)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("gateway302: ")
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_check_is_content_with_a_gateway_that_could_serve(simulator: Simulator, tmp_path: Path) -> None:
    done = run("check", **settings(simulator.url, tmp_path))

    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["settings", "ok"],
        ["catalogue", "ok"],
        ["redis", "ok"],
        ["database", "ok"],
        ["upstream", "ok"],
    ]
    assert "first, second" in done.stdout
    assert KEY not in done.stdout


def test_check_has_a_line_for_each_upstream_key(simulator: Simulator, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path, upstream_keys="sk-of-the-acceptance-tests,sk-of-nobody")

    done = run("check", **env)

    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.startswith("upstream")]
    assert done.exit_code == 1
    assert sorted(line[1] for line in lines) == ["FAILED", "ok"]
    assert any(re.search(r"key k_[0-9a-f]{8} has [0-9.]+ USD$", line[2]) for line in lines)
    assert any(re.search(r"key k_[0-9a-f]{8}: 302.AI does not accept it$", line[2]) for line in lines)
    assert "sk-" not in done.stdout


def test_check_tells_how_a_running_gateway_sees_a_key(simulator: Simulator, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path)
    with serving(env) as running, running.client() as client:
        body = {"model": "dall-e-3", "prompt": "[[fail:balance]]"}
        assert client.post("/v1/images/generations", json=body).json()["error"]["code"] == "upstream_balance"
        deadline = time.monotonic() + PATIENCE
        while not (told := run("check", **env).stdout).rstrip().endswith("USD, and is out: balance"):
            assert time.monotonic() < deadline, told


@pytest.mark.parametrize(
    ("env", "failed"),
    [
        pytest.param({"GATEWAY_KEYS": ""}, "database", id="no-keys"),
        pytest.param({"GATEWAY_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "database", id="no-database"),
        pytest.param({"GATEWAY_REDIS_URL": "unix:///nowhere"}, "redis", id="no-redis"),
        pytest.param({"GATEWAY_REDIS_URL": "redis+cluster://127.0.0.1:1"}, "redis", id="no-cluster"),
        pytest.param({"GATEWAY_REDIS_URL": "redis+sentinel://127.0.0.1:1/s"}, "redis", id="no-sentinel"),
        pytest.param({"GATEWAY_REDIS_URL": "http://127.0.0.1:1"}, "redis", id="not-redis"),
        pytest.param({"GATEWAY_UPSTREAM_KEYS": ""}, "upstream", id="no-upstream-key"),
        pytest.param({"GATEWAY_UPSTREAM_KEYS": "sk-wrong"}, "upstream", id="wrong-upstream-key"),
        pytest.param({"GATEWAY_UPSTREAM_URL": "http://127.0.0.1:1"}, "upstream", id="no-upstream"),
    ],
)
def test_check_names_the_one_that_fails(simulator: Simulator, tmp_path: Path, env: dict[str, str], failed: str) -> None:
    done = run("check", **(settings(simulator.url, tmp_path) | env))

    assert done.exit_code == 1, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.split()[1] == "FAILED"] == [failed]
    assert "sk-" not in done.stdout
    assert done.exception is None or isinstance(done.exception, SystemExit)


WRONG_STARTS = [
    pytest.param({"GATEWAY_KEYS": ""}, "gateway302 keys create", id="no-keys"),
    pytest.param({"GATEWAY_SECRET": "changeme"}, "GATEWAY_SECRET", id="weak-secret"),
    pytest.param({"GATEWAY_ADMIN_KEY": "short"}, "GATEWAY_ADMIN_KEY", id="short-admin-key"),
    pytest.param({"GATEWAY_DATABASE_URL": "sqlite:////etc/passwd"}, "GATEWAY_DATABASE_URL", id="no-database-file"),
    pytest.param({"GATEWAY_UPSTREAM_KEYS": ""}, "AI302_API_KEY", id="no-upstream-key"),
    pytest.param({"GATEWAY_CACHE_TTL": "soon"}, "GATEWAY_CACHE_TTL", id="wrong-setting"),
    pytest.param({"GATEWAY_DEFAULT_MODEL": "nobody"}, "default_model", id="wrong-model"),
    pytest.param({"GATEWAY_REDIS_URL": "http://127.0.0.1"}, "GATEWAY_REDIS_URL", id="wrong-redis"),
    pytest.param({"GATEWAY_MODELS": "/nowhere.toml"}, "GATEWAY_MODELS", id="no-catalogue"),
]


@pytest.mark.parametrize(("env", "words"), WRONG_STARTS)
def test_serve_does_not_start_on_what_is_wrong_and_says_what(
    simulator: Simulator, tmp_path: Path, env: dict[str, str], words: str
) -> None:
    done = run("serve", "--port", "0", **(settings(simulator.url, tmp_path) | env))

    assert done.exit_code == 2
    assert words in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_misspelt_variable_is_warned_of(tmp_path: Path) -> None:
    done = run("models", GATEWAY_CACHE_TLL="1")

    assert done.exit_code == 0
    assert "did you mean GATEWAY_CACHE_TTL" in done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_fresh_key_is_printed_with_a_line_that_draws(simulator: Simulator, tmp_path: Path, command: str) -> None:
    env = {"GATEWAY_DATA_DIR": str(tmp_path)} if command == "demo" else settings(simulator.url, tmp_path)
    fresh = ["--fresh-key"] if command == "serve" else []
    program = Program(command, "--port", "0", *fresh, env=env)
    try:
        line = program.out.wait_for(r"^\s+(curl http\S+/v1/images/generations .*)")[1]
        key = program.out.wait_for(r"^\s+(gw_live_[0-9A-Za-z]{36})$")[1]
        done = subprocess.run(
            ["bash", "-c", line], env=environment({"no_proxy": "*"}), capture_output=True, timeout=PATIENCE, check=True
        )
        url = orjson.loads(done.stdout)["data"][0]["url"]
        picture = httpx.get(url, trust_env=False)
    finally:
        code = program.end()

    assert key in line
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert code == 0


def test_a_simulator_on_a_busy_port_says_so(simulator: Simulator) -> None:
    port = simulator.url.rpartition(":")[2]

    done = run("simulate", "--port", port)

    assert done.exit_code == 2
    assert "cannot listen" in done.stderr
