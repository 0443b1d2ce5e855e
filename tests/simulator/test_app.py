"""The simulator over a real connection: keys, answers, pictures and money. Its failures are in `test_faults`."""

import io
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from gateway.core.catalogue import Catalogue
from gateway.simulator import Options, build
from tests.simulator.asking import MODEL, PATH, Serve, ask, calls, has_code

URL = re.compile(r"http://127\.0\.0\.1:[0-9]+/gpt/imgs/[0-9]{8}/[0-9a-f]{32}\.png")


def test_a_success_has_the_shape_of_302s_sample(plain: httpx.Client) -> None:
    seen = ask(plain)

    assert (seen.status_code, seen.headers["content-type"]) == (200, "application/json")
    assert UUID(seen.headers["request-id"])
    answer = seen.json()
    assert list(answer) == ["image_url", "data"]
    assert URL.fullmatch(answer["image_url"])
    data = answer["data"]
    assert (data["model"], data["status"], data["error"]) == (MODEL, "succeeded", "")
    assert json.loads(data["output"]) == [answer["image_url"]]
    assert data["id"].isdigit()
    assert all(data[name].endswith("Z") for name in ("created_at", "started_at", "completed_at"))


def test_the_url_leads_to_the_picture_without_a_key(plain: httpx.Client) -> None:
    url = ask(plain, model="cogview-4-t2i", width=768, height=1344, size="768x1344").json()["image_url"]

    seen = [httpx.get(url, trust_env=False) for _ in range(2)]

    assert [(answer.status_code, answer.headers["content-type"]) for answer in seen] == [(200, "image/png")] * 2
    assert seen[0].content == seen[1].content
    assert Image.open(io.BytesIO(seen[0].content)).size == (768, 1344)


def test_who_names_no_seed_gets_another_picture_each_time(plain: httpx.Client) -> None:
    size: dict[str, Any] = {"model": "recraft-v3-t2i", "width": 64, "height": 64}
    answers = [ask(plain, **size), ask(plain, **size), ask(plain, **size, seed=1), ask(plain, **size, seed=1)]
    urls = [answer.json()["image_url"] for answer in answers]

    one, two, three, four = (plain.get(url).content for url in urls)

    assert one != two
    assert three == four
    assert len(set(urls)) == 4


@pytest.mark.parametrize("path", ["/gpt/imgs/20260101/00.png", "/nowhere"])
def test_an_unknown_path_is_302s_404(plain: httpx.Client, path: str) -> None:
    seen = plain.get(path)

    assert seen.status_code == 404
    assert has_code(-10010)(seen)
    assert UUID(seen.headers["request-id"])


def test_an_unknown_method_is_a_405(plain: httpx.Client) -> None:
    assert plain.get(PATH).status_code == 405


def test_the_public_origin_begins_the_url_when_given(serve: Serve) -> None:
    client = serve(Options(public_origin="https://pictures.example/"))

    assert ask(client).json()["image_url"].startswith("https://pictures.example/gpt/imgs/")


