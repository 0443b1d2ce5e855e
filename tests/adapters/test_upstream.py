"""302's every failure is the kind it means, and nothing is ever sent twice."""

import asyncio
from collections.abc import Sequence

import httpx
import orjson
import pytest

from gateway.adapters.upstream import KeptTransport, KeyPool, UpstreamOptions
from gateway.core.catalogue import Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.shapes import Free
from gateway.ports import Drawn
from gateway.simulator.options import Failure
from tests.acceptance.programs import Simulator, unique
from tests.adapters.calling import Line, NoProgress, NoStore, line
from tests.adapters.servers import Conversation, answer, refusing, scripted
from tests.fakes import FakeClock, until

EXPECTED = {
    Failure.BAD_REQUEST: Kind.UPSTREAM_INVALID_REQUEST,
    Failure.UNAUTHORIZED: Kind.UPSTREAM_CREDENTIALS,
    Failure.FORBIDDEN: Kind.UPSTREAM_CREDENTIALS,
    Failure.BALANCE: Kind.UPSTREAM_BALANCE,
    Failure.QUOTA: Kind.UPSTREAM_BALANCE,
    Failure.DAILY_QUOTA: Kind.UPSTREAM_BALANCE,
    Failure.MONTHLY_QUOTA: Kind.UPSTREAM_BALANCE,
    Failure.KEY_EXPIRED: Kind.UPSTREAM_CREDENTIALS,
    Failure.RATE_LIMITED: Kind.UPSTREAM_RATE_LIMITED,
    Failure.NO_CHANNEL: Kind.UPSTREAM_MODEL_UNAVAILABLE,
    Failure.NETWORK: Kind.UPSTREAM_UNKNOWN,
    Failure.AI_TIMEOUT: Kind.UPSTREAM_TIMEOUT,
    Failure.GENERATION_TIMEOUT: Kind.UPSTREAM_TIMEOUT,
    Failure.SERVER_ERROR: Kind.UPSTREAM_UNKNOWN,
    Failure.BAD_GATEWAY_HTML: Kind.UPSTREAM_UNKNOWN,
    Failure.OK_HTML: Kind.UPSTREAM_UNKNOWN,
    Failure.TRUNCATED: Kind.UPSTREAM_UNKNOWN,
    Failure.NO_PICTURE: Kind.UPSTREAM_UNKNOWN,
    Failure.EMPTY_URL: Kind.UPSTREAM_UNKNOWN,
    Failure.TASK_FAILED: Kind.UPSTREAM_UNKNOWN,
    Failure.ERROR_IN_200: Kind.UPSTREAM_MODEL_UNAVAILABLE,
    Failure.DOUBAO_CODE: Kind.CONTENT_POLICY,
    Failure.NSFW: Kind.CONTENT_POLICY,
    Failure.RESET: Kind.UPSTREAM_UNKNOWN,
    Failure.RESET_MID_BODY: Kind.UPSTREAM_UNKNOWN,
    Failure.HANG: Kind.UPSTREAM_TIMEOUT,
    Failure.ECHO_KEY: Kind.UPSTREAM_UNKNOWN,
}
NO_ANSWER = {Failure.RESET, Failure.HANG}


@pytest.fixture
def model() -> Model:
    return Model("dall-e-3-t2i", "free", Free(), "none", 40_000)


class Sender:
    """An upstream that tells nobody how far it is."""

    def __init__(self, on: Line) -> None:
        self.on = on

    async def send(self, data: bytes, model: Model, *, known_model: bool) -> Drawn:
        return await self.on.upstream.send(data, model, known_model=known_model, progress=NoProgress())


def upstream(
    transport: httpx.AsyncBaseTransport,
    url: str,
    keys: Sequence[str] = ("sk-one",),
    timeout: float = 60,
    concurrency: int = 10,
) -> Sender:
    return Sender(line(transport, url, keys, UpstreamOptions(timeout=timeout, concurrency=concurrency)))


def body(prompt: str) -> bytes:
    return orjson.dumps({"model": "dall-e-3-t2i", "prompt": prompt})


def test_every_failure_has_its_kind() -> None:
    assert EXPECTED.keys() == set(Failure)


@pytest.mark.parametrize(("failure", "kind"), EXPECTED.items(), ids=EXPECTED)
async def test_each_failure_of_302_is_its_kind_after_one_call(
    transport: KeptTransport, simulator: Simulator, model: Model, failure: Failure, kind: Kind
) -> None:
    prompt = unique(f"[[fail:{failure}]]")
    sender = upstream(transport, simulator.url, timeout=1 if failure is Failure.HANG else 60)

    with pytest.raises(GatewayError) as caught:
        await sender.send(body(prompt), model, known_model=True)

    assert caught.value.kind is kind
    calls = simulator.calls(prompt)
    # "No channel" is said of a shortage that may be over the next moment, so it is asked once more.
    assert len(calls) == (2 if kind is Kind.UPSTREAM_MODEL_UNAVAILABLE else 1)
    call = calls[-1]
    assert caught.value.upstream_request_id == ("" if failure in NO_ANSWER else call["request_id"])
    assert "sk-one" not in caught.value.message


