"""A refused call moves to another key; a call that may have been billed never does. Counted at the simulator."""

import asyncio
from contextlib import suppress

import httpx
import orjson
import pytest

from gateway.adapters.upstream import KeptTransport, UpstreamOptions
from gateway.core.errors import GatewayError, Kind
from gateway.ports import Drawn
from gateway.simulator.options import Failure
from tests.acceptance.programs import Simulator, unique
from tests.adapters.calling import MODEL, QUICK, Diary, Line, ids, line
from tests.adapters.servers import Conversation, answer, refusing, scripted
from tests.fakes import FakeClock

ONE, TWO, THREE = "sk-a-one", "sk-a-two", "sk-three"
MODES = ["sync", "task"]

MOVES = {
    Failure.UNAUTHORIZED: "refused",
    Failure.FORBIDDEN: "ok",  # for this model only
    Failure.KEY_EXPIRED: "refused",
    Failure.BALANCE: "balance",
    Failure.QUOTA: "quota",
    Failure.DAILY_QUOTA: "daily-quota",
    Failure.MONTHLY_QUOTA: "monthly-quota",
    Failure.RATE_LIMITED: "busy",
}


def made(transport: httpx.AsyncBaseTransport, url: str, *keys: str, mode: str = "sync", timeout: float = 60) -> Line:
    options = UpstreamOptions("task" if mode == "task" else "sync", timeout, 10, QUICK)
    return line(transport, url, keys or (ONE, TWO), options)


async def draw(on: Line, prompt: str) -> Drawn:
    body = orjson.dumps({"model": MODEL.id, "prompt": prompt})
    return await on.upstream.send(body, MODEL, known_model=True, progress=on.diary)


def of_each(failure: Failure, *keys: str) -> str:
    return unique("".join(f"[[fail:{failure}@{key[-4:]}]]" for key in keys))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("failure", "state"), MOVES.items(), ids=MOVES)
async def test_what_one_key_is_refused_another_gets_in_the_same_call(
    transport: KeptTransport, simulator: Simulator, failure: Failure, state: str, mode: str
) -> None:
    on = made(transport, simulator.url, mode=mode)
    prompt = of_each(failure, ONE)
    struck = False
    while not struck:  # which key is drawn first is chance
        drawn = await draw(on, prompt)
        assert drawn.upstream_key == ids(TWO)[0]
        struck = ids(ONE)[0] in on.diary.keys

    assert on.states() == {ids(ONE)[0]: state, ids(TWO)[0]: "ok"}
    calls = simulator.calls(prompt)
    assert [call["status"] for call in calls if call["key"] == "-two"] == [200] * (len(calls) - 1)
    assert len(calls) == len(on.diary.keys)


KINDS = {
    Failure.UNAUTHORIZED: Kind.UPSTREAM_CREDENTIALS,
    Failure.FORBIDDEN: Kind.UPSTREAM_CREDENTIALS,
    Failure.BALANCE: Kind.UPSTREAM_BALANCE,
    Failure.DAILY_QUOTA: Kind.UPSTREAM_BALANCE,
    Failure.RATE_LIMITED: Kind.UPSTREAM_RATE_LIMITED,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("failure", "kind"), KINDS.items(), ids=KINDS)
async def test_what_every_key_is_refused_the_caller_hears_as_ours(
    transport: KeptTransport, simulator: Simulator, failure: Failure, kind: Kind, mode: str
) -> None:
    on = made(transport, simulator.url, mode=mode)
    prompt = of_each(failure, ONE, TWO)

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert (caught.value.kind, caught.value.outcome_unknown) == (kind, False)
    assert caught.value.retry_after == (3 if kind is Kind.UPSTREAM_RATE_LIMITED else None)
    calls = simulator.calls(prompt)
    assert sorted(call["key"] for call in calls) == ["-one", "-two"]
    assert caught.value.upstream_request_id == calls[-1]["request_id"]
    assert caught.value.upstream_key in ids(ONE, TWO)
    assert "sk-" not in caught.value.message


async def test_busy_on_one_and_refused_on_the_other_is_worth_waiting_for(
    transport: KeptTransport, simulator: Simulator
) -> None:
    on = made(transport, simulator.url)

    with pytest.raises(GatewayError) as caught:
        await draw(on, unique("[[fail:unauthorized@-one]][[fail:rate-limited@-two]]"))

    assert (caught.value.kind, caught.value.retry_after) == (Kind.UPSTREAM_RATE_LIMITED, 3)
    before = len(simulator.calls())
    with pytest.raises(GatewayError):
        await draw(on, unique())
    assert len(simulator.calls()) == before


