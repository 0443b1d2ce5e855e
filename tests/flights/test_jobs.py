"""The life of jobs, on fakes: what is promised is done, by whoever is left, and told."""

import asyncio

import msgspec
import orjson
import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.errors import GatewayError, Kind
from gateway.core.jobs import Ended, Job, JobState, Receipt, Wanted
from gateway.core.order import Asked
from gateway.core.outcome import Outcome
from gateway.core.request import Dialect
from gateway.ports import DatabaseUnavailableError
from tests.fakes import reading, until
from tests.world import FIRST, World

BODY = orjson.dumps({"prompt": "a cat", "n": 2, "webhook": "https://hooks.example/"})
ENDED = Ended(1, ("https://pictures.example/1.png",))


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


async def take(world: World, body: bytes = BODY, attempt: str | None = None) -> Job:
    asked = Asked(reading(body), attempt=attempt)
    asking = await world.later.accept(FIRST, asked, Outcome("req_1", "POST"), "")
    job, _ = await world.later.submit(asking)
    return job


async def done(world: World, id_: str, *, told: bool = True) -> Job:
    await until(lambda: world.jobs.rows[id_].told is not None if told else world.jobs.rows[id_].ended is not None)
    return world.jobs.rows[id_]


async def test_a_job_is_done_and_told(world: World) -> None:
    job = await take(world)

    ended = await done(world, job.id)

    assert ended.ended is not None
    assert sorted(ended.ended.urls) == ["https://pictures.example/1.png", "https://pictures.example/2.png"]
    [(url, id_, body)] = world.webhooks.posted
    assert (url, id_, orjson.loads(body)["data"]["id"]) == ("https://hooks.example/", job.id, job.id)
    assert [(one.endpoint, one.status, one.images, one.team) for one in world.observer.outcomes] == [
        ("job", 200, 2, "first")
    ]


async def test_an_error_is_noted_and_told(world: World) -> None:
    world.upstream.failure = GatewayError(Kind.CONTENT_POLICY, "No.")
    job = await take(world)

    ended = await done(world, job.id)

    assert ended.ended is not None
    assert ended.ended.code == "content_policy_violation"
    assert orjson.loads(world.webhooks.posted[0][2])["data"]["error"]["message"] == "No."
    assert world.observer.outcomes[0].code == "content_policy_violation"


async def test_a_fault_of_ours_is_noted_and_logged(world: World) -> None:
    world.upstream.failure = RuntimeError("bug")
    job = await take(world)

    ended = await done(world, job.id)

    assert ended.ended is not None
    assert ended.ended.code == "internal_error"
    assert world.observer.faults


async def test_without_a_database_nothing_is_promised_and_nothing_sent(world: World) -> None:
    world.jobs.away = True

    with pytest.raises(GatewayError) as caught:
        await take(world)

    assert (caught.value.kind, world.upstream.bodies) == (Kind.STORE_UNAVAILABLE, [])
    world.jobs.away = False
    await world.settling.errands.drain(10)


async def test_a_database_that_goes_away_meanwhile_is_told_later(world: World) -> None:
    world.upstream.gate = asyncio.Event()
    job = await take(world)
    await until(lambda: len(world.upstream.bodies) == 2)

    world.jobs.away = True
    world.upstream.gate.set()
    await until(lambda: len(world.observer.outcomes) == 1)
    world.jobs.away = False

    assert (await done(world, job.id)).state is JobState.DONE


async def test_what_passes_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.later._PAUSES", (0.0, 0.0))
    world.upstream.failure = GatewayError(Kind.OVERLOADED, "Busy.")
    job = await take(world, b'{"prompt": "a cat"}')
    await until(lambda: len(world.upstream.bodies) >= 1)
    world.upstream.failure = None

    ended = await done(world, job.id)

    assert ended.ended is not None
    assert (ended.ended.code or "ok") in {"ok", "overloaded"}
    assert len(world.upstream.bodies) >= 2


async def test_a_job_that_waited_for_the_database_wants_its_budget_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.later._PAUSES", (0.0,) * 1000)
    world.ledger.away = True
    job = await take(world, b'{"prompt": "a cat"}')
    await until(lambda: world.record.verbs.count("reserve") >= 3)
    world.ledger.budget = 40_000
    world.ledger.away = False

    ended = await done(world, job.id)

    assert ended.ended is not None
    assert (ended.ended.code, len(ended.ended.urls)) == ("", 1)


