"""The same bytes again and again: each is answered, counted, limited and refused as if it were the first."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from functools import partial

import orjson
import pytest
from redis import Redis

from tests.acceptance.programs import KEY, OTHER_KEY, Simulator, serving, settings, unique
from tests.acceptance.repeating import MODEL, PATH, Scene, is_told, known, request_for, state, told, wait_for

ADMIN_KEY = "900150983cd24fb0d6963f7d28e17f72"
# What is each answer's own.
OWN = ("x-request-id", "openai-processing-ms", "cache-status")


@pytest.fixture(scope="module")
def scene(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data_dir = tmp_path_factory.mktemp("again")
    config = data_dir / "gateway.toml"
    config.write_text("")
    env = settings(simulator.url, data_dir, admin_key=ADMIN_KEY, config=str(config), cors_origins="https://app.example")
    with serving(env) as served, served.client(ADMIN_KEY) as admin:
        yield Scene(served, admin, config, Redis(unix_socket_path=str(data_dir / "valkey.sock")))


def test_each_is_answered_alike_and_is_in_the_log_the_numbers_and_the_books(scene: Scene, simulator: Simulator) -> None:
    team, key = scene.key(rpm=1000)
    prompt = unique()
    request = request_for(key["secret"], prompt, size="1792x1024", n=2)
    began = int(time.time())

    answers = [*known(scene, request), *[scene.ask(request) for _ in range(16)]]

    hits = answers[1:]
    assert len(simulator.calls(prompt)) == 2
    assert [told(answer) for answer in hits] == [told(answers[0])] * 19
    assert all(began <= orjson.loads(answer.body)["created"] <= time.time() for answer in answers)
    assert [[*answer.headers] for answer in hits] == [[*hits[0].headers]] * 19
    assert {"x-gateway-adjusted", *OWN} < hits[0].headers.keys()
    assert [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers] == [*range(999, 979, -1)]
    same = [name for name in hits[0].headers if name not in {*OWN, "x-ratelimit-remaining-requests"}]
    assert len({tuple(answer.headers[name] for name in same) for answer in hits}) == 1
    assert all(answer.headers["cache-status"].startswith("gateway; hit; ttl=3") for answer in hits)
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 20

    lines = [scene.served.program.log_of(request_id) for request_id in ids]
    own = {"ts", "request_id", "ms"}
    assert {len(line) for line in lines} == {1}
    first, *others = [{name: value for name, value in line.items() if name not in own} for [line] in lines[1:]]
    assert others == [first] * 18
    assert (first["endpoint"], first["status"], first["cache"], first["images"]) == ("generations", 200, "hit", 2)
    labels = {"team": team, "model": MODEL}
    assert scene.count("gateway_requests_total", endpoint="generations", code="ok", **labels) == 20
    assert scene.count("gateway_images_total", cache="hit", **labels) == 38
    assert scene.count("gateway_saved_usd_total", **labels) == pytest.approx(38 * 0.05)
    wait_for(lambda: scene.usage(team).get("requests") == 20)
    assert scene.usage(team) == {"requests": 20, "cached": 38, "images": 2, "failed": 0, "cost": 0.1}


async def test_many_at_once_are_each_counted(scene: Scene) -> None:
    _, key = scene.key(rpm=60)
    request = request_for(key["secret"], unique())
    known(scene, request)

    answers = await asyncio.gather(*(asyncio.to_thread(scene.ask, request) for _ in range(64)))

    served = [answer for answer in answers if answer.status == 200]
    assert sorted(int(answer.headers["x-ratelimit-remaining-requests"]) for answer in served) == [*range(56)]
    assert {answer.status for answer in answers} == {200, 429}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 64


def test_a_limit_is_counted_down_and_refuses_each_beyond_it(scene: Scene) -> None:
    team, key = scene.key(rpm=6)
    request = request_for(key["secret"], unique())

    answers = [scene.ask(request) for _ in range(9)]

    assert [answer.status for answer in answers] == [200] * 6 + [429] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == [*"543210000"]
    for answer in answers[6:]:
        assert answer.error["code"] == "rate_limit_exceeded"
        assert 0 < int(answer.headers["retry-after"]) <= 60
    assert scene.count("gateway_requests_total", team=team, code="rate_limit_exceeded") == 3


def test_two_keys_with_the_same_body_have_each_their_own_limit(scene: Scene, simulator: Simulator) -> None:
    prompt = unique()
    requests = [request_for(scene.key(rpm=rpm)[1]["secret"], prompt) for rpm in (4, 6)]

    answers = [[scene.ask(request) for request in requests] for _ in range(6)]

    assert [one.status for one, _ in answers] == [200] * 4 + [429] * 2
    assert [other.headers["x-ratelimit-remaining-requests"] for _, other in answers] == [*"543210"]
    assert len(simulator.calls(prompt)) == 1


def test_a_key_is_refused_from_when_it_may_ask_no_more(scene: Scene) -> None:
    _, key = scene.key()
    request = request_for(key["secret"], unique())
    other = request_for(key["secret"], unique(), path=b"/v1/images/plan")
    known(scene, request)

    seen = []
    for status, terms in (
        (401, {"disabled": True}),
        (200, {"disabled": False}),
        (403, {"models": ["dall-e-*"]}),
        (401, None),
    ):
        if terms is None:
            scene.admin.delete(f"/admin/v1/keys/{key['id']}").raise_for_status()
        else:
            scene.change(key, **terms)
        # The word of it is on its way to the worker; another of its requests is told when it has come.
        wait_for(partial(is_told, scene, other, status))
        seen += [scene.ask(request) for _ in range(3)]

    assert [answer.status for answer in seen] == [401] * 3 + [200] * 3 + [403] * 3 + [401] * 3
    assert [answer.error["code"] for answer in seen[::3] if answer.status != 200] == [
        *("key_disabled", "model_not_allowed", "key_disabled")
    ]


def test_a_picture_that_is_gone_is_drawn_and_paid_once_more(scene: Scene, simulator: Simulator) -> None:
    team, key = scene.key()
    prompt = unique()
    request = request_for(key["secret"], prompt)
    # A flight that has landed can still be joined for a moment; one that asked for a fresh picture is nobody else's.
    scene.ask(request_for(key["secret"], prompt, b"Cache-Control: no-cache"))
    before = [scene.ask(request) for _ in range(3)]
    scene.redis.flushall()

    after = [scene.ask(request) for _ in range(5)]

    assert [state(answer) for answer in [*before, *after]] == [*["hit"] * 3, "miss", *["hit"] * 4]
    assert [len({told(answer)["data"][0]["url"] for answer in answers}) for answers in (before, after)] == [1, 1]
    assert told(before[0]) != told(after[0])
    assert len(simulator.calls(prompt)) == 2
    wait_for(lambda: scene.usage(team).get("requests") == 9)
    assert (scene.usage(team)["cost"], scene.usage(team)["cached"]) == (pytest.approx(0.1), 7)


def test_requests_that_differ_in_little_are_not_mixed_up(scene: Scene) -> None:
    prompt = unique()
    size = "1792x1025"
    requests = {
        "one": request_for(KEY, prompt + "a"),
        "letter": request_for(KEY, prompt + "b"),
        "key": request_for(OTHER_KEY, prompt + "a"),
        "wrong key": request_for(KEY[:-1] + "!", prompt + "a"),
        "plan": request_for(KEY, prompt + "a", path=b"/v1/images/plan"),
        "rough": request_for(KEY, prompt + "a", b"x-gateway-coercion: documented", size=size),
        "strict": request_for(KEY, prompt + "a", b"x-gateway-coercion: strict", size=size),
        "several": request_for(KEY, prompt + "a", n=2),
    }

    rounds = [{name: scene.ask(request) for name, request in requests.items()} for _ in range(5)]

    last = rounds[-1]
    for name in requests:
        assert {seen[name].status for seen in rounds} == {last[name].status}
        bodies = [told(seen[name]) for seen in rounds[1:]]
        assert bodies == [bodies[0]] * 4
        assert {tuple(seen[name].headers) for seen in rounds[2:]} == {tuple(last[name].headers)}
    assert [last[name].status for name in requests] == [200, 200, 200, 401, 200, 200, 400, 200]
    pictures = {
        name: [image["url"] for image in told(last[name])["data"]] for name in ("one", "letter", "key", "several")
    }
    assert pictures["one"] == pictures["key"] == pictures["several"][:1] != pictures["letter"]
    assert told(last["plan"])["object"] == "image.plan"
    assert "x-gateway-adjusted" in last["rough"].headers
    keys = [scene.served.program.log_of(last[name].headers["x-request-id"])[0].get("key") for name in requests]
    assert keys == ["first", "first", "second", None, *["first"] * 4]


def test_a_web_page_gets_its_headers_each_time(scene: Scene) -> None:
    prompt = unique()
    page = request_for(KEY, prompt, b"Origin: https://app.example")
    known(scene, page)
    plain = [scene.ask(request_for(KEY, prompt)) for _ in range(3)]

    pages = [scene.ask(page) for _ in range(3)]
    strangers = [scene.ask(request_for(KEY, prompt, b"Origin: https://elsewhere.example")) for _ in range(3)]

    assert {seen.headers["access-control-allow-origin"] for seen in pages} == {"https://app.example"}
    for seen in [*plain, *strangers]:
        assert (state(seen), "access-control-allow-origin" in seen.headers) == ("hit", False)


@pytest.mark.parametrize("header", [b"Cache-Control: no-cache", b"Cache-Control: no-store"])
def test_who_wants_no_kept_picture_gets_none(scene: Scene, simulator: Simulator, header: bytes) -> None:
    prompt = unique()
    known(scene, request_for(KEY, prompt))

    answers = [scene.ask(request_for(KEY, prompt, header)) for _ in range(3)]

    assert [state(answer) for answer in answers] == ["bypass"] * 3
    assert len({told(answer)["data"][0]["url"] for answer in answers}) == len(simulator.calls(prompt)) - 1 == 3


def test_a_named_request_is_replayed_each_time(scene: Scene, simulator: Simulator) -> None:
    prompt = unique()
    named = request_for(KEY, prompt, b"Idempotency-Key: " + unique("n").encode())

    answers = [scene.ask(named) for _ in range(4)]

    assert len({answer.body for answer in answers}) == len(simulator.calls(prompt)) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, *["true"] * 3]


def test_bytes_and_streams_come_each_time(scene: Scene, simulator: Simulator) -> None:
    prompt = unique()
    url = known(scene, request_for(KEY, prompt))[0]
    encoded = [scene.ask(request_for(KEY, prompt, response_format="b64_json")) for _ in range(3)]
    with scene.served.client() as client:
        body = {"model": MODEL, "prompt": prompt, "stream": True}
        streams = [client.post(PATH.decode(), json=body) for _ in range(3)]

    assert told(url)["data"][0].keys() == {"url"}
    assert [told(answer) for answer in encoded] == [told(encoded[0])] * 3
    for answer in encoded:
        assert (state(answer), told(answer)["data"][0].keys()) == ("hit", {"b64_json"})
    for stream in streams:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "image_generation.completed" in stream.text
    assert len(simulator.calls(prompt)) == 1


def test_a_kept_connection_is_answered_in_order_whatever_is_asked_between(scene: Scene) -> None:
    body = {"model": MODEL, "prompt": unique()}

    with scene.served.client() as client:
        answers = [client.post(PATH.decode(), json=body) for _ in range(4)]
        models = client.get("/v1/models")
        missing = client.post(PATH.decode(), json={**body, "prompt": ""})
        after = client.post(PATH.decode(), json=body)

    assert (models.json()["object"], missing.status_code) == ("list", 400)
    assert [answer.headers["x-gateway-cache"] for answer in [*answers, after]] == ["miss", *["hit"] * 4]
    assert after.json()["data"] == answers[0].json()["data"]


def test_what_a_reload_changes_holds_from_then_on(scene: Scene, simulator: Simulator) -> None:
    prompt = unique()
    request = request_for(KEY, prompt, size="1792x1025")
    known(scene, request)
    try:
        scene.reload('coercion = "strict"\n')
        strict = [scene.ask(request) for _ in range(2)]
        scene.config.write_text('default_model = "flux-dev"\n')
        os.kill(scene.served.program.process.pid, signal.SIGHUP)
        wait_for(lambda: scene.ask(request).status == 200)
        answers = [scene.ask(request) for _ in range(3)]
    finally:
        scene.reload("")

    assert [answer.error["code"] for answer in strict] == ["invalid_value"] * 2
    assert [state(answer) for answer in answers] == ["hit"] * 3
    assert len(simulator.calls(prompt)) == 1
