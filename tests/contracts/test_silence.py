"""PostgreSQL behind a proxy that falls silent: what waits on its connections gives them up, and opens others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import Connection, make_url, text

from gateway.adapters import database as module
from gateway.adapters import migrations
from gateway.adapters.database import Database, Work
from gateway.adapters.migrations import upgrade
from gateway.cli.database import prepare_or_exit
from gateway.ports import DatabaseUnavailableError
from gateway.settings import Settings
from tests.postgres import Postgres

PATIENCE, SILENCE = 0.2, 0.6
LONG = 30.0


class Proxy:
    """Carries connections to a server's socket; those that are open when it is silenced carry nothing any more."""

    def __init__(self, to: str) -> None:
        self._to = to
        self.last_words: bytes | None = None
        """Who says this is heard no more, and told nothing."""
        self.heard_them = False
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def silence(self) -> None:
        for pump in self._pumps:
            pump.cancel()

    async def aclose(self) -> None:
        self._server.close()
        self.silence()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self._to)
        self._writers += [writer, questions]
        for source, sink in ((reader, questions), (answers, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if self.last_words is not None and self.last_words in data:
                self.heard_them = True
                self.silence()
                return
            sink.write(data)
        sink.close()


@pytest.fixture
async def proxy(postgres: Postgres) -> AsyncIterator[Proxy]:
    proxy = Proxy(f"{make_url(postgres.url()).query['host']}/.s.PGSQL.5432")
    yield proxy
    await proxy.aclose()


@pytest.fixture
async def url(proxy: Proxy, postgres: Postgres) -> str:
    """An empty database, by way of the proxy."""
    return f"postgresql://postgres@127.0.0.1:{await proxy.start()}/{postgres.create()}"


@pytest.fixture
async def database(url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    monkeypatch.setattr(module, "SILENCE", SILENCE)
    return Database(url, lambda: None)


def one(connection: Connection) -> object:
    return connection.scalar(text("SELECT 1"))


async def attempts(ask: Callable[[Work[object]], Awaitable[object]]) -> int:
    """Write or read until it is done; how often that took."""
    for attempt in range(1, 1000):
        try:
            await ask(one)
        except DatabaseUnavailableError:
            await asyncio.sleep(PATIENCE / 10)  # as one that asks again
        else:
            return attempt
    raise AssertionError


async def test_what_is_written_after_a_silence_is_written_on_another_connection(
    database: Database, proxy: Proxy
) -> None:
    await attempts(database.write)

    proxy.silence()

    async with asyncio.timeout(LONG):
        assert await attempts(database.write) > 1
    await database.aclose()


async def test_what_is_read_after_a_silence_is_read_on_another_connection(database: Database, proxy: Proxy) -> None:
    await asyncio.gather(*(attempts(database.read) for _ in range(4)))

    proxy.silence()

    async with asyncio.timeout(LONG):
        assert await attempts(database.read) > 1
    await database.aclose()


async def test_a_silent_database_does_not_hold_up_the_end(database: Database, proxy: Proxy) -> None:
    await attempts(database.write)
    await attempts(database.read)

    proxy.silence()
    with pytest.raises(DatabaseUnavailableError):
        await database.write(one)
    with pytest.raises(DatabaseUnavailableError):
        await database.read(one)

    async with asyncio.timeout(LONG):
        await database.aclose()


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        pytest.param(b"pg_catalog.version", "_OPENED_WITHIN", id="first-question"),
        pytest.param(b"pg_advisory_xact_lock", "_ANSWERED_WITHIN", id="turn"),
        pytest.param(b"CREATE TABLE", "_ANSWERED_WITHIN", id="step"),
        pytest.param(b"COMMIT", "_ANSWERED_WITHIN", id="commit"),
    ],
)
async def test_a_migration_on_a_silent_connection_is_given_up(
    proxy: Proxy, url: str, words: bytes, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, limit, SILENCE)
    proxy.last_words = words

    async with asyncio.timeout(LONG):
        with pytest.raises(DatabaseUnavailableError):
            await asyncio.to_thread(upgrade, url)
    assert proxy.heard_them


async def test_a_database_that_falls_silent_after_its_migration_does_not_keep_the_gateway_from_serving(
    database: Database, proxy: Proxy, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(upgrade, url)
    proxy.last_words = b"FROM keys"

    async with asyncio.timeout(LONG):
        assert await asyncio.to_thread(prepare_or_exit, Settings(database_url=url))

    assert proxy.heard_them
    assert "going on without" in capsys.readouterr().err
    await database.aclose()
