"""A picture is paid for once: repeated, at once or in a row, abandoned or asked for in another way."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.pictures import decode
from tests.acceptance.programs import OTHER_KEY, Served, Simulator, hang_up_once, unique

PATH = "/v1/images/generations"
MODEL = "stable-sd3-t2i"


@pytest.fixture
def client(gateway: Served) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened


def ask(
    client: httpx.Client, prompt: str, headers: dict[str, str] | None = None, /, **fields: object
) -> httpx.Response:
    answer = client.post(PATH, json={"model": MODEL, "prompt": prompt, **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def urls(answer: httpx.Response) -> list[str]:
    return [image["url"] for image in answer.json()["data"]]


def state(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["x-gateway-cache"], re.sub(r"ttl=[0-9]+", "ttl=N", answer.headers["cache-status"])


HIT = ("hit", "gateway; hit; ttl=N")
MISS = ("miss", "gateway; fwd=miss; stored")
JOINED = ("joined", "gateway; fwd=miss; collapsed")


def test_ten_identical_requests_in_a_row_are_one_call(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()

    answers = [ask(client, prompt, size="1024x1024") for _ in range(10)]

    assert len(simulator.calls(prompt)) == 1
    assert len({tuple(urls(answer)) for answer in answers}) == 1
    assert [answer.headers["x-gateway-cache"] for answer in answers] == ["miss"] + ["hit"] * 9


async def test_ten_identical_requests_at_once_are_one_call(gateway: Served, simulator: Simulator) -> None:
    body = {"model": MODEL, "prompt": unique("[[delay:0.3]]")}

    async with gateway.async_client() as client:
        answers = await asyncio.gather(*(client.post(PATH, json=body) for _ in range(10)))

    assert len(simulator.calls(body["prompt"])) == 1
    assert len({tuple(urls(answer)) for answer in answers}) == 1
    assert sorted(answer.headers["x-gateway-cache"] for answer in answers) == ["joined"] * 9 + ["miss"]


def test_a_hit_says_how_long_it_will_be_one(client: httpx.Client) -> None:
    prompt = unique()

    first, second = ask(client, prompt), ask(client, prompt)

    assert (state(first), state(second)) == (MISS, HIT)
    ttl = int(re.findall(r"ttl=([0-9]+)", second.headers["cache-status"])[0])
    assert 3500 < ttl <= 3600


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"size": "1792x1024"}, id="size"),
        pytest.param({"aspect_ratio": "9:16"}, id="ratio"),
        pytest.param({"model": "stable-sd3-turbo-t2i"}, id="model"),
        pytest.param({"prompt_end": "!"}, id="prompt"),
        pytest.param({"negative_prompt": "rain"}, id="negative-prompt"),
        pytest.param({"seed": 1}, id="seed"),
        pytest.param({"output_format": "jpeg"}, id="output-format"),
    ],
)
def test_another_picture_is_another_call(client: httpx.Client, simulator: Simulator, other: dict[str, Any]) -> None:
    prompt = unique()
    ask(client, prompt, size="1024x1024")

    fields = {"size": "1024x1024", **{name: value for name, value in other.items() if name != "prompt_end"}}
    if "aspect_ratio" in fields:
        del fields["size"]
    answer = ask(client, prompt + other.get("prompt_end", ""), **fields)

    assert state(answer) == MISS
    assert len([call for call in simulator.calls() if call["payload"]["prompt"].startswith(prompt)]) == 2


@pytest.mark.parametrize(
    "same",
    [
        pytest.param({"aspect_ratio": "1:1"}, id="the-same-ratio"),
        pytest.param({"size": "512x512"}, id="a-size-of-that-ratio"),
        pytest.param({"model": "Stable_SD3"}, id="another-name"),
        pytest.param({"user": "u-1", "quality": "hd", "loras": []}, id="fields-that-are-not-sent"),
        pytest.param({"n": 1, "image": None}, id="what-is-the-default"),
    ],
)
def test_the_same_payload_is_the_same_call_however_it_was_asked(
    client: httpx.Client, simulator: Simulator, same: dict[str, Any]
) -> None:
    prompt = unique()
    ask(client, prompt, size="1024x1024")

    geometry = {} if "aspect_ratio" in same else {"size": "1024x1024"}
    answer = ask(client, prompt, **geometry, **{k: v for k, v in same.items() if k != "size"})

    assert state(answer) == HIT
    assert len(simulator.calls(prompt)) == 1


def test_every_key_of_the_gateway_shares_the_pictures(client: httpx.Client, gateway: Served) -> None:
    prompt = unique()
    ask(client, prompt)

    with gateway.client(OTHER_KEY) as other:
        assert state(ask(other, prompt)) == HIT


def test_four_pictures_after_one_are_three_calls(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()

    one, four = ask(client, prompt), ask(client, prompt, n=4)

    assert len(simulator.calls(prompt)) == 4
    assert urls(four)[:1] == urls(one)
    assert len(set(urls(four))) == 4
    assert state(four) == MISS


def test_the_bytes_of_a_hit_are_those_of_the_url(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()
    url = urls(ask(client, prompt))[0]

    answer = ask(client, prompt, response_format="b64_json")

    assert state(answer) == HIT
    assert decode(answer.json()["data"][0]["b64_json"]) == httpx.get(url, trust_env=False).content
    assert len(simulator.calls(prompt)) == 1


def test_no_cache_draws_anew_and_keeps_the_new_picture(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()
    old = ask(client, prompt)

    new = ask(client, prompt, {"cache-control": "no-cache"})

    assert state(new) == ("bypass", "gateway; fwd=request; stored")
    assert urls(new) != urls(old)
    assert (state(after := ask(client, prompt)), urls(after)) == (HIT, urls(new))
    assert len(simulator.calls(prompt)) == 2


def test_no_store_neither_looks_nor_keeps(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()

    first = ask(client, prompt, {"cache-control": "max-age=0, No-Store"})
    second = ask(client, prompt)
    third = ask(client, prompt, {"cache-control": "no-store"})

    assert [state(answer) for answer in (first, second, third)] == [
        ("bypass", "gateway; fwd=request"),
        MISS,
        ("bypass", "gateway; fwd=request"),
    ]
    assert urls(ask(client, prompt)) == urls(second)
    assert len(simulator.calls(prompt)) == 3


def test_a_call_goes_on_when_its_caller_hangs_up(gateway: Served, client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique("[[delay:0.5]]")
    hang_up_once(gateway, {"model": MODEL, "prompt": prompt}, lambda: simulator.wait_for_call(prompt))

    again = ask(client, prompt)

    assert state(again) in {JOINED, HIT}
    assert state(ask(client, prompt)) == HIT
    assert len(simulator.calls(prompt)) == 1


def test_plan_tells_what_is_kept_and_spends_nothing(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()
    body = {"model": MODEL, "prompt": prompt, "size": "1792x1024", "n": 2}
    ask(client, prompt, size="1792x1024")

    plan = client.post("/v1/images/plan", json=body).json()

    payload = {"model": MODEL, "prompt": prompt, "aspect_ratio": "16:9"}
    assert plan == {
        "object": "image.plan",
        "model": MODEL,
        "payloads": [payload, payload],
        "adjustments": ["size=1792x1024->aspect_ratio=16:9"],
        "fingerprints": plan["fingerprints"],
        "price": 0.2,
        "price_per_image": 0.1,
        "cached": [True, False],
    }
    assert len(set(plan["fingerprints"])) == 2
    assert len(simulator.calls(prompt)) == 1


UNKNOWN = ["network", "server-error", "truncated", "no-picture", "reset", "reset-mid-body"]


@pytest.mark.parametrize("failure", UNKNOWN)
def test_an_unknown_outcome_is_told_again_to_its_key_and_nothing_is_sent(
    client: httpx.Client, simulator: Simulator, failure: str
) -> None:
    body = {"model": MODEL, "prompt": unique(f"[[fail:{failure}]]")}

    answers = [client.post(PATH, json=body) for _ in range(5)]
    fresh = client.post(PATH, json=body, headers={"cache-control": "no-cache"})

    assert [answer.status_code for answer in (*answers, fresh)] == [502] * 6
    assert {answer.json()["error"]["code"] for answer in answers} == {"upstream_unknown"}
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
    assert len(simulator.calls(body["prompt"])) == 1


def test_an_unknown_outcome_is_not_told_to_another_key(
    client: httpx.Client, gateway: Served, simulator: Simulator
) -> None:
    # A flight that landed just now can still be joined; with no-cache it is one that nobody joins.
    body = {"model": MODEL, "prompt": unique("[[fail:server-error]]")}
    client.post(PATH, json=body, headers={"cache-control": "no-cache"})

    with gateway.client(OTHER_KEY) as other:
        assert other.post(PATH, json=body).status_code == 502

    assert len(simulator.calls(body["prompt"])) == 2


def test_what_was_surely_not_billed_is_not_remembered(client: httpx.Client, simulator: Simulator) -> None:
    body = {"model": MODEL, "prompt": unique("[[fail:no-channel]]")}

    answers = [client.post(PATH, json=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert len(simulator.calls(body["prompt"])) == 2 * 3  # each asks once more by itself
