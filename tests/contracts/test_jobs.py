"""Jobs, on every kind of database."""

import asyncio

import msgspec
import pytest
from sqlalchemy import update

from gateway.adapters.database import Database
from gateway.adapters.jobs import SqlJobs
from gateway.adapters.tables import JOBS, WORKERS, now
from gateway.core.jobs import Ended, Job, JobState, Wanted
from gateway.core.request import Dialect

ID = "job_" + "0" * 32
WANTED = Wanted(
    b'{"prompt": "\xf0\x9f\xa6\x8a"}', Dialect.EDITS, "attempt", "flux-dev", "strict", keep=False, origin="o"
)
ENDED = Ended(1_800_000_000, ("media:1.png", "https://pictures.example/2.png"), format="both", usage=True, origin="o")
HOOK = "https://hooks.example/"


@pytest.fixture
def jobs(database: Database) -> SqlJobs:
    return SqlJobs(database, "me")


@pytest.fixture
def others(database: Database) -> SqlJobs:
    return SqlJobs(database, "another")


async def take(jobs: SqlJobs, id_: str = ID, webhook: str | None = None) -> Job:
    job, _ = await jobs.add(id_, "key", WANTED, webhook)
    return job


async def lease(database: Database, owner: str, seconds: float) -> None:
    await database.write(
        lambda connection: connection.execute(WORKERS.insert().values(id=owner, lease_until=now() + seconds))
    )


async def set_all(database: Database, **values: object) -> None:
    await database.write(lambda connection: connection.execute(update(JOBS).values(**values)))


async def test_a_job_is_taken_begun_and_ended(jobs: SqlJobs) -> None:
    taken = await take(jobs)
    await jobs.begin(taken)
    begun = await jobs.find(ID)
    ended = await jobs.end(taken, ENDED)

    assert (taken.key, taken.state, taken.version, taken.ended) == ("key", JobState.QUEUED, 1, None)
    assert begun == msgspec.structs.replace(taken, state=JobState.RUNNING)
    assert ended == await jobs.find(ID)
    assert ended is not None
    assert ended.finished is not None
    assert ended.finished >= taken.created > 1_700_000_000
    assert (ended.state, ended.ended, ended.told is None) == (JobState.DONE, ENDED, False)


async def test_an_id_that_is_taken_is_the_job_that_was_there(jobs: SqlJobs) -> None:
    many = await asyncio.gather(*(jobs.add(ID, "key", WANTED, None) for _ in range(10)))

    assert sorted(is_new for _, is_new in many) == [False] * 9 + [True]
    assert len({job.created for job, _ in many}) == 1


async def test_a_job_ends_once(jobs: SqlJobs) -> None:
    job = await take(jobs)

    ends = [await jobs.end(job, ENDED), await jobs.end(job, msgspec.structs.replace(ENDED, created=7))]

    assert ends[1] is None
    assert (await jobs.find(ID)) == ends[0]


async def test_an_unknown_one_and_one_that_was_removed_are_none(jobs: SqlJobs) -> None:
    await take(jobs)
    await jobs.remove(ID)

    assert [await jobs.find(ID), await jobs.find("job_unknown")] == [None, None]


async def test_a_living_workers_jobs_are_no_orphans(jobs: SqlJobs, others: SqlJobs, database: Database) -> None:
    await lease(database, "me", 15)
    await take(jobs)

    assert await others.orphans() == []


@pytest.mark.parametrize("left", [None, -1.0])
async def test_a_dead_workers_job_is_adopted_once_with_all_that_is_needed(
    jobs: SqlJobs, others: SqlJobs, database: Database, left: float | None
) -> None:
    await lease(database, "another", 15)
    if left is not None:
        await lease(database, "me", left)
    job = await take(jobs)
    await jobs.begin(job)

    [orphan] = await others.orphans()
    adopted = [await others.adopt(orphan), await others.adopt(orphan)]

    assert await jobs.orphans() == await others.orphans() == []
    assert adopted[1] is None
    assert adopted[0] is not None
    assert (adopted[0].wanted, adopted[0].owner, adopted[0].state) == (WANTED, "another", JobState.QUEUED)
    assert await jobs.end(job, ENDED) is None
    assert await others.end(adopted[0], ENDED) is not None


async def test_a_webhook_that_is_still_to_be_told_is_adopted_too(jobs: SqlJobs, others: SqlJobs) -> None:
    done = await jobs.end(await take(jobs, webhook=HOOK), ENDED)
    assert done is not None
    assert await jobs.tried(done, 2, over=False)

    [orphan] = await others.orphans()
    adopted = await others.adopt(orphan)

    assert adopted is not None
    assert (adopted.state, adopted.tries, adopted.webhook, adopted.ended) == (JobState.DONE, 2, HOOK, ENDED)
    assert not await jobs.tried(done, 3, over=True)
    assert await others.tried(adopted, 3, over=True)
    assert await jobs.orphans() == []


async def test_what_was_asked_is_forgotten_with_the_answer(jobs: SqlJobs, database: Database) -> None:
    await jobs.end(await take(jobs), ENDED)

    row = await database.read(lambda connection: connection.execute(JOBS.select()).one())
    assert bytes(row.request) == b""


async def test_after_a_day_a_job_is_gone(jobs: SqlJobs, others: SqlJobs, database: Database) -> None:
    await take(jobs)
    await set_all(database, created=1.0)

    assert [await jobs.find(ID), *await others.orphans()] == [None]
    _, is_new = await jobs.add(ID, "key", WANTED, None)
    assert is_new
    await set_all(database, created=1.0)
    await jobs.forget()
    assert await database.read(lambda connection: connection.execute(JOBS.select()).first()) is None
