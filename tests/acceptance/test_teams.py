"""The whole life of a team, by README's means, on two workers; reloads; and a start without a database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import orjson
import pytest

from gateway.core.keys import KEY_LABEL, mint
from gateway.core.secrets import derive, digest_of
from tests.acceptance.programs import (
    PATIENCE,
    ROOT,
    Served,
    Simulator,
    environment,
    running,
    serving,
    settings,
    unique,
    wait_until_ready,
)
from tests.postgres import Postgres

ADMIN_KEY = "0cc175b9c0f1b6a831c399e269772661"
SECRET = "92eb5ffee6ae2fec3ad71c777531578f"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def config(data_dir: Path) -> Path:
    file = data_dir / "gateway.toml"
    file.write_text('coercion = "documented"\n')
    return file


@pytest.fixture(scope="module")
def env(simulator: Simulator, data_dir: Path, config: Path) -> dict[str, str]:
    more = {"admin_key": ADMIN_KEY, "secret": SECRET, "config": str(config), "teams": str(data_dir / "teams.toml")}
    (data_dir / "teams.toml").write_text("")
    return settings(simulator.url, data_dir, **more)


@pytest.fixture(scope="module")
def fleet(env: dict[str, str]) -> Iterator[Served]:
    with serving(env, "--workers", "2") as running_:
        for worker in range(2):
            running_.program.out.wait_for('"event":"started"', after=worker)
        yield running_


def run(env: dict[str, str], *arguments: str) -> str:
    """A command's standard output."""
    command = [sys.executable, "-m", "gateway", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(gateway: Served, secret: str, times: int = 24) -> set[tuple[int, str]]:
    """What a key is told on many connections, so that both workers are asked."""
    seen = set()
    for _ in range(times):
        with gateway.client(secret) as client:
            answer = client.get("/v1/models")
            seen.add((answer.status_code, "" if answer.is_success else answer.json()["error"]["code"]))
    return seen


def used(env: dict[str, str]) -> dict[str, float]:
    """What the team has used."""
    [row] = orjson.loads(run(env, "usage", "--by", "team", "--team", "design", "--format", "json")) or [{}]
    return {name: row[name] for name in ("requests", "cached", "failed", "saved") if name in row}


def wait_for(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_whole_life_of_a_team(fleet: Served, env: dict[str, str]) -> None:
    run(env, "teams", "create", "design", "--rpm", "600", "--models", "dall-e-*")
    secret = run(env, "keys", "create", "design", "web").strip()
    assert answers(fleet, secret) == {(200, "")}

    with openai.OpenAI(base_url=fleet.v1, api_key=secret, max_retries=0) as client:
        prompt = unique()
        for _ in range(2):
            assert client.images.generate(model="dall-e-3", prompt=prompt).data
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.images.generate(model="flux-dev", prompt=prompt)
        assert refused.value.code == "model_not_allowed"
    wait_for(lambda: used(env) == {"requests": 3, "cached": 1, "failed": 1, "saved": 0.04})

    rotated = run(env, "keys", "rotate", "design/web", "--overlap", "3600").strip()
    assert answers(fleet, rotated) == answers(fleet, secret) == {(200, "")}
    run(env, "keys", "rotate", "design/web", "--overlap", "0")
    wait_for(lambda: answers(fleet, rotated) == {(401, "invalid_api_key")}, within=2)
    last = run(env, "keys", "create", "design", "bot").strip()
    assert answers(fleet, last) == {(200, "")}
    run(env, "keys", "revoke", "design/bot")
    wait_for(lambda: answers(fleet, last) == {(401, "key_disabled")}, within=2)


def test_the_supervisor_makes_no_second_secret(fleet: Served, data_dir: Path) -> None:
    assert not (data_dir / "secret").exists()


def strict(gateway: Served) -> set[int]:
    """Statuses of a size that a model does not take, on both workers."""
    seen = set()
    for _ in range(24):
        with gateway.client() as client:
            body = {"model": "dall-e-3", "prompt": "x", "size": "1792x1024"}
            seen.add(client.post("/v1/images/plan", json=body).status_code)
    return seen


def reload(gateway: Served) -> httpx.Response:
    with gateway.client(ADMIN_KEY) as client:
        return client.post("/admin/v1/reload")


def successful(gateway: Served) -> bool:
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    return "gateway_config_last_reload_successful 1.0" in text


def test_a_reload_reaches_all_workers_and_a_bad_file_changes_nothing(
    fleet: Served, config: Path, data_dir: Path
) -> None:
    assert strict(fleet) == {200}
    config.write_text('coercion = "strict"\n')
    assert reload(fleet).json() == {"object": "reload", "changed": ["coercion"], "restart_needed": []}
    wait_for(lambda: strict(fleet) == {400})

    config.write_text('coercion = "documented"\nunknown_hold = 5\n\nmodels = "nowhere.toml"\n')
    refused = reload(fleet)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert "nowhere.toml" in refused.json()["error"]["message"]
    assert not successful(fleet)
    config.write_text('# mended\ncoercion = "rough"\n')
    assert f"{config}:2: coercion is wrong" in reload(fleet).json()["error"]["message"]
    teams = data_dir / "teams.toml"
    config.write_text('coercion = "documented"\n')
    teams.write_text("[teams.shop]\nrpm = 0\n")
    assert f"{teams}:2: teams.shop.rpm" in reload(fleet).json()["error"]["message"]
    assert strict(fleet) == {400}

    secret = mint(7)
    digest = digest_of(derive(SECRET, KEY_LABEL), secret.encode()).hex()
    teams.write_text(f'[teams.shop.keys.web]\ndigest = "{digest}"\n')
    os.kill(fleet.program.process.pid, signal.SIGHUP)
    wait_for(lambda: strict(fleet) == {200})
    assert answers(fleet, secret) == {(200, "")}
    wait_for(lambda: successful(fleet))
    config.write_text("cache_ttl = 60\nunknown_hold = 5\n")
    assert reload(fleet).json()["restart_needed"] == ["cache_ttl", "unknown_hold"]
    teams.write_text("")
    reload(fleet)
    wait_for(lambda: answers(fleet, secret) == {(401, "key_disabled")})


def test_a_gateway_starts_without_its_database_and_migrates_when_it_comes(
    simulator: Simulator, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.url(postgres.create())
    env = settings(simulator.url, tmp_path, database_url=url, secret=SECRET)
    postgres.kill()
    try:
        with running("serve", "--port", "0", env=env) as program:
            served = Served(program.err.wait_for(r"listening on (http://\S+)")[1], program)
            wait_until_ready(served.url)
            program.err.wait_for("the database cannot be reached")
            ready = httpx.get(f"{served.url}/readyz", trust_env=False)
            assert (ready.status_code, ready.json()["checks"]["database"]) == (200, "unavailable")
            assert answers(served, mint(1), 1) == {(503, "store_unavailable")}
            postgres.start()
            wait_for(lambda: httpx.get(f"{served.url}/readyz", trust_env=False).json()["status"] == "ready")
            run(env, "teams", "create", "design")
            secret = run(env, "keys", "create", "design", "web").strip()
            assert answers(served, secret, 1) == {(200, "")}
    finally:
        if postgres._process.poll() is not None:
            postgres.start()
