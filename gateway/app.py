"""The composition root: settings → adapters → Gateway → ASGI application. The only place that wires.

Nothing happens at import. `create` is what uvicorn calls in each worker; tests call `build` with parts of their own.
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import uvloop  # noqa: F401 - uvicorn is told to use it: a missing wheel must show here
from aiohttp import ThreadedResolver
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp

from gateway.adapters.cache import RedisCache
from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.download import GuardedDownloader, Hosts, PublicResolver
from gateway.adapters.embedded import die_with_parent
from gateway.adapters.hangup import has_terminal
from gateway.adapters.log import Bridge, LineLog
from gateway.adapters.metrics import MULTIPROCESS_DIR, Metrics
from gateway.adapters.observation import Observation
from gateway.adapters.redis_store import RedisStore, connect
from gateway.adapters.transport import pooled
from gateway.adapters.upstream import Upstream302, UpstreamOptions
from gateway.core.catalogue import Catalogue
from gateway.core.catalogue import load as load_catalogue
from gateway.core.coerce import Policy
from gateway.core.keys import Keyring, parse_static
from gateway.core.order import Options
from gateway.core.translate import Rules
from gateway.durable import Durable
from gateway.flights import Flights
from gateway.pipeline import Gateway
from gateway.ports import Clock
from gateway.reload import Fresh, Reloader
from gateway.settings import Settings, SettingsError, read_sources, read_teams
from gateway.settings import load as load_settings
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.media import MediaEndpoint
from gateway.web.places import WebOptions
from gateway.web.routes import Site, admin_routes, media_route
from gateway.web.routes import build as build_routes

if TYPE_CHECKING:
    from gateway.adapters.media import ObjectMedia

_SWEEP_EVERY: Final = 600.0


def create() -> ASGIApp:
    """The application as the environment describes it: uvicorn's factory."""
    environ = os.environ  # noqa: TID251 - the root hands it to those who read it
    settings = load_settings(environ, _ignore)  # the command that started us has told the warnings
    workers_dir = environ.get(MULTIPROCESS_DIR)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        # A worker whose supervisor was killed must not go on with the port, nor one that was born too late to be told.
        die_with_parent()
        if os.getppid() != supervisor.pid:
            raise SystemExit(1)
    metrics = Metrics(CollectorRegistry(), Path(workers_dir) if workers_dir else None)
    return build(settings, metrics, LineLog(sys.stdout.fileno(), SystemClock()))


def build(settings: Settings, metrics: Metrics, lines: LineLog) -> ASGIApp:
    """Wire everything; connections are opened when they are first used."""
    clock = SystemClock()
    database = Database(settings.durable_url, lambda: observation.dependency_error("database"))
    fresh = _fresh(settings)
    durable = Durable.of(settings, database, clock, fresh.teams)
    observation = Observation(metrics, lines, durable.counter)
    store = RedisStore(connect(settings.soft_redis_url), lambda: observation.dependency_error("cache"))
    cache = RedisCache(store, clock, unknown_hold=settings.unknown_hold)
    transports = pooled(), pooled(), pooled(lambda: PublicResolver(ThreadedResolver()))
    upstream = Upstream302(transports[0], _upstream_options(settings))
    hosts = Hosts.of(settings.upstream_url, settings.image_hosts)
    media = _media(settings, clock)
    gateway = Gateway(
        keyring=fresh.keyring,
        catalogue=fresh.catalogue,
        cache=cache,
        flights=Flights(observation),
        upstream=upstream,
        downloader=GuardedDownloader(transports[2], transports[1], hosts, clock),
        observer=observation,
        clock=clock,
        options=fresh.options,
        media=media,
        directory=durable.directory,
    )

    routes = [media_route(MediaEndpoint(media).serve)] if media is not None else []
    endpoints = Endpoints(gateway, store, database.answers, metrics.scrape, fresh.web)
    reloader = _reloader(settings, endpoints, durable, metrics, lines)
    parts = _Parts(gateway, media, durable, reloader, [*transports, store], observation, lines)
    if settings.admin_key:
        routes += admin_routes(
            Admin(settings.admin_key, durable.roster, durable.records, durable.report, list, reloader.everywhere)
        )
    return build_routes(Site(endpoints, observation, clock, parts.lifespan, settings.cors_origins, tuple(routes)))


