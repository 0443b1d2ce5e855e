"""`models`, `plan` and `check`: looking without spending."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import click
import orjson
from redis.exceptions import RedisClusterException, RedisError

from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.embedded import running_in
from gateway.adapters.engines import sqlite_file
from gateway.adapters.migrations import is_current
from gateway.adapters.redis_client import connect
from gateway.adapters.redis_store import RedisStore
from gateway.adapters.teams import any_key
from gateway.adapters.upstream import Account, KeptTransport, KeyPool, Wire
from gateway.cli.terminal import catalogue_or_exit, settings_or_exit, stop, table
from gateway.core.catalogue import MICRO, CatalogueError
from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import parse_static
from gateway.core.request import parse
from gateway.core.translate import Rules, describe, translate
from gateway.options import catalogue
from gateway.ports import DatabaseUnavailableError, Store, StoreUnavailableError
from gateway.settings import Settings, SettingsError

_WAIT: Final = 5.0
_WRONG: Final = {
    Kind.UPSTREAM_CREDENTIALS: "302.AI does not accept it",
    Kind.UPSTREAM_UNREACHABLE: "302.AI cannot be reached",
}


@click.command()
def models() -> None:
    """Show the catalogue as a table."""
    rows = [("MODEL", "SHAPE", "TAKES", "IMAGE", "USD")]
    for model in catalogue_or_exit(settings_or_exit()).models.values():
        takes = " ".join(model.shape.supported()) or "-"
        rows.append((model.id, model.shape_name, takes, model.image, f"{model.price / MICRO:g}"))
    table(rows)


@click.command()
@click.argument("body")
@click.option("--coercion", type=click.Choice([policy.value for policy in Policy]), help="Instead of the setting.")
def plan(body: str, coercion: str | None) -> None:
    """Show what a request would become; nothing is sent.

    BODY is the JSON of a generation request, or - to read it from standard input.
    """
    settings = settings_or_exit()
    data = sys.stdin.buffer.read() if body == "-" else body.encode(errors="surrogateescape")
    rules = Rules(settings.response_format_default, settings.unknown_models)
    policy = Policy(coercion or settings.coercion)
    try:
        planned = translate(parse(data), catalogue_or_exit(settings), policy, "gateway", rules)
    except GatewayError as error:
        stop(f"{error.kind.row.code}{f' ({error.param})' if error.param else ''}: {error.message}")
    told = describe(planned, [])
    del told["cached"]  # what the cache holds is the running gateway's to say: POST /v1/images/plan
    click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))


@click.command()
def check() -> None:
    """Check settings, catalogue, Redis, database and each upstream key; exit 1 if one fails."""
    settings = settings_or_exit()
    checks: list[tuple[str, Callable[[Settings], Coroutine[Any, Any, str]]]] = [
        ("settings", _check_settings),
        ("catalogue", _check_catalogue),
        ("redis", _check_redis),
        ("database", _check_database),
    ]
    results: list[tuple[str, bool, str]] = []
    for name, run in checks:
        try:
            results.append((name, True, asyncio.run(run(settings))))
        except _FailedError as exc:
            results.append((name, False, str(exc)))
    results += [("upstream", good, told) for good, told in asyncio.run(_check_upstream(settings))]
    for name, good, told in results:
        click.echo(f"{name:<10} {'ok' if good else 'FAILED':<7} {told}")
    sys.exit(0 if all(good for _, good, _ in results) else 1)


class _FailedError(Exception):
    """A check failed; the message says what and how to mend it."""


async def _check_settings(settings: Settings) -> str:
    names = list(parse_static(settings.keys))
    if not names:
        return "no static key: only keys of the database"
    return f"{len(names)} key{'s' if len(names) > 1 else ''}: {', '.join(names)}"


async def _check_catalogue(settings: Settings) -> str:
    try:
        found = catalogue(settings)
    except (CatalogueError, SettingsError) as exc:
        raise _FailedError(str(exc)) from exc
    return f"{len(found.models)} models, default {found.default.id}"


async def _check_redis(settings: Settings) -> str:
    named = [url for url in dict.fromkeys((settings.redis_url, settings.cache_redis_url)) if url]
    if not named:
        return f"none named: serve starts an embedded Valkey in {settings.data_dir}"
    return ", ".join([await _version(url) for url in named])


async def _version(url: str) -> str:
    try:
        client = connect(url)
        async with asyncio.timeout(_WAIT):
            info = await client.info("server")
        await client.aclose()
    except (RedisError, RedisClusterException, OSError, TimeoutError, ValueError) as exc:
        message = f"it does not answer ({type(exc).__name__}); look at GATEWAY_REDIS_URL"
        raise _FailedError(message) from exc
    version = info.get("valkey_version") or info.get("redis_version", "of a cluster") if isinstance(info, dict) else "?"
    return f"version {version}"


async def _check_database(settings: Settings) -> str:
    file = sqlite_file(settings.durable_url)
    if file is not None and not file.exists() and not settings.keys:
        message = "there is none yet, so no key either: gateway302 teams create, gateway302 keys create"
        raise _FailedError(message)
    if file is not None and not file.exists():
        return f"none yet: serve makes {file}"
    database = Database(settings.durable_url, lambda: None)
    try:
        if not await database.read(is_current):
            return "it answers; serve will bring it to this version's schema"
        keys = await database.read(any_key)
    except DatabaseUnavailableError as exc:
        message = f"it does not answer ({exc}); look at GATEWAY_DATABASE_URL"
        raise _FailedError(message) from exc
    finally:
        await database.aclose()
    if not keys and not settings.keys:
        message = "there is no key, neither here nor in GATEWAY_KEYS: gateway302 keys create"
        raise _FailedError(message)
    return f"{file or 'PostgreSQL'}, {'with keys' if keys else 'without keys'}"


async def _check_upstream(settings: Settings) -> list[tuple[bool, str]]:
    """Of each key of 302 whether it is accepted, what it has left, and how the running gateway sees it."""
    if not settings.upstream_keys:
        return [(False, "no key of 302.AI: set AI302_API_KEY")]
    found: list[tuple[bool, str]] = []
    transport = KeptTransport()
    async with _store(settings) as store:
        keys = KeyPool(settings.upstream_keys, store, SystemClock())
        await keys.share()
        causes = {status.id: status.cause for status in keys.snapshot()}
        balances = await Account(Wire(transport, settings.upstream_url, _WAIT), keys).balances()
    await transport.aclose()
    for key_id, balance in balances.items():
        told = f"{settings.upstream_url}: key {key_id}"
        if isinstance(balance, GatewayError):
            found.append((False, f"{told}: {_WRONG.get(balance.kind, 'the balance cannot be read')}"))
        else:
            resting = f", and is out: {causes[key_id]}" if causes[key_id] else ""
            found.append((True, f"{told} has {balance:f} USD{resting}"))
    return found


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    """The Redis in which the workers share what they know, or the running gateway's own; none where nothing runs."""
    try:
        store = RedisStore(settings.redis_url or running_in(Path(settings.data_dir)), lambda: None)
    except (ValueError, RedisError, RedisClusterException):
        yield _NoStore()
        return
    yield store
    await store.aclose()


class _NoStore:
    async def execute(self, *_: str | bytes | float) -> object:
        raise StoreUnavailableError

    def start(self, *_: str | bytes | float) -> asyncio.Future[Any]:
        raise StoreUnavailableError

    async def look_up(self, *_: str) -> list[bytes | None]:
        raise StoreUnavailableError

    def post(self, *_: str | bytes | float) -> None:
        return None

    async def run_script(self, *_: object) -> object:
        raise StoreUnavailableError