UNKNOWN = [
    *(Failure.NETWORK, Failure.SERVER_ERROR, Failure.BAD_GATEWAY_HTML, Failure.OK_HTML, Failure.TRUNCATED),
    *(Failure.RESET, Failure.RESET_MID_BODY, Failure.ECHO_KEY),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("failure", UNKNOWN)
async def test_what_may_have_been_billed_is_never_sent_again(
    transport: KeptTransport, simulator: Simulator, failure: Failure, mode: str
) -> None:
    on = made(transport, simulator.url, ONE, TWO, THREE, mode=mode)
    prompt = unique(f"[[fail:{failure}]]")

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert (caught.value.kind, caught.value.outcome_unknown) == (Kind.UPSTREAM_UNKNOWN, True)
    assert len(simulator.calls(prompt)) == len(on.diary.keys) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_times_out_is_never_sent_again(
    transport: KeptTransport, simulator: Simulator, mode: str
) -> None:
    on = made(transport, simulator.url, mode=mode, timeout=1)
    prompt = unique("[[fail:hang]]")

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert (caught.value.kind, len(simulator.calls(prompt))) == (Kind.UPSTREAM_TIMEOUT, 1)
    assert caught.value.upstream_key == on.diary.keys[0]


@pytest.mark.parametrize("mode", MODES)
async def test_a_hundred_calls_at_once_on_a_key_that_dies_are_each_drawn_once(
    transport: KeptTransport, simulator: Simulator, mode: str
) -> None:
    on = made(transport, simulator.url, mode=mode)
    prompt = of_each(Failure.UNAUTHORIZED, ONE)

    drawn = await asyncio.gather(*(draw(on, prompt) for _ in range(100)))

    calls = simulator.calls(prompt)
    assert len({picture.url for picture in drawn}) == 100
    assert [call["status"] for call in calls].count(200) == 100
    assert len(calls) <= 200


async def test_an_ailing_302_is_not_hammered(transport: KeptTransport, simulator: Simulator) -> None:
    """500 tokens pay for 100 moves of busy calls; the rest are told to come back."""
    clock = FakeClock()
    line_ = line(
        transport, simulator.url, [f"sk-{n}-busy" for n in range(400)], UpstreamOptions(concurrency=500), clock=clock
    )
    prompt = unique("[[fail:rate-limited]]")

    answers = await asyncio.gather(*(draw(line_, prompt) for _ in range(50)), return_exceptions=True)

    assert {error.kind for error in answers if isinstance(error, GatewayError)} == {Kind.UPSTREAM_RATE_LIMITED}
    assert len(simulator.calls(prompt)) == 150


async def test_nothing_is_sent_unless_it_was_written_down_and_each_key_is_told(
    transport: KeptTransport, simulator: Simulator
) -> None:
    on = made(transport, simulator.url)
    on.diary.failing["sending"] = GatewayError(Kind.STORE_UNAVAILABLE, "no ledger")
    prompt = unique()

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert caught.value.kind is Kind.STORE_UNAVAILABLE
    assert simulator.calls(prompt) == []
    assert [status.in_flight for status in on.keys.snapshot()] == [0, 0]


async def test_a_ledger_that_fails_on_the_second_key_stops_the_second_post(
    transport: KeptTransport, simulator: Simulator
) -> None:
    class Once(Diary):
        async def sending(self, upstream_key_id: str) -> None:
            await super().sending(upstream_key_id)
            self.failing["sending"] = GatewayError(Kind.STORE_UNAVAILABLE, "no ledger")

    on = made(transport, simulator.url)
    on.diary = Once()
    prompt = of_each(Failure.BALANCE, ONE, TWO)

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert (caught.value.kind, len(simulator.calls(prompt))) == (Kind.STORE_UNAVAILABLE, 1)


async def test_a_picture_is_worth_more_than_the_note_of_its_task(
    transport: KeptTransport, simulator: Simulator
) -> None:
    on = made(transport, simulator.url, mode="task")
    on.diary.failing["accepted"] = RuntimeError("no ledger")

    assert (await draw(on, unique())).url
    assert on.diary.told[-1][0] == "accepted"


async def test_the_diary_of_a_call(transport: KeptTransport, simulator: Simulator) -> None:
    on = made(transport, simulator.url, ONE)
    prompt = unique()

    drawn = await draw(on, prompt)

    (call,) = simulator.calls(prompt)
    sending, accepted = ("sending", ids(ONE)[0]), ("accepted", ids(ONE)[0], call["request_id"], "")
    assert on.diary.told in ([sending], [sending, accepted])  # the latter where the head came before the body
    assert drawn == Drawn(drawn.url, call["request_id"], ids(ONE)[0])


@pytest.mark.parametrize("failing", [{}, {"accepted": RuntimeError("no ledger")}], ids=["noted", "not-noted"])
async def test_the_id_of_a_call_is_told_before_its_answer_has_come_which_is_worth_more_than_the_note_of_it(
    transport: KeptTransport, failing: dict[str, Exception]
) -> None:
    told = asyncio.Event()

    class Waiting(Diary):
        async def accepted(self, upstream_key_id: str, request_id: str, task_id: str) -> None:
            told.set()
            await super().accepted(upstream_key_id, request_id, task_id)

    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nRequest-Id: r-1\r\nContent-Length: 38\r\n\r\n")
        await told.wait()
        await peer.say(b'{"image_url": "https://x.example/1.x"}')

    async with scripted(tell) as server:
        on = made(transport, server.url, ONE)
        on.diary = Waiting(failing=failing)
        drawn = await draw(on, "x")

    assert (drawn.url, drawn.request_id) == ("https://x.example/1.x", "r-1")
    assert on.diary.told[-1] == ("accepted", ids(ONE)[0], "r-1", "")


async def test_nobody_listening_is_tried_once_more_and_told_of_each_time(transport: KeptTransport) -> None:
    taken, url = refusing()
    on = made(transport, url)

    with taken, pytest.raises(GatewayError) as caught:
        await draw(on, "x")

    assert caught.value.kind is Kind.UPSTREAM_UNREACHABLE
    assert len(on.diary.keys) == 2
    assert set(on.states().values()) == {"ok"}


async def test_a_302_that_comes_back_between_two_tries_draws(transport: KeptTransport) -> None:
    posts = 0

    class Back(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal posts
            posts += 1
            if posts == 1:
                raise httpx.ConnectError("refused")
            return await transport.handle_async_request(request)

    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(b'{"image_url": "https://x.example/1.png"}'))

    async with scripted(tell) as server:
        drawn = await draw(made(Back(), server.url), "x")
        assert len(server.requests) == 1

    assert (drawn.url, posts) == ("https://x.example/1.png", 2)


async def test_a_deadline_that_ends_between_two_keys_tells_what_the_first_said(transport: KeptTransport) -> None:
    class Slow(Diary):
        async def sending(self, upstream_key_id: str) -> None:
            await super().sending(upstream_key_id)
            if len(self.keys) > 1:
                await asyncio.Event().wait()

    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(b'{"error": {"err_code": -10004}}', status="402 Payment Required"))

    async with scripted(tell) as server:
        on = made(transport, server.url, timeout=0.5)
        on.diary = Slow()
        with pytest.raises(GatewayError) as caught:
            await draw(on, "x")
        assert len(server.requests) == 1

    assert (caught.value.kind, caught.value.outcome_unknown) == (Kind.UPSTREAM_BALANCE, False)


