"""Task mode: one POST, then asking that costs nothing, until there is a picture or a reason for none."""

import orjson
import pytest

from gateway.adapters.upstream import KeptTransport, Polling, UpstreamOptions
from gateway.core.errors import GatewayError, Kind
from gateway.ports import Drawn
from gateway.simulator.options import Failure
from tests.acceptance.programs import Simulator, unique
from tests.adapters.calling import MODEL, QUICK, Line, ids, line
from tests.adapters.servers import Conversation, answer, scripted

TASK = "568911aa-83d1-4c5b-9a54-0c3f7f6f2f11"
URL = "https://file.302.ai/gpt/imgs/1.png"
PENDING = answer(orjson.dumps({"task_id": TASK, "status": "pending"}), "Request-Id: r-1")
RUNS = answer(orjson.dumps({"task_id": TASK, "status": "processing"}))
DONE = answer(orjson.dumps({"task_id": TASK, "status": "completed", "image_url": URL}))
BROKEN = answer(b"oops", status="502 Bad Gateway")
GONE = answer(b'{"error": {"err_code": -10010}}', status="404 Not Found")
NOT_YOURS = answer(b'{"error": {"err_code": -10002}}', status="401 Unauthorized")
BUSY = answer(b"{}", status="429 Too Many Requests")
HANG_UP = b""


def made(transport: KeptTransport, url: str, *keys: str, timeout: float = 60, polling: Polling = QUICK) -> Line:
    return line(transport, url, keys or ("sk-one",), UpstreamOptions("task", timeout, 10, polling))


async def draw(on: Line, prompt: str) -> Drawn:
    body = orjson.dumps({"model": MODEL.id, "prompt": prompt})
    return await on.upstream.send(body, MODEL, known_model=True, progress=on.diary)