async def test_a_dead_workers_job_is_done_again(world: World) -> None:
    job = orphan(world)

    await world.runs.adopt_orphans(world.later.again)
    ended = await done(world, job.id)

    assert ended.ended is not None
    assert (ended.owner, ended.version, len(ended.ended.urls)) == ("me", 3, 2)
    assert "admit" not in world.transcript()


async def test_what_its_dead_worker_paid_is_found(world: World) -> None:
    job = await take(world)
    first = await done(world, job.id)
    world.cache.entries.clear()
    orphan(world, job.id)

    await world.runs.adopt_orphans(world.later.again)
    again = await done(world, job.id)

    assert again.ended is not None
    assert first.ended is not None
    assert (sorted(again.ended.urls), len(world.upstream.bodies)) == (sorted(first.ended.urls), 2)


@pytest.mark.parametrize("key", ["first", "nobody"])
async def test_whoever_may_not_ask_any_more_is_told_so(world: World, key: str) -> None:
    job = orphan(world, key=key)

    await world.runs.adopt_orphans(world.later.again)

    ended = (await done(world, job.id)).ended
    assert ended is not None
    assert ended.code == ("" if key == "first" else "key_disabled")


async def test_a_draining_worker_leaves_its_jobs_to_others(world: World) -> None:
    async def work() -> Ended:
        raise GatewayError(Kind.DRAINING, "Going.")

    job, _ = await world.jobs.add("job_1", "first", Wanted(BODY, Dialect.GENERATIONS, "job_1"), None)
    assert await world.runs.begin(job, work) is None

    assert world.jobs.rows["job_1"].ended is None


async def test_a_drain_waits_for_jobs_and_lets_go_of_the_rest(world: World) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    jobs = [await begin(world, f"job_{number}", gate) for number, gate in enumerate(gates)]

    gates[0].set()
    await world.runs.drain(0.2)
    await asyncio.wait(jobs)

    assert [job.cancelled() for job in jobs] == [False, True]
    assert [world.jobs.rows[f"job_{number}"].ended is None for number in (0, 1)] == [False, True]


@pytest.mark.parametrize(
    ("receipts", "calls"),
    [
        ([Receipt.FAILED, Receipt.TAKEN], 2),
        ([Receipt.REFUSED], 1),
        ([Receipt.FAILED] * 9, 3),
    ],
)
async def test_a_webhook_is_called_until_it_is_taken_refused_or_hopeless(
    world: World, receipts: list[Receipt], calls: int
) -> None:
    world.webhooks.receipts = receipts
    job = await take(world)

    await done(world, job.id)

    assert (len(world.webhooks.posted), world.jobs.rows[job.id].tries) == (calls, calls)
    assert len({body for _, _, body in world.webhooks.posted}) == 1


async def test_the_calls_of_a_dead_worker_are_gone_on_with(world: World) -> None:
    job = orphan(world)
    row = msgspec.structs.replace(job, state=JobState.DONE, finished=2.0, ended=ENDED, tries=2)
    world.jobs.rows[job.id] = row

    await world.runs.adopt_orphans(never)
    ended = await done(world, job.id)

    assert (ended.tries, len(world.webhooks.posted), world.upstream.bodies) == (3, 1, [])


async def test_the_watch_survives_a_database_that_is_away_and_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flights.jobs._LOOK_EVERY", 0.001)
    looks: list[int] = []

    async def orphans() -> list[Job]:
        looks.append(len(looks))
        if len(looks) < 3:
            raise DatabaseUnavailableError if len(looks) == 1 else RuntimeError("bug")
        return []

    monkeypatch.setattr(world.jobs, "orphans", orphans)
    watch = asyncio.get_running_loop().create_task(world.runs.watch(never))
    await until(lambda: len(looks) > 3)
    watch.cancel()

    assert [str(fault) for fault in world.observer.faults] == ["bug"]


async def never(job: Job) -> Ended:
    raise AssertionError(job)


async def begin(world: World, id_: str, gate: asyncio.Event) -> asyncio.Task[Job | None]:
    async def work() -> Ended:
        await gate.wait()
        return ENDED

    job, _ = await world.jobs.add(id_, "first", Wanted(BODY, Dialect.GENERATIONS, id_), None)
    return world.runs.begin(job, work)


def orphan(world: World, id_: str = "job_1", key: str = "first") -> Job:
    """A job whose worker died before it was done."""
    wanted = Wanted(BODY, Dialect.GENERATIONS, id_)
    job = Job(id_, key, JobState.RUNNING, 1, "dead", "https://hooks.example/", 0, None, 1.0, None, wanted=wanted)
    world.jobs.rows[id_] = job
    return job
