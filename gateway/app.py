"""The composition root: settings → adapters → Gateway → ASGI application. The only place that wires.

Nothing happens at import. `create` is what uvicorn calls in each worker; tests call `build` with parts of their own.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import uvloop  # noqa: F401 - uvicorn is told to use it: a missing wheel must show here
from aiohttp import ThreadedResolver
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.adapters.cache import RedisCache
from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.download import GuardedDownloader, Hosts, PublicResolver
from gateway.adapters.embedded import die_with_parent
from gateway.adapters.jobs import SqlJobs
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.limiter import LimiterOptions, RedisLimiter
from gateway.adapters.log import LineLog
from gateway.adapters.metrics import MULTIPROCESS_DIR, Metrics
from gateway.adapters.observation import Observation
from gateway.adapters.records import Records
from gateway.adapters.redis_store import RedisStore, connect
from gateway.adapters.repeats import SqlRepeats
from gateway.adapters.roster import Roster
from gateway.adapters.secret import read_or_make
from gateway.adapters.shelf import Shelf
from gateway.adapters.teams import TeamDirectory
from gateway.adapters.transport import AiohttpTransport, pooled
from gateway.adapters.upstream import Account, KeyPool, Upstream302, UpstreamOptions, Wire
from gateway.adapters.wakeups import CHANNEL, RedisWakeups
from gateway.adapters.webhooks import SignedWebhooks
from gateway.core.catalogue import Catalogue, Model, forwarded
from gateway.core.catalogue import load as load_catalogue
from gateway.core.coerce import Policy
from gateway.core.keys import Keyring, parse_static
from gateway.core.order import Options
from gateway.core.translate import Rules
from gateway.flights import Drain, Errands, Flights, Flown, Gallery, JobRuns, Recovery, Repeated, Settling
from gateway.later import Later
from gateway.lifetime import Closing, Durable, Parts
from gateway.pipeline import Gateway
from gateway.ports import Clock
from gateway.settings import WORKERS, Settings, SettingsError, read_sources
from gateway.settings import load as load_settings
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.media import MediaEndpoint
from gateway.web.places import WebOptions
from gateway.web.routes import Site, admin_routes, media_route
from gateway.web.routes import build as build_routes

if TYPE_CHECKING:
    from gateway.adapters.media import ObjectMedia

# 302 promises no lifetime of its addresses, so where we keep the bytes one of them never stands for long.
_LONGEST_URL_TTL: Final = 3600
# Bytes of pictures on their way to their readers, a worker; what is more lies in files.
_HELD_IN_MEMORY: Final = 24 * 1024 * 1024
# Pictures come in longer pieces than answers: every piece on its way to a file is a turn of a thread.
_PICTURE_BUFFER: Final = 128 * 1024


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
    workers = int(environ.get(WORKERS, "1"))
    return build(settings, metrics, LineLog(sys.stdout.fileno(), SystemClock()), workers)


def build(settings: Settings, metrics: Metrics, lines: LineLog, workers: int = 1) -> ASGIApp:
    """Wire everything for one of `workers` processes; connections are opened when they are first used."""
    outside = _outside(settings, Observation(metrics, lines), workers)
    media = _media(settings, outside.clock)
    gateway = _gateway(settings, outside, media)
    recovery = Recovery(
        outside.ledger,
        gateway.settling,
        gateway.flights,
        outside.upstream,
        _model_of(gateway),
        outside.observation,
        outside.clock,
        confirm=settings.cost_source == "record",
    )
    later = _later(settings, outside, gateway)
    durable = Durable(settings.durable_url, outside.database, outside.directory, outside.observation)
    background = [
        durable.watch,
        recovery.run,
        later.watch,
        outside.keys.share_forever,
        outside.limiter.renew_forever,
        lambda: outside.store.listen(CHANNEL, outside.wakeups.heard),
    ]
    connections: list[Closing] = [*outside.transports, outside.store, outside.pictures]
    parts = Parts(
        gateway, later.runs, media, durable, outside.ledger, background, connections, outside.observation, lines
    )
    routes = [media_route(MediaEndpoint(media).serve)] if media is not None else []
    if settings.admin_key:
        routes += admin_routes(_admin(settings, outside))
    web = _web_options(settings)
    endpoints = Endpoints(gateway, outside.store, outside.database.answers, metrics.scrape, web, later)
    site = Site(endpoints, outside.observation, outside.clock, parts.lifespan, settings.cors_origins, tuple(routes))
    return build_routes(site)


@dataclass(frozen=True, slots=True)
class _Outside:
    """The adapters: everything outside of the gateway that it leans on."""

    clock: SystemClock
    observation: Observation
    store: RedisStore
    pictures: RedisStore
    database: Database
    ledger: SqlLedger
    jobs: SqlJobs
    secret: str
    directory: TeamDirectory
    transports: tuple[AiohttpTransport, ...]
    keys: KeyPool
    upstream: Upstream302
    limiter: RedisLimiter
    wakeups: RedisWakeups


def _outside(settings: Settings, observation: Observation, workers: int) -> _Outside:
    clock = SystemClock()
    pictures = RedisStore(connect(settings.picture_redis_url), lambda: observation.dependency_error("cache"))
    store = pictures
    if settings.picture_redis_url != settings.redis_url:
        store = RedisStore(connect(settings.redis_url), lambda: observation.dependency_error("limits"))
    database = Database(settings.durable_url, lambda: observation.dependency_error("database"))
    secret = settings.secret or read_or_make(Path(settings.data_dir))
    worker = token_hex(16)
    transports = (
        pooled(),
        pooled(read_buffer=_PICTURE_BUFFER),
        pooled(lambda: PublicResolver(ThreadedResolver()), _PICTURE_BUFFER),
    )
    keys = KeyPool(settings.upstream_keys, store, clock, observation.upstream_key)
    wire = Wire(transports[0], settings.upstream_url, settings.upstream_connect_timeout)
    # Pictures on another server, or of a cluster, cannot be looked up by the script that limits.
    apart = pictures if pictures is not store or not store.one_server else None
    return _Outside(
        clock=clock,
        observation=observation,
        store=store,
        pictures=pictures,
        database=database,
        ledger=SqlLedger(database, clock, worker, unknown_hold=settings.unknown_hold),
        jobs=SqlJobs(database, worker),
        secret=secret,
        directory=TeamDirectory(database, secret, clock),
        transports=transports,
        keys=keys,
        upstream=Upstream302(wire, keys, Account(wire, keys), _upstream_options(settings)),
        limiter=RedisLimiter(store, observation, clock, LimiterOptions(workers), apart),
        wakeups=RedisWakeups(store),
    )


def _gateway(settings: Settings, outside: _Outside, media: "ObjectMedia | None") -> Gateway:
    clock, observation = outside.clock, outside.observation
    shelf = Shelf(Path(settings.data_dir), _HELD_IN_MEMORY)
    hosts = Hosts.of(settings.upstream_url, settings.image_hosts)
    downloader = GuardedDownloader(outside.transports[2], outside.transports[1], hosts, shelf, clock)
    url_ttl = min(settings.cache_ttl, _LONGEST_URL_TTL) if settings.media else settings.cache_ttl
    gallery = Gallery(media, downloader, observation, clock, url_ttl)
    cache = RedisCache(outside.pictures, clock)
    errands = Errands(observation)
    flights: Flights[Flown] = Flights(observation)
    return Gateway(
        keyring=Keyring(parse_static(settings.keys)),
        catalogue=catalogue(settings),
        limiter=outside.limiter,
        cache=cache,
        flights=flights,
        upstream=outside.upstream,
        gallery=gallery,
        settling=Settling(outside.ledger, errands, cache, gallery, outside.wakeups, observation),
        drain=Drain(flights, clock, settings.drain_delay, settings.drain_timeout),
        repeated=Repeated(SqlRepeats(outside.database), errands, clock),
        observer=observation,
        clock=clock,
        options=_options(settings),
        directory=outside.directory,
    )


def _later(settings: Settings, outside: _Outside, gateway: Gateway) -> Later:
    hosts = settings.webhook_hosts
    webhooks = SignedWebhooks(outside.transports[1], settings.webhook_secret, hosts, outside.clock)
    runs = JobRuns(outside.jobs, webhooks, gateway.settling.errands, outside.observation)
    return Later(gateway, outside.jobs, runs, hosts)


def _admin(settings: Settings, outside: _Outside) -> Admin:
    roster = Roster(outside.database, outside.secret, outside.clock, parse_static(settings.keys))
    return Admin(settings.admin_key, roster, Records(outside.database), lambda: _told(outside.keys))


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue of these settings; raises CatalogueError."""
    return load_catalogue(
        read_sources(settings),
        settings.default_model,
        for_edits=settings.edit_model,
        for_variations=settings.variation_model,
    )


def _told(keys: KeyPool) -> list[dict[str, object]]:
    return [asdict(status) for status in keys.snapshot()]


def _model_of(gateway: Gateway) -> Callable[[str], Model]:
    """The model of a ledger's row: a forwarded one is in no catalogue."""
    return lambda name: gateway.catalogue.models.get(name) or forwarded(name)


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
        picture_ttl=settings.cache_ttl,
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
        mode=settings.upstream_mode,
        timeout=settings.upstream_timeout,
        concurrency=settings.upstream_concurrency,
    )


def _ignore(_message: str) -> None:
    return None
