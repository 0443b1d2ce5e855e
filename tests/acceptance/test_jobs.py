"""Jobs, over real HTTP: taken, come back for, done again when a worker was killed, and told to webhooks."""

import base64
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from openai.types import ImagesResponse
from standardwebhooks import Webhook

from tests.acceptance.hooks import Hooks, receiving
from tests.acceptance.pictures import decode
from tests.acceptance.programs import (
    KEY,
    OTHER_KEY,
    PATIENCE,
    Program,
    Served,
    Simulator,
    serving,
    settings,
    unique,
    wait_until_ready,
)

PATH = "/v1/images/generations"
ASYNC = "/v1/images/generations/async"
MODEL = "stable-sd3-t2i"
LATER = {"prefer": "respond-async, wait=5"}
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

Json = dict[str, Any]


@pytest.fixture
def client(gateway: Served) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened


def submit(client: httpx.Client, prompt: str, /, path: str = ASYNC, **fields: object) -> str:
    """Take a job; where to ask for it."""
    headers = LATER if path != ASYNC else None
    answer = client.post(path, json={"model": MODEL, "prompt": prompt, **fields}, headers=headers)
    assert answer.status_code == 202, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["location"] == f"/v1/images/jobs/{answer.json()['id']}"
    return answer.headers["location"]


def wait_for(client: httpx.Client, location: str, *statuses: str) -> Json:
    """Ask until a job is done, or as it is said."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = client.get(location)
        assert answer.status_code == 200, answer.text
        job: Json = answer.json()
        assert ("retry-after" in answer.headers) == (job["status"] != "done")
        if job["status"] in (statuses or ("done",)):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def start(env: dict[str, str]) -> Served:
    """A gateway that the test itself ends."""
    program = Program("serve", "--port", "0", env=env)
    url = program.err.wait_for(r"listening on (http://\S+)")[1]
    wait_until_ready(url)
    return Served(url, program)


def test_a_job_runs_and_is_done(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique("[[delay:1]]")

    answer = client.post(PATH, json={"model": MODEL, "prompt": prompt, "size": "1792x1024", "n": 2}, headers=LATER)

    taken = answer.json()
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    assert answer.headers["x-gateway-adjusted"] == "size=1792x1024->aspect_ratio=16:9"
    assert (taken["object"], taken["status"]) == ("image.job", "queued")
    assert wait_for(client, answer.headers["location"], "running")["id"] == taken["id"]
    simulator.wait_for_call(prompt)
    done = wait_for(client, answer.headers["location"])
    assert ImagesResponse.model_validate(done).created >= done["created_at"]
    assert len(done["data"]) == len(simulator.calls(prompt)) == 2
    assert done["completed_at"] - done["created_at"] in (0, 1, 2)
    assert done["expires_at"] == done["created_at"] + 86_400


def test_bytes_are_fetched_when_they_are_asked_for(client: httpx.Client) -> None:
    location = submit(client, unique(), response_format="b64_json")

    job = wait_for(client, location)

    assert decode(job["data"][0]["b64_json"])
    assert client.head(location).status_code == 200


def test_what_is_kept_is_done_at_once(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()
    drawn = client.post(PATH, json={"model": MODEL, "prompt": prompt}).json()

    taken = client.post(ASYNC, json={"model": MODEL, "prompt": prompt})

    assert (taken.status_code, taken.json()["status"], taken.json()["data"]) == (202, "done", drawn["data"])
    assert len(simulator.calls(prompt)) == 1


def test_a_job_is_its_owners_alone(client: httpx.Client, gateway: Served) -> None:
    location = submit(client, unique())

    with gateway.client(OTHER_KEY) as other:
        answers = [other.get(location), other.get("/v1/images/jobs/job_" + "0" * 32), client.get("/v1/images/jobs/x")]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    ("failure", "code"),
    [("nsfw", "content_policy_violation"), ("server-error", "upstream_unknown"), ("no-channel", None)],
)
def test_a_job_that_fails_tells_the_error(client: httpx.Client, failure: str, code: str | None) -> None:
    job = wait_for(client, submit(client, unique(f"[[fail:{failure}]]")))

    assert job["error"]["code"] == (code or "upstream_model_unavailable")
    assert "data" not in job


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"model": "no-such-model"}, 404, "model"),
        ({"stream": True}, 400, "stream"),
        ({"webhook": "https://example.com/"}, 400, "webhook"),
    ],
)
def test_what_is_wrong_is_told_at_once(client: httpx.Client, body: Json, status: int, param: str) -> None:
    answer = client.post(ASYNC, json={"model": MODEL, "prompt": unique(), **body})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_a_stream_and_a_form_are_answered_as_ever(client: httpx.Client) -> None:
    streamed = client.post(PATH, json={"model": MODEL, "prompt": unique(), "stream": True}, headers=LATER)
    drawn = client.post(PATH, json={"model": MODEL, "prompt": unique(), "response_format": "b64_json"}).json()
    picture = base64.b64decode(drawn["data"][0]["b64_json"])
    edited = client.post("/v1/images/edits", files={"image": picture}, data={"prompt": unique()}, headers=LATER)

    assert [answer.status_code for answer in (streamed, edited)] == [200, 200]
    assert "preference-applied" not in {**streamed.headers, **edited.headers}


def test_an_edit_in_json_is_a_job_too(client: httpx.Client) -> None:
    body = {"prompt": unique(), "images": [{"image_url": "https://example.com/a.png"}]}

    answer = client.post("/v1/images/edits", json=body, headers=LATER)

    assert answer.status_code == 202
    assert len(wait_for(client, answer.headers["location"])["data"]) == 1


def test_the_same_idempotency_key_is_the_same_job(client: httpx.Client, simulator: Simulator) -> None:
    prompt, headers = unique("[[delay:0.5]]"), {"idempotency-key": unique("name")}
    body = {"model": MODEL, "prompt": prompt}

    answers = [client.post(ASYNC, json=body, headers=headers) for _ in range(2)]
    wait_for(client, answers[0].headers["location"])
    answers.append(client.post(ASYNC, json=body, headers=headers))
    other = client.post(ASYNC, json={**body, "n": 2}, headers=headers)

    assert len({answer.headers["location"] for answer in answers}) == 1
    assert [answer.json()["status"] for answer in answers][2] == "done"
    assert (len(simulator.calls(prompt)), other.status_code) == (1, 422)


@pytest.mark.parametrize("mode", ["sync", "task"])
def test_killed_in_the_middle_it_is_done_by_the_next_and_paid_once(
    simulator: Simulator, tmp_path: Path, mode: str
) -> None:
    env = settings(simulator.url, tmp_path, upstream_mode=mode)
    prompt = unique("[[delay:2]]")
    gateway = start(env)
    with gateway.client() as client:
        location = submit(client, prompt)
        simulator.wait_for_call(prompt)
        if mode == "task":
            wait_for_task(tmp_path / "gateway.db")
    os.kill(gateway.program.process.pid, signal.SIGKILL)
    gateway.program.end()

    with serving(env) as again, again.client() as client:
        job = wait_for(client, location)

    assert len(simulator.calls(prompt)) == 1
    if mode == "task":
        assert len(job["data"]) == 1
    else:
        assert job["error"]["code"] == "upstream_unknown"


def wait_for_task(file: Path) -> None:
    """Wait until the ledger knows the task's id, without which nobody can go on with it."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.closing(sqlite3.connect(file)) as database:
        while not database.execute("SELECT 1 FROM generations WHERE task_id IS NOT NULL").fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_stopped_in_the_middle_it_is_done_before_the_end(simulator: Simulator, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path)
    prompt = unique("[[delay:1]]")
    gateway = start(env)
    with gateway.client() as client:
        location = submit(client, prompt)
        simulator.wait_for_call(prompt)

    assert gateway.program.end() == 0

    with serving(env) as again, again.client() as client:
        assert len(wait_for(client, location)["data"]) == 1
    assert len(simulator.calls(prompt)) == 1


