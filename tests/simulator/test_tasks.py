"""V2 over a real connection: a task is named at once, lives by itself, and is charged once."""

import time

import httpx
import pytest

from gateway.simulator import Failure, Options
from tests.simulator.asking import MODEL, Serve, balance, calls, has_code

SUBMIT = "/302/v2/image/generate?run_async=true"


def submit(client: httpx.Client, prompt: str = "a cat", url: str = SUBMIT) -> httpx.Response:
    return client.post(url, json={"model": MODEL, "prompt": prompt})


def fetch(client: httpx.Client, task_id: object) -> dict[str, object]:
    task: dict[str, object] = client.get(f"/302/v2/image/fetch/{task_id}").json()
    return task


def finished(client: httpx.Client, task_id: object) -> dict[str, object]:
    while (task := fetch(client, task_id))["status"] == "processing":
        time.sleep(0.01)
    return task


def test_a_task_is_named_and_then_done_and_charged_once(serve: Serve) -> None:
    client = serve(Options(balance=1))

    accepted = submit(client)
    task = finished(client, accepted.json()["task_id"])

    assert list(accepted.json()) == ["task_id", "status", "created_at"]
    assert accepted.json()["status"] == "pending"
    assert (task["status"], task["model"], task["req"]) == ("completed", MODEL, {"model": MODEL, "prompt": "a cat"})
    assert task["image_urls"] == [task["image_url"]]
    assert httpx.get(str(task["image_url"]), trust_env=False).headers["content-type"] == "image/png"
    assert task["ai302_cost_request_ids"] == [accepted.headers["request-id"]]
    record = client.get(f"/dashboard/record/{accepted.headers['request-id']}").json()["data"]
    finished(client, accepted.json()["task_id"])
    assert (record["cost"], balance(client)) == (0.04, 0.96)
    assert [call["task_id"] for call in calls(client)] == [accepted.json()["task_id"]]


def test_a_task_outlives_the_connection_it_came_over(serve: Serve) -> None:
    client = serve(Options(balance=1))

    with pytest.raises(httpx.RemoteProtocolError):
        submit(client, "[[delay:1]] [[fail:reset-mid-body]]")
    (call,) = calls(client)
    assert fetch(client, call["task_id"])["status"] == "processing"
    task = finished(client, call["task_id"])

    assert (task["status"], balance(client)) == ("completed", 0.96)


def test_without_run_async_the_answer_is_the_finished_task(serve: Serve) -> None:
    answer = submit(serve(), url="/302/v2/image/generate").json()

    assert (answer["status"], bool(answer["image_url"])) == ("completed", True)


def test_an_unknown_task_is_302s_404(plain: httpx.Client) -> None:
    seen = plain.get("/302/v2/image/fetch/nowhere")

    assert seen.status_code == 404
    assert has_code(-10010)(seen)


def test_a_task_is_for_who_has_a_key(plain: httpx.Client) -> None:
    assert plain.get("/302/v2/image/fetch/x", headers={"authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("failure", [Failure.UNAUTHORIZED, Failure.RATE_LIMITED, Failure.NO_CHANNEL])
def test_what_is_refused_becomes_no_task(serve: Serve, failure: Failure) -> None:
    client = serve(Options(balance=1))

    seen = submit(client, f"[[fail:{failure}]]")

    assert seen.status_code in {401, 429, 503}
    assert [call["task_id"] for call in calls(client)] == [None]
    assert balance(client) == 1


@pytest.mark.parametrize("failure", [Failure.TASK_FAILED, Failure.DOUBAO_CODE, Failure.GENERATION_TIMEOUT])
def test_a_task_that_fails_says_why_and_costs_nothing(serve: Serve, failure: Failure) -> None:
    client = serve(Options(balance=1))

    task = finished(client, submit(client, f"[[fail:{failure}]]").json()["task_id"])

    assert (task["status"], task["ai302_cost_request_ids"], balance(client)) == ("failed", [], 1)
    assert {"error", "message", "error_type", "attempts", "is_network_error"} <= set(task["error"])  # type: ignore[call-overload]


@pytest.mark.parametrize("failure", [Failure.NO_PICTURE, Failure.EMPTY_URL, Failure.NSFW])
def test_a_task_may_be_completed_without_a_good_picture(plain: httpx.Client, failure: Failure) -> None:
    task = finished(plain, submit(plain, f"[[fail:{failure}]]").json()["task_id"])

    assert task["status"] == "completed"
    assert bool(task.get("image_url")) == (failure is Failure.NSFW)


def test_a_key_fails_alone(plain: httpx.Client) -> None:
    prompt = "[[fail:balance@-two]]"
    answers = [
        plain.post("/302/image/generate", json={"model": MODEL, "prompt": prompt}, headers={"authorization": key})
        for key in ("Bearer sk-one", "Bearer sk-two")
    ]

    assert [answer.status_code for answer in answers] == [200, 402]