async def test_five_server_errors_cool_the_key_they_came_from(transport: KeptTransport, simulator: Simulator) -> None:
    on = made(transport, simulator.url)
    while on.states()[ids(ONE)[0]] == "ok":
        with suppress(GatewayError):
            await draw(on, unique("[[fail:server-error@-one]]"))

    assert on.states() == {ids(ONE)[0]: "failing", ids(TWO)[0]: "ok"}
    assert on.diary.keys.count(ids(ONE)[0]) == 5


async def test_no_key_is_shown_or_logged_whatever_goes_wrong(
    transport: KeptTransport, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    on = made(transport, simulator.url, "sk-canary")
    on.diary.failing["accepted"] = RuntimeError("no ledger")
    told = [repr(on.keys.lend("m"))]
    for failure in Failure:
        if failure is not Failure.HANG:
            with pytest.raises(GatewayError) as caught:
                await draw(on, unique(f"[[fail:{failure}]]"))
            told.append(repr(caught.value) + caught.value.message)
    tasks = made(transport, simulator.url, "sk-canary", mode="task")
    tasks.diary.failing["accepted"] = RuntimeError("no ledger")
    await draw(tasks, unique())

    assert "written down" in caplog.text
    assert "canary" not in repr(on) + caplog.text + "".join(told)