def hooked(simulator: Simulator, folder: Path, *hosts: str) -> dict[str, str]:
    return settings(simulator.url, folder, webhook_hosts=",".join(hosts), webhook_secret=SECRET)


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with receiving() as listening:
        yield listening


@pytest.mark.parametrize("words", ["", "[[fail:nsfw]]"])
def test_a_webhook_is_told_and_signed(simulator: Simulator, tmp_path: Path, hooks: Hooks, words: str) -> None:
    with serving(hooked(simulator, tmp_path, hooks.host)) as gateway, gateway.client() as client:
        location = submit(client, unique(words), webhook=hooks.url)

        message = hooks.wait()
        job = wait_for(client, location)

    told = Webhook(SECRET).verify(message.body, message.headers)
    assert (told["type"], told["data"], told["timestamp"][-1]) == ("image.job.done", job, "Z")
    assert (message.path, message.headers["webhook-id"]) == ("/hook?of=tests", job["id"])
    assert KEY not in str(message.headers)
    assert "authorization" not in message.headers
    assert orjson.loads(message.body) == told


def test_a_webhook_that_fails_is_told_again_and_redirects_are_not_followed(
    simulator: Simulator, tmp_path: Path
) -> None:
    with (
        receiving(500, 307) as hooks,
        serving(hooked(simulator, tmp_path, hooks.host)) as gateway,
        gateway.client() as client,
    ):
        submit(client, unique(), webhook=hooks.url)
        messages = [hooks.wait() for _ in range(3)]

    assert {message.path for message in messages} == {"/hook?of=tests"}
    assert len({message.body for message in messages}) == 1
    assert len({message.headers["webhook-id"] for message in messages}) == 1


def test_a_webhook_is_still_told_after_a_restart(simulator: Simulator, tmp_path: Path) -> None:
    with receiving(500) as hooks:
        env = hooked(simulator, tmp_path, hooks.host)
        gateway = start(env)
        with gateway.client() as client:
            submit(client, unique(), webhook=hooks.url)
            hooks.wait()
        assert gateway.program.end() == 0

        with serving(env):
            message = hooks.wait()

    assert Webhook(SECRET).verify(message.body, message.headers)


def test_only_hosts_that_are_named_are_called(simulator: Simulator, tmp_path: Path, hooks: Hooks) -> None:
    with serving(hooked(simulator, tmp_path, "hooks.example", hooks.host)) as gateway, gateway.client() as client:
        for url in (
            "https://elsewhere.example/",
            "http://hooks.example/",
            "https://hooks.example:8443/",
            f"http://{hooks.host}@elsewhere.example/",
            f"ftp://{hooks.host}/",
            7,
        ):
            answer = client.post(ASYNC, json={"prompt": unique(), "webhook": url})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook")
        ignored = client.post(PATH, json={"prompt": unique(), "webhook": "https://elsewhere.example/"})

    assert ignored.status_code == 200