@pytest.mark.parametrize(
    ("authorization", "status", "code", "message"),
    [
        pytest.param("", 401, -10001, "Missing 302 Apikey", id="none"),
        pytest.param("Bearer", 401, -10001, "Missing 302 Apikey", id="empty"),
        pytest.param("Basic sk-x", 401, -10001, "Missing 302 Apikey", id="another scheme"),
        pytest.param("Bearer pk-x", 401, -10002, "Invalid API Key", id="wrong"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", PATH), ("GET", "/dashboard/balance"), ("GET", "/dashboard/record/x")]
)
def test_a_bad_key_is_refused(
    plain: httpx.Client, method: str, path: str, authorization: str, status: int, code: int, message: str
) -> None:
    seen = plain.request(method, path, headers={"authorization": authorization})

    assert seen.status_code == status
    assert has_code(code)(seen)
    assert seen.json()["error"]["message"] == message


def test_when_keys_are_given_they_are_the_only_good_ones(serve: Serve) -> None:
    client = serve(Options(keys=frozenset({"the one"})))

    statuses = [
        client.get("/dashboard/balance", headers={"authorization": f"Bearer {key}"}).status_code
        for key in ("the one", "sk-x")
    ]

    assert statuses == [200, 401]


@pytest.mark.parametrize("body", [b"", b"{", b"prompt=cat", b'{"prompt": NaN}', b"\xff"])
def test_what_is_not_json_is_refused(plain: httpx.Client, body: bytes) -> None:
    seen = plain.post(PATH, content=body)

    assert seen.status_code == 400
    assert has_code(-10011)(seen)


async def test_a_body_larger_than_any_picture_is_refused(catalogue: Catalogue) -> None:
    async def megabytes() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    transport = httpx.ASGITransport(build(Options(), catalogue))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        seen = await client.post(PATH, content=megabytes(), headers={"authorization": "Bearer sk-x"})

    assert seen.status_code == 413
    assert has_code(-10017)(seen)


def test_what_a_model_does_not_take_is_refused_and_said(plain: httpx.Client) -> None:
    seen = ask(plain, n=2)

    assert seen.status_code == 400
    assert seen.json()["error"]["message"] == "Invalid request: unknown parameter 'n'"
    assert calls(plain)[-1]["outcome"] == "refused"


def test_an_order_that_nobody_understands_is_refused(plain: httpx.Client) -> None:
    assert ask(plain, "[[fail:nonsense]]").status_code == 400


def test_an_unknown_model_is_a_503(plain: httpx.Client) -> None:
    seen = ask(plain, model="nonsense")

    assert seen.status_code == 503
    assert has_code(-10008)(seen)
    assert seen.json()["error"]["message"].startswith("No available models currently")


def test_a_success_is_charged_and_its_cost_can_be_asked(serve: Serve) -> None:
    client = serve(Options(balance=1))

    seen = ask(client)

    record = client.get(f"/dashboard/record/{seen.headers['request-id']}").json()["data"]
    assert record.pop("process_time") >= 0
    assert record == {"cost": 0.04, "input_token": 0, "output_token": 0, "model": MODEL}
    assert client.get("/dashboard/balance").json() == {"data": {"balance": "0.960000"}}


def test_a_call_that_was_refused_or_is_unknown_has_no_record(plain: httpx.Client) -> None:
    refused = ask(plain, n=2)

    seen = plain.get(f"/dashboard/record/{refused.headers['request-id']}")

    assert (seen.status_code, seen.json()) == (404, {"code": -1, "msg": "record not found"})


def test_when_the_money_is_gone_calls_are_refused(serve: Serve) -> None:
    client = serve(Options(balance=0.05))

    first, second = ask(client), ask(client)

    assert (first.status_code, second.status_code) == (200, 402)
    assert has_code(-10004)(second)


def test_calls_are_listed_and_can_be_forgotten(serve: Serve) -> None:
    client = serve()
    image = "A" * 20_000
    seen = [ask(client), ask(client, n=1), ask(client, model="302ai-kolors-i2i", image=image)]
    client.post(PATH, json={}, headers={"authorization": ""})

    listed = calls(client)

    assert [call["request_id"] for call in listed[:3]] == [answer.headers["request-id"] for answer in seen]
    assert [call["outcome"] for call in listed] == ["succeeded", "refused", "succeeded", "refused"]
    assert [call["status"] for call in listed] == [200, 400, 200, 401]
    assert [call["key"] for call in listed] == ["ests", "ests", "ests", ""]
    assert listed[0]["payload"] == {"model": MODEL, "prompt": "a cat"}
    assert listed[2]["payload"]["image"] == "A" * 100 + "... (20000 characters)"
    assert [call["cost"] for call in listed] == [0.04, 0, 0.05, 0]
    assert client.delete("/_simulator/calls").status_code == 204
    assert calls(client) == []


def test_a_caller_who_hangs_up_is_charged_all_the_same(serve: Serve) -> None:
    client = serve()
    with pytest.raises(httpx.ReadTimeout):
        client.post(PATH, json={"model": MODEL, "prompt": "[[delay:0.2]]"}, timeout=0.05)

    outcomes = [calls(client)[0]["outcome"]]
    until = time.monotonic() + 5
    while outcomes[-1] == "running" and time.monotonic() < until:
        outcomes.append(calls(client)[0]["outcome"])

    assert (outcomes[0], outcomes[-1]) == ("running", "succeeded")


@pytest.mark.parametrize(
    ("options", "prompt", "low", "high"),
    [
        pytest.param(Options(delay=0.05), "a cat", 0.04, 5, id="always"),
        pytest.param(Options(delay=60), "[[delay:0]]", 0, 5, id="an order replaces it"),
        pytest.param(Options(delay=0.1, jitter=0.05, seed=3), "a cat", 0.04, 5, id="jitter"),
    ],
)
def test_a_generation_takes_its_time(serve: Serve, options: Options, prompt: str, low: float, high: float) -> None:
    client = serve(options)

    seen = ask(client, prompt)

    record = client.get(f"/dashboard/record/{seen.headers['request-id']}").json()["data"]
    assert low <= record["process_time"] < high