async def test_a_picture_comes_with_its_url_and_302s_id(
    transport: KeptTransport, simulator: Simulator, model: Model
) -> None:
    prompt = unique()

    drawn = await upstream(transport, f"{simulator.url}/").send(body(prompt), model, known_model=True)

    (call,) = simulator.calls(prompt)
    assert drawn.url.startswith(simulator.url)
    assert drawn.request_id == call["request_id"]


async def test_no_channel_for_an_id_of_no_row_is_an_unknown_model(
    transport: KeptTransport, simulator: Simulator, model: Model
) -> None:
    with pytest.raises(GatewayError) as caught:
        await upstream(transport, simulator.url).send(body(unique("[[fail:no-channel]]")), model, known_model=False)

    assert (caught.value.kind, caught.value.param) == (Kind.MODEL_NOT_FOUND, "model")


async def test_how_long_302_asks_to_wait_is_handed_on(
    transport: KeptTransport, simulator: Simulator, model: Model
) -> None:
    with pytest.raises(GatewayError) as caught:
        await upstream(transport, simulator.url).send(body(unique("[[fail:rate-limited]]")), model, known_model=True)

    assert caught.value.retry_after == 3


async def test_nobody_listening_is_unreachable_and_nothing_was_sent(transport: KeptTransport, model: Model) -> None:
    taken, url = refusing()

    with taken, pytest.raises(GatewayError) as caught:
        await upstream(transport, url).send(body("x"), model, known_model=True)

    assert caught.value.kind is Kind.UPSTREAM_UNREACHABLE
    assert not caught.value.kind.row.outcome_unknown


async def test_a_row_of_the_catalogue_may_lower_the_deadline(
    transport: KeptTransport, simulator: Simulator, model: Model
) -> None:
    quick = Model(model.id, model.shape_name, model.shape, model.image, model.price, timeout=0.2)

    with pytest.raises(GatewayError) as caught:
        await upstream(transport, simulator.url).send(body(unique("[[fail:hang]]")), quick, known_model=True)

    assert caught.value.kind is Kind.UPSTREAM_TIMEOUT


async def test_what_waits_for_a_free_call_until_its_deadline_was_never_sent(
    transport: KeptTransport, simulator: Simulator, model: Model
) -> None:
    sender = upstream(transport, simulator.url, timeout=2, concurrency=1)
    first, second = unique("[[fail:hang]]"), unique()
    running = asyncio.ensure_future(sender.send(body(first), model, known_model=True))
    await until(lambda: bool(simulator.calls(first)))
    late = Model(model.id, model.shape_name, model.shape, model.image, model.price, timeout=0.1)

    with pytest.raises(GatewayError) as caught:
        await sender.send(body(second), late, known_model=True)

    assert caught.value.kind is Kind.OVERLOADED
    assert simulator.calls(second) == []
    with pytest.raises(GatewayError):
        await running


@pytest.mark.parametrize("length", [5 * 1024 * 1024, 64 * 1024 * 1024], ids=["5-mib", "64-mib"])
async def test_an_endless_answer_is_not_read_to_its_end(transport: KeptTransport, model: Model, length: int) -> None:
    said = 0

    async def tell(_request: bytes, peer: Conversation) -> None:
        nonlocal said
        await peer.say(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        for _ in range(length // 65536):
            await peer.say(b" " * 65536)
            said += 65536

    async with scripted(tell) as server:
        with pytest.raises(GatewayError) as caught:
            await upstream(transport, server.url).send(body("x"), model, known_model=True)

    assert caught.value.kind is Kind.UPSTREAM_UNKNOWN
    assert said < 40 * 1024 * 1024


async def test_a_redirect_is_not_followed_with_our_key(transport: KeptTransport, model: Model) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(b"", f"Location: {server.url}/elsewhere", status="307 Temporary Redirect"))

    async with scripted(tell) as server:
        with pytest.raises(GatewayError) as caught:
            await upstream(transport, server.url).send(body("x"), model, known_model=True)

    assert caught.value.kind is Kind.UPSTREAM_UNKNOWN
    assert len(server.requests) == 1


def test_a_pool_and_what_it_lends_hide_the_keys() -> None:
    pool = KeyPool(["sk-one"], NoStore(), FakeClock())

    assert "sk-one" not in repr(pool) + repr(pool.lend("m")) + repr(pool.snapshot())
