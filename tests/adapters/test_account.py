"""What 302's dashboard says, read with care: a bill that is not there is not a bill of nothing."""

from collections.abc import AsyncIterator
from decimal import Decimal

import orjson
import pytest

from gateway.adapters.upstream import KeptTransport
from gateway.core.errors import GatewayError, Kind
from tests.acceptance.programs import simulating
from tests.adapters.calling import ids, line
from tests.adapters.servers import Conversation, Handler, answer, refusing, scripted


@pytest.fixture
async def transport() -> AsyncIterator[KeptTransport]:
    made = KeptTransport()
    yield made
    await made.aclose()


def saying(*answers: bytes) -> tuple[list[bytes], Handler]:
    asked: list[bytes] = []
    left = list(answers)

    async def tell(request: bytes, peer: Conversation) -> None:
        asked.append(request)
        await peer.say(left.pop(0) if len(left) > 1 else left[0])

    return asked, tell


def record(**data: object) -> bytes:
    return answer(orjson.dumps({"data": data}))


@pytest.mark.parametrize(
    ("said", "bill"),
    [
        (record(cost=0.035, model="m"), 35_000),
        (record(cost="0.04"), 40_000),
        (record(cost=0), 0),
        (record(cost=1e-7), 1),
        (record(cost=0.1 + 0.2), 300_001),
        (record(cost=-1), None),
        (record(cost=True), None),
        (record(cost="NaN"), None),
        (record(cost="much"), None),
        (record(cost=None), None),
        (answer(b'{"code": -1, "msg": "record not found"}'), None),
        (answer(b'{"code": -1, "msg": "record not found"}', status="404 Not Found"), None),
        (answer(b"<html>"), None),
        (answer(b"{}", status="429 Too Many Requests"), None),
    ],
)
async def test_a_bill_is_read_in_micro_usd_or_not_known(
    transport: KeptTransport, said: bytes, bill: int | None
) -> None:
    _, tell = saying(said)
    async with scripted(tell) as server:
        assert await line(transport, server.url).upstream.bill("r-1", "") == bill


async def test_a_task_booked_under_several_ids_is_billed_together_or_not_yet(transport: KeptTransport) -> None:
    asked, tell = saying(record(cost=0.01), record(cost=0.02), answer(b"{}", status="404 Not Found"))
    async with scripted(tell) as server:
        upstream = line(transport, server.url).upstream
        assert await upstream.bill("a,b", "") == 30_000
        assert await upstream.bill("a,b", "") is None

    assert [request.split(b" ")[1] for request in asked] == [b"/dashboard/record/" + id_ for id_ in (b"a", b"b", b"a")]


@pytest.mark.parametrize("request_id", ["", "../balance", "a/b", "a?b", "a b", ","])
async def test_what_can_be_no_request_id_is_not_asked_for(transport: KeptTransport, request_id: str) -> None:
    asked, tell = saying(record(cost=1))
    async with scripted(tell) as server:
        assert await line(transport, server.url).upstream.bill(request_id, "") is None

    assert asked == []


async def test_a_bill_is_asked_for_with_the_calls_own_key_then_the_others(transport: KeptTransport) -> None:
    refused = answer(b"{}", status="401 Unauthorized")
    asked, tell = saying(refused, record(cost=1))
    async with scripted(tell) as server:
        on = line(transport, server.url, ["sk-1", "sk-2"])
        assert await on.upstream.bill("r-1", ids("sk-2")[0]) == 1_000_000

    assert [request.split(b"Bearer ")[1][:4] for request in asked] == [b"sk-2", b"sk-1"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(b"{}", status="401 Unauthorized"), Kind.UPSTREAM_CREDENTIALS),
        (answer(b"{}", status="503 Service Unavailable"), Kind.UPSTREAM_UNREACHABLE),
    ],
)
async def test_a_302_that_cannot_be_asked_is_no_unknown_bill(transport: KeptTransport, said: bytes, kind: Kind) -> None:
    _, tell = saying(said)
    async with scripted(tell) as server:
        with pytest.raises(GatewayError) as caught:
            await line(transport, server.url).upstream.bill("r-1", "")

    assert caught.value.kind is kind


async def test_the_balance_behind_each_key(transport: KeptTransport) -> None:
    with simulating("--key", "sk-good", "--balance", "12.5") as simulator:
        found = await line(transport, simulator.url, ["sk-good", "sk-bad"]).account.balances()

    good, bad = (found[id_] for id_ in ids("sk-good", "sk-bad"))
    assert good == Decimal("12.5")
    assert isinstance(bad, GatewayError)
    assert bad.kind is Kind.UPSTREAM_CREDENTIALS


async def test_no_balance_without_302(transport: KeptTransport) -> None:
    taken, url = refusing()

    with taken:
        (found,) = (await line(transport, url).account.balances()).values()

    assert isinstance(found, GatewayError)
    assert found.kind is Kind.UPSTREAM_UNREACHABLE
