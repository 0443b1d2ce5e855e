"""The link on a real Valkey, and on servers that misbehave: whose reply is whose, and what becomes of those without."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_store import TIMEOUT, RedisStore
from gateway.ports import StoreUnavailableError
from tests.adapters.errors import Errors
from tests.fakes import until

Open = Callable[..., RedisStore]
Own = tuple[EmbeddedValkey, int]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PING = b"*1\r\n$4\r\nPING\r\n"
PATIENCE = 10.0


@contextlib.asynccontextmanager
async def serving(folder: Path, serve: Serve) -> AsyncIterator[str]:
    """A server that does as it is told, once it was greeted."""

    async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # whoever called may hang up
            assert await reader.readexactly(len(PING)) == PING
            writer.write(b"+PONG\r\n")
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(greeted, f"{folder}/s")
    yield f"unix://{folder}/s"
    server.close()


@pytest.fixture
async def admin(own: Own) -> AsyncIterator[Redis]:
    """Whoever set the password is let in by it, so this connection stays."""
    client = Redis.from_url(own[0].url, single_connection_client=True)
    await client.ping()
    yield client
    await client.aclose()


async def test_it_says_who_it_is_and_takes_its_database(own: Own, admin: Redis, open_store: Open) -> None:
    await admin.acl_setuser("ann", enabled=True, passwords=["+s3:cret"], keys=["*"], commands=["+@all"])
    store = open_store(own[0].url.replace("unix://", "unix://ann:s3%3Acret@") + "?db=3", PATIENCE)

    assert await store.execute("ACL", "WHOAMI") == b"ann"
    assert b" db=3 " in bytes(str(await store.execute("CLIENT", "INFO")), "utf-8")


async def test_a_password_alone_is_enough_and_a_wrong_one_is_told(
    own: Own, admin: Redis, open_store: Open, errors: Errors
) -> None:
    await admin.config_set("requirepass", "right")
    let_in, shut_out = (open_store(own[0].url.replace("unix://", f"unix://:{word}@")) for word in ("right", "wrong"))

    assert await let_in.execute("ECHO", "a") == b"a"
    with pytest.raises(StoreUnavailableError):
        await shut_out.execute("ECHO", "a")
    assert (let_in.healthy, shut_out.healthy, errors.count) == (True, False, 1)


async def test_it_speaks_over_tcp(own: Own, admin: Redis, open_store: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await admin.config_set("port", port)

    assert await open_store(f"redis://127.0.0.1:{port}/1", PATIENCE).execute("ECHO", "a") == b"a"


async def test_a_pipeline_longer_than_what_may_be_on_its_way_is_answered_in_order(
    redis_url: str, redis: Redis, open_store: Open, errors: Errors
) -> None:
    store = open_store(redis_url, PATIENCE)
    words = [str(number).encode() for number in range(5000)]

    assert await asyncio.gather(*(store.execute("ECHO", word) for word in words)) == words
    assert errors.count == 0


async def test_a_big_value_goes_and_comes_with_the_others(redis_url: str, redis: Redis, open_store: Open) -> None:
    store, big = open_store(redis_url, PATIENCE), b"\r\n$-1\0" * 300_000

    kept, found, other = await asyncio.gather(
        store.execute("SET", "big", big), store.look_up("big", "none"), store.execute("ECHO", "a")
    )

    assert (kept, found, other) == (b"OK", [big, None], b"a")


async def test_a_server_that_forgot_its_scripts_is_sent_the_source_and_runs_it_once(
    redis_url: str, redis: Redis, open_store: Open, errors: Errors
) -> None:
    store = open_store(redis_url, PATIENCE)
    source = "return {redis.call('INCRBY', KEYS[1], ARGV[1]), KEYS[1]}"

    first = await store.run_script(source, ["n"], 2)
    await redis.script_flush()
    second = await store.run_script(source, ["n"], 2)

    assert (first, second, errors.count) == ([2, b"n"], [4, b"n"], 0)


async def test_a_connection_closed_while_idle_is_opened_again_and_nobody_notices(
    redis_url: str, redis: Redis, open_store: Open, errors: Errors
) -> None:
    store = open_store(redis_url, PATIENCE)
    own = await store.execute("CLIENT", "ID")

    await redis.client_kill_filter(_id=str(own))
    await until(lambda: store._carrier._connection is None)  # type: ignore[attr-defined]

    assert await store.execute("ECHO", "a") == b"a"
    assert errors.count == 0


async def test_of_a_batch_that_was_cut_off_each_gets_its_own_or_none_and_nothing_is_sent_twice(
    open_store: Open, errors: Errors, tmp_path: Path
) -> None:
    heard: list[bytes] = []
    three = len(b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n") * 3

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not heard:
            heard.append(await reader.readexactly(three))
            writer.write(b"$1\r\na\r\n$1\r\n")
            return
        heard.append(await reader.readexactly(three // 3))
        writer.write(b"$1\r\nd\r\n")
        await reader.read()

    async with serving(tmp_path, half) as url:
        store = open_store(url, PATIENCE)
        answers = await asyncio.gather(*(store.execute("ECHO", word) for word in "abc"), return_exceptions=True)
        broken = store.healthy
        await until(lambda: store.healthy)
        after = await store.execute("ECHO", "d")
        await store.aclose()

    assert [str(answer) for answer in answers] == ["b'a'", "", ""]
    assert (broken, errors.count, after) == (False, 1, b"d")
    assert b"".join(heard).count(b"ECHO") == 4


async def test_the_reply_of_one_who_left_goes_to_nobody(open_store: Open, tmp_path: Path) -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"left\r\n")
        arrived.set()
        await answer.wait()
        writer.write(b"$4\r\nleft\r\n$4\r\nstay\r\n")
        await reader.read()

    async with serving(tmp_path, slow) as url:
        store = open_store(url, PATIENCE)
        left = asyncio.ensure_future(store.execute("ECHO", "left"))
        await arrived.wait()
        left.cancel()
        stays = asyncio.ensure_future(store.execute("ECHO", "stay"))
        await asyncio.sleep(0)
        answer.set()

        assert await stays == b"stay"
        assert left.cancelled()
        await store.aclose()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n", b"+OK\r\n+OK\r\n"], ids=["no-redis", "unasked"])
async def test_who_does_not_speak_to_the_point_is_not_listened_to(
    words: bytes, open_store: Open, errors: Errors, tmp_path: Path
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await reader.read()

    async with serving(tmp_path, talk) as url:
        store = open_store(url, PATIENCE)
        with contextlib.suppress(StoreUnavailableError):
            await store.execute("ECHO", "a")
        await until(lambda: store._carrier._connection is None)  # type: ignore[attr-defined]
        await store.aclose()


async def test_a_silent_server_is_given_up_on_with_all_that_wait_for_it(
    open_store: Open, errors: Errors, tmp_path: Path
) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(tmp_path, silent) as url:
        store = open_store(url)
        started = time.monotonic()
        answers = await asyncio.gather(*(store.execute("ECHO", "a") for _ in range(2000)), return_exceptions=True)
        took = time.monotonic() - started
        await store.aclose()

    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert (store.healthy, errors.count) == (False, 1)
    assert TIMEOUT <= took < 10 * TIMEOUT


async def test_a_command_nobody_awaits_leaves_with_the_next_one(
    redis_url: str, redis: Redis, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.redis_link._LINGER", 10 * PATIENCE)
    store = open_store(redis_url, PATIENCE)
    await store.execute("PING")
    before = int((await redis.info("stats"))["total_reads_processed"])

    store.post("SET", "word", "said")
    for _ in range(3):
        await asyncio.sleep(0)
    assert await store.execute("GET", "word") == b"said"

    # One read for the two of them, and one for the second question about it.
    assert int((await redis.info("stats"))["total_reads_processed"]) - before == 2


async def test_a_command_nobody_awaits_leaves_though_nothing_follows_it(
    redis_url: str, redis: Redis, open_store: Open
) -> None:
    store = open_store(redis_url, PATIENCE)
    store.post("RPUSH", "words", "first")  # opens the connection
    store.post("RPUSH", "words", "second")
    assert await redis.blpop(["words"], PATIENCE) == (b"words", b"first")
    assert await redis.blpop(["words"], PATIENCE) == (b"words", b"second")
    store.post("RPUSH", "words", "third")
    assert await redis.blpop(["words"], PATIENCE) == (b"words", b"third")


async def test_a_connection_lost_while_a_command_lingers_is_opened_again_once(
    own: Own, admin: Redis, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is over before the store looks for Redis again.
    monkeypatch.setattr("gateway.adapters.redis_link._LINGER", 0.01)
    store = open_store(own[0].url, PATIENCE)
    await store.execute("PING")

    blocked = asyncio.ensure_future(store.execute("BLPOP", "nothing", 0))
    await until_blocked(admin)
    store.post("SET", "lingers", "")
    await admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StoreUnavailableError):
        await blocked
    await until(lambda: store.healthy)
    await store.execute("PING")

    assert len(await admin.client_list()) == 2  # the store's, and whoever asks
    await store.aclose()


async def until_blocked(admin: Redis) -> None:
    """Wait until a client of a server waits for what it blocks on."""
    while not (await admin.info("clients"))["blocked_clients"]:  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.01)


async def test_replies_that_are_there_count_though_the_loop_was_held_up(
    redis_url: str, redis: Redis, open_store: Open, errors: Errors
) -> None:
    store = open_store(redis_url)
    await store.execute("PING")

    asked = asyncio.ensure_future(store.execute("ECHO", "a"))
    for _ in range(3):
        await asyncio.sleep(0)
    time.sleep(2 * TIMEOUT)  # noqa: ASYNC251 - it is the loop that is held up

    assert await asked == b"a"
    assert errors.count == 0


async def test_more_than_can_ever_be_sent_is_refused(
    open_store: Open, errors: Errors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr("gateway.adapters.redis_link._MOST_WAITING", 10)
    async with serving(tmp_path, silent) as url:
        store = open_store(url, PATIENCE)
        asked = [asyncio.ensure_future(store.execute("ECHO", "a")) for _ in range(11)]
        refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await store.aclose()
        answers = await asyncio.gather(*asked, return_exceptions=True)

    assert refused == {asked[-1]}
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert (store.healthy, errors.count) == (True, 1)


async def test_who_fails_to_take_a_reply_costs_nobody_else_theirs(
    redis_url: str, redis: Redis, open_store: Open
) -> None:
    store, loop = open_store(redis_url, PATIENCE), asyncio.get_running_loop()
    await store.execute("SET", "name", b"value")
    failed: list[object] = []
    loop.set_exception_handler(lambda _loop, context: failed.append(context["exception"]))
    error = IndexError("nobody asked for this")

    def fails(_reply: object) -> None:
        raise error

    store.ask(store.pack_look_up("name"), fails)

    assert await store.look_up("name") == [b"value"]
    assert (failed, store.healthy) == ([error], True)
