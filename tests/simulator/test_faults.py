"""Every failure of the simulator, as a client meets it on a real connection."""

import json
import socket
from collections.abc import Callable
from typing import Literal

import httpx
import pytest

from gateway.simulator import Failure, Options
from tests.simulator.asking import MODEL, PATH, Serve, ask, balance, calls, has_code

Seen = tuple[int, Callable[[httpx.Response], bool]]


def is_cut(answer: httpx.Response) -> bool:
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    return int(answer.headers["content-length"]) == len(answer.content)


def is_page(answer: httpx.Response) -> bool:
    return answer.headers["content-type"].startswith("text/html") and answer.text.startswith("<html>")


ANSWERED: dict[Failure, Seen] = {
    Failure.BAD_REQUEST: (400, has_code(-10011)),
    Failure.UNAUTHORIZED: (401, has_code(-10002)),
    Failure.FORBIDDEN: (403, has_code(-10013)),
    Failure.BALANCE: (402, has_code(-10004)),
    Failure.QUOTA: (403, has_code(-10006)),
    Failure.DAILY_QUOTA: (403, has_code(-10007)),
    Failure.MONTHLY_QUOTA: (403, has_code(-10018)),
    Failure.KEY_EXPIRED: (401, has_code(-10005)),
    Failure.RATE_LIMITED: (
        429,
        lambda seen: seen.json()["code"] == "RateLimitExceeded" and seen.headers["retry-after"] == "3",
    ),
    Failure.NO_CHANNEL: (503, has_code(-10008)),
    Failure.NETWORK: (500, has_code(-10003)),
    Failure.AI_TIMEOUT: (500, has_code(-1024)),
    Failure.GENERATION_TIMEOUT: (504, has_code(-10504)),
    Failure.SERVER_ERROR: (500, lambda seen: seen.json()["code"] == "InternalError"),
    Failure.BAD_GATEWAY_HTML: (502, is_page),
    Failure.OK_HTML: (200, is_page),
    Failure.TRUNCATED: (200, is_cut),
    Failure.NO_PICTURE: (200, lambda seen: "image_url" not in seen.json() and "http" not in seen.text),
    Failure.EMPTY_URL: (200, lambda seen: seen.json()["image_url"] == "" and "http" not in seen.text),
    Failure.TASK_FAILED: (
        200,
        lambda seen: seen.json()["data"]["status"] == "failed" and bool(seen.json()["data"]["error"]),
    ),
    Failure.ERROR_IN_200: (200, has_code(-10008)),
    Failure.DOUBAO_CODE: (200, lambda seen: seen.json()["data"]["code"] == 50411 and "http" not in seen.text),
    Failure.NSFW: (200, lambda seen: seen.json()["data"]["has_nsfw_concepts"] == [True]),
    Failure.ECHO_KEY: (500, lambda seen: "Bearer sk-of-the-tests" in seen.json()["error"]["message"]),
}
BROKEN = {Failure.RESET, Failure.RESET_MID_BODY, Failure.HANG}


def test_every_failure_is_observed_here() -> None:
    assert {*ANSWERED, *BROKEN} == set(Failure)


@pytest.mark.parametrize("failure", ANSWERED)
def test_a_failure_with_an_answer_is_seen_on_the_wire(plain: httpx.Client, failure: Failure) -> None:
    status, check = ANSWERED[failure]

    seen = ask(plain, f"a cat [[fail:{failure}]]")

    assert seen.status_code == status
    assert check(seen)
    call = calls(plain)[-1]
    assert (call["request_id"], call["status"], call["outcome"]) == (seen.headers["request-id"], status, failure)


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_reset_ends_the_connection_without_a_byte(serve: Serve, http: Literal["httptools", "h11"]) -> None:
    client = serve(http=http)
    body = json.dumps({"model": MODEL, "prompt": "[[fail:reset]]"}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-x\r\ncontent-length: {len(body)}\r\n\r\n"

    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        received = connection.recv(100)

    assert received == b""
    assert [(call["status"], call["outcome"]) for call in calls(client)] == [(None, "reset")]


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_connection_lost_in_the_body_is_seen_as_such(serve: Serve, http: Literal["httptools", "h11"]) -> None:
    client = serve(http=http)

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        ask(client, "[[fail:reset-mid-body]]")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        ask(client, "[[fail:reset]]")


def test_a_call_that_hangs_is_never_answered(plain: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        plain.post(PATH, json={"model": MODEL, "prompt": "[[fail:hang]]"}, timeout=0.1)


def test_only_a_picture_that_was_made_is_charged(serve: Serve) -> None:
    client = serve(Options(balance=10))

    for failure in ANSWERED:
        ask(client, f"[[fail:{failure}]]")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(client, "[[fail:reset-mid-body]]")

    charged = {call["outcome"]: call["cost"] for call in calls(client) if call["cost"]}
    assert charged == {"truncated": 0.04, "reset-mid-body": 0.04}
    assert balance(client) == 9.92


def test_failures_are_drawn_by_lot_at_the_rate_given_and_repeat_with_the_seed(serve: Serve) -> None:
    options = Options(failures=(Failure.NETWORK, Failure.RATE_LIMITED), failure_rate=0.5, seed=1)
    first, second = serve(options), serve(options)

    statuses = [ask(first).status_code for _ in range(40)]

    assert set(statuses) == {200, 429, 500}
    assert 10 < statuses.count(200) < 30
    assert statuses == [ask(second).status_code for _ in range(40)]