class Script:
    """A 302 that answers a POST by a task, and each GET by the next line."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.posts = 0
        self.asked: list[bytes] = []

    async def __call__(self, request: bytes, peer: Conversation) -> None:
        if request.startswith(b"POST"):
            self.posts += 1
            await peer.say(PENDING)
            return
        self.asked.append(request)
        said = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if said:
            await peer.say(said)
        else:
            peer.hang_up()


async def test_a_task_is_drawn_written_down_and_paid_once(transport: KeptTransport, simulator: Simulator) -> None:
    on = made(transport, simulator.url)
    prompt = unique("[[delay:0.1]]")

    drawn = await draw(on, prompt)

    (call,) = simulator.calls(prompt)
    key, id_, task = ids("sk-one")[0], call["request_id"], call["task_id"]
    assert drawn == Drawn(drawn.url, id_, key, task)
    assert drawn.url.startswith(simulator.url)
    sending, early, named = ("sending", key), ("accepted", key, id_, ""), ("accepted", key, id_, task)
    assert on.diary.told in (
        [sending, named],
        [sending, early, named],
    )  # the latter where the head came before the body
    assert await on.upstream.bill(id_, key) == 40_000


EXPECTED = {
    Failure.TASK_FAILED: (Kind.UPSTREAM_UNKNOWN, False),
    Failure.DOUBAO_CODE: (Kind.CONTENT_POLICY, False),
    Failure.AI_TIMEOUT: (Kind.UPSTREAM_UNKNOWN, False),
    Failure.GENERATION_TIMEOUT: (Kind.UPSTREAM_UNKNOWN, False),
    Failure.NO_PICTURE: (Kind.UPSTREAM_UNKNOWN, True),
    Failure.EMPTY_URL: (Kind.UPSTREAM_UNKNOWN, True),
    Failure.NSFW: (Kind.CONTENT_POLICY, True),
}


@pytest.mark.parametrize(("failure", "expected"), EXPECTED.items(), ids=EXPECTED)
async def test_a_task_that_fails_is_told_and_not_sent_again(
    transport: KeptTransport, simulator: Simulator, failure: Failure, expected: tuple[Kind, bool]
) -> None:
    on = made(transport, simulator.url, "sk-one", "sk-two")
    prompt = unique(f"[[fail:{failure}]]")

    with pytest.raises(GatewayError) as caught:
        await draw(on, prompt)

    assert (caught.value.kind, caught.value.outcome_unknown) == expected
    (call,) = simulator.calls(prompt)
    assert caught.value.upstream_request_id == call["request_id"]
    assert caught.value.upstream_key == on.diary.keys[0]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([RUNS, RUNS, DONE], id="runs"),
        pytest.param([BROKEN, HANG_UP, GONE, RUNS, BROKEN, HANG_UP, GONE, BROKEN, DONE], id="fails now and then"),
        pytest.param([BUSY] * 12 + [DONE], id="busy"),
    ],
)
async def test_asking_is_repeated_until_it_is_answered(transport: KeptTransport, lines: list[bytes]) -> None:
    script = Script(*lines)
    async with scripted(script) as server:
        drawn = await draw(made(transport, server.url), "x")

    assert drawn == Drawn(URL, "r-1", ids("sk-one")[0], TASK)
    assert (script.posts, len(script.asked)) == (1, len(lines))


@pytest.mark.parametrize("line_", [BROKEN, HANG_UP, GONE], ids=["broken", "hung-up", "gone"])
async def test_a_task_of_which_302_says_nothing_five_times_is_an_unknown_outcome(
    transport: KeptTransport, line_: bytes
) -> None:
    script = Script(line_)
    async with scripted(script) as server:
        with pytest.raises(GatewayError) as caught:
            await draw(made(transport, server.url), "x")

    assert (caught.value.kind, caught.value.outcome_unknown) == (Kind.UPSTREAM_UNKNOWN, True)
    assert (script.posts, len(script.asked)) == (1, 5)
    assert (caught.value.upstream_request_id, caught.value.upstream_key) == ("r-1", ids("sk-one")[0])


async def test_a_task_that_runs_past_the_deadline_is_a_timeout_and_not_sent_again(transport: KeptTransport) -> None:
    script = Script(RUNS)
    async with scripted(script) as server:
        with pytest.raises(GatewayError) as caught:
            await draw(made(transport, server.url, timeout=0.5), "x")

    assert (caught.value.kind, caught.value.outcome_unknown, script.posts) == (Kind.UPSTREAM_TIMEOUT, True, 1)
    assert caught.value.upstream_request_id == "r-1"


async def test_pauses_grow_to_the_longest(transport: KeptTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("gateway.adapters.upstream.tasks.asyncio.sleep", sleep)
    async with scripted(Script(*[RUNS] * 12, DONE)) as server:
        await draw(made(transport, server.url, polling=Polling()), "x")

    assert 0.4 <= pauses[0] <= 0.6
    assert all(2.4 <= pause <= 3.6 for pause in pauses[8:])


async def test_a_task_is_resumed_with_its_own_key(transport: KeptTransport, simulator: Simulator) -> None:
    on = made(transport, simulator.url, "sk-one", "sk-two")
    prompt = unique()
    first = await draw(on, prompt)

    again = await on.upstream.resume(first.task_id, first.upstream_key, MODEL)

    assert again == first
    assert len(simulator.calls(prompt)) == 1


async def test_a_task_whose_key_is_gone_is_asked_for_with_the_others(transport: KeptTransport) -> None:
    script = Script(NOT_YOURS, GONE, DONE)
    async with scripted(script) as server:
        drawn = await made(transport, server.url, "sk-1", "sk-2", "sk-3").upstream.resume(TASK, "k_00000000", MODEL)

    assert drawn.url == URL
    asked = [request.split(b"Bearer ")[1].split(b"\r\n")[0] for request in script.asked]
    assert sorted(asked) == [b"sk-1", b"sk-2", b"sk-3"]


@pytest.mark.parametrize("task", ["", "../../dashboard/balance", "a/b", "a?b=c", "ä"])
async def test_what_is_no_task_id_is_never_asked_for(transport: KeptTransport, task: str) -> None:
    script = Script(DONE)
    async with scripted(script) as server:
        with pytest.raises(GatewayError) as caught:
            await made(transport, server.url).upstream.resume(task, "", MODEL)

    assert (caught.value.kind, script.asked) == (Kind.UPSTREAM_UNKNOWN, [])


async def test_resuming_ends_at_the_deadline(transport: KeptTransport) -> None:
    async with scripted(Script(RUNS)) as server:
        with pytest.raises(GatewayError) as caught:
            await made(transport, server.url, timeout=0.3).upstream.resume(TASK, "", MODEL)

    assert caught.value.kind is Kind.UPSTREAM_TIMEOUT