class _Closing(Protocol):
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Parts:
    """What begins and ends with the application."""

    gateway: Gateway
    media: "ObjectMedia | None"
    durable: Durable
    reloader: Reloader
    connections: Sequence[_Closing]
    observation: Observation
    lines: LineLog
    _reloads: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        _log_through(self.lines)
        _settle_memory()
        sweeping = self._sweep()
        self._listen()
        watching = asyncio.get_running_loop().create_task(self.durable.run(self.observation))
        self.lines.write("info", "started", {"pid": os.getpid(), "models": len(self.gateway.catalogue.models)})
        try:
            yield
        finally:
            # What is paid for is waited for, and kept.
            await self.gateway.flights.drain()
            watching.cancel()
            if sweeping is not None:
                sweeping.cancel()
            if self.media is not None:
                self.media.close()
            await self.durable.aclose()
            await asyncio.gather(*(connection.aclose() for connection in self.connections))
            self.lines.write("info", "stopped", {"pid": os.getpid()})
            self.lines.close()

    def _listen(self) -> None:
        """SIGHUP reloads; only the main thread of a process hears signals."""
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hear, has_terminal())

    def _hear(self, had_terminal: bool) -> None:  # noqa: FBT001 - as asyncio hands it over
        if had_terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._reloads.append(asyncio.get_running_loop().create_task(self._reload()))

    async def _reload(self) -> None:
        # Whatever failed is in the log and in the metrics already.
        with contextlib.suppress(Exception):
            await self.reloader.reload()
        self._reloads[:] = [task for task in self._reloads if task is not asyncio.current_task()]

    def _sweep(self) -> asyncio.Task[None] | None:
        if self.media is None:
            return None
        sweep = self.media.sweep_forever(_SWEEP_EVERY, lambda _error: self.observation.dependency_error("media"))
        return asyncio.get_running_loop().create_task(sweep)


def _fresh(settings: Settings) -> Fresh:
    """What settings make, that a reload may replace."""
    keyring = Keyring(parse_static(settings.keys))
    return Fresh(keyring, catalogue(settings), _options(settings), _web_options(settings), read_teams(settings))


def _reloader(settings: Settings, endpoints: Endpoints, durable: Durable, metrics: Metrics, lines: LineLog) -> Reloader:
    supervisor = multiprocessing.parent_process()
    return Reloader(
        settings,
        endpoints,
        durable.declarations,
        metrics,
        lines,
        read=lambda: load_settings(os.environ, _ignore),  # noqa: TID251 - as `create` does
        make=_fresh,
        supervisor=None if supervisor is None else supervisor.pid,
    )


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue of these settings; raises CatalogueError."""
    return load_catalogue(
        read_sources(settings),
        settings.default_model,
        for_edits=settings.edit_model,
        for_variations=settings.variation_model,
    )


def _media(settings: Settings, clock: Clock) -> "ObjectMedia | None":
    if not settings.media:
        return None
    # Imported only where it is used: its library is 30 MB that a gateway without a store need not carry.
    from gateway.adapters.media import Limits, open_media  # noqa: PLC0415

    limits = Limits(settings.media_max_age, settings.media_max_bytes)
    try:
        return open_media(settings.media, Path(settings.data_dir), limits, clock)
    except ValueError as exc:
        raise SettingsError(f"GATEWAY_MEDIA is wrong: {exc}") from exc


def _options(settings: Settings) -> Options:
    return Options(
        policy=Policy(settings.coercion),
        cache_scope=settings.cache_scope,
        answer_timeout=settings.answer_timeout,
        # 302 promises no lifetime of its addresses, so one of them never stands for long.
        url_ttl=min(settings.cache_ttl, 3600) if settings.media else settings.cache_ttl,
        media_ttl=settings.cache_ttl,
        variation_prompt=settings.variation_prompt,
        rules=Rules(settings.response_format_default, settings.unknown_models),
    )


def _web_options(settings: Settings) -> WebOptions:
    return WebOptions(
        max_body=settings.max_body,
        max_form=settings.max_form,
        keepalive_after=settings.keepalive_after,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
    )


def _upstream_options(settings: Settings) -> UpstreamOptions:
    return UpstreamOptions(
        url=settings.upstream_url,
        keys=settings.upstream_keys,
        timeout=settings.upstream_timeout,
        connect_timeout=settings.upstream_connect_timeout,
        concurrency=settings.upstream_concurrency,
    )


def _log_through(lines: LineLog) -> None:
    root = logging.getLogger()
    root.handlers = [Bridge(lines)]
    root.setLevel(logging.WARNING)


def _settle_memory() -> None:
    """What is loaded now stays: the collector need not walk it again and again while a thousand calls are in flight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _ignore(_message: str) -> None:
    return None
