"""The composition root: settings → adapters → Gateway → ASGI application. The only place that wires.

Nothing happens at import. `create` is what uvicorn calls in each worker; tests call `build` with parts of their own.
"""

import multiprocessing
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop  # noqa: F401 - uvicorn is told to use it: a missing wheel must show here
from aiohttp import ThreadedResolver
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.adapters.cache import RedisCache
from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.download import GuardedDownloader, Hosts, PublicResolver
from gateway.adapters.embedded import die_with_parent, running_in
from gateway.adapters.jobs import SqlJobs
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.limiter import LimiterOptions, RedisLimiter
from gateway.adapters.log import LineLog
from gateway.adapters.metrics import MULTIPROCESS_DIR, Metrics
from gateway.adapters.observation import Observation
from gateway.adapters.redis_store import RedisStore
from gateway.adapters.repeats import SqlRepeats
from gateway.adapters.shelf import Shelf
from gateway.adapters.transport import AiohttpTransport, pooled
from gateway.adapters.upstream import Account, KeptTransport, KeyPool, Upstream302, Wire
from gateway.adapters.wakeups import RedisWakeups
from gateway.adapters.webhooks import SignedWebhooks
from gateway.core.catalogue import forwarded
from gateway.core.declared import DeclaredTeam
from gateway.core.keys import Keyring, parse_static
from gateway.durable import Durable
from gateway.flights import Drain, Errands, Flights, Flown, Gallery, JobRuns, Recovery, Repeated, Settling
from gateway.later import Later
from gateway.lifetime import Closing, Parts
from gateway.options import catalogue, options, upstream_options, web_options
from gateway.pipeline import Gateway
from gateway.ports import Clock
from gateway.reload import Fresh, Reloader
from gateway.settings import WORKERS, Settings, SettingsError, read_teams
from gateway.settings import load as load_settings
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.media import MediaEndpoint
from gateway.web.routes import Site, admin_routes, media_route
from gateway.web.routes import build as build_routes

if TYPE_CHECKING:
    from gateway.adapters.media import ObjectMedia

# 302 promises no lifetime of its addresses, so where we keep the bytes one of them never stands for long.
_LONGEST_URL_TTL: Final = 3600
# Bytes of pictures on their way to their readers, a worker; what is more lies in files.
_HELD_IN_MEMORY: Final = 24 * 1024 * 1024


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
    fresh = _fresh(settings)
    outside = _outside(settings, metrics, lines, fresh.teams, workers)
    durable, observation = outside.durable, outside.observation
    media = _media(settings, outside.clock)
    gateway = _gateway(settings, fresh, outside, media)
    later = _later(settings, outside, gateway)
    # Starlette adds it to every answer where pages of other origins may ask.
    added = [(b"vary", b"Origin")] if settings.cors_origins else []
    endpoints = Endpoints(gateway, outside.store, durable.database.answers, metrics.scrape, fresh.web, later, added)
    reloader = _reloader(settings, endpoints, durable, metrics, lines)
    background = [
        lambda: durable.run(observation),
        _recovery(settings, endpoints, outside).run,
        later.watch,
        gateway.repeated.watch,
        outside.keys.share_forever,
        outside.limiter.renew_forever,
        metrics.keep_counting,
    ]
    if not outside.is_alone:
        background.append(lambda: outside.store.listen(outside.wakeups.heard))
    connections: list[Closing] = [*outside.transports, outside.store, outside.pictures]
    parts = Parts(
        gateway, later.runs, media, durable, outside.ledger, reloader, background, connections, observation, lines
    )
    routes = [media_route(MediaEndpoint(media).serve)] if media is not None else []
    if settings.admin_key:
        admin = Admin(
            settings.admin_key,
            durable.roster,
            durable.records,
            durable.report,
            lambda: _told(outside.keys),
            reloader.everywhere,
        )
        routes += admin_routes(admin)
    site = Site(endpoints, observation, outside.clock, parts.lifespan, settings.cors_origins, tuple(routes))
    return build_routes(site)


class _Transports(NamedTuple):
    """The ways out: to 302's API, to hosts that the operator named, and to all others, which must be public."""

    api: KeptTransport
    trusted: AiohttpTransport
    public: AiohttpTransport


@dataclass(frozen=True, slots=True)
class _Outside:
    """The adapters: everything outside of the gateway that it leans on."""

    clock: SystemClock
    observation: Observation
    store: RedisStore
    pictures: RedisStore
    durable: Durable
    ledger: SqlLedger
    jobs: SqlJobs
    transports: _Transports
    keys: KeyPool
    upstream: Upstream302
    limiter: RedisLimiter
    wakeups: RedisWakeups
    is_alone: bool
    """Whether nobody else can wait for what this worker draws: it is the only one, and its Redis was started for it."""


def _outside(
    settings: Settings, metrics: Metrics, lines: LineLog, declared: dict[str, DeclaredTeam] | None, workers: int
) -> _Outside:
    clock = SystemClock()
    database = Database(settings.durable_url, lambda: observation.dependency_error("database"))
    durable = Durable.of(settings, database, clock, declared)
    observation = Observation(metrics, lines, durable.counter)
    pictures = RedisStore(settings.picture_redis_url, lambda: observation.dependency_error("cache"))
    store = pictures
    if settings.picture_redis_url != settings.redis_url:
        store = RedisStore(settings.redis_url, lambda: observation.dependency_error("limits"))
    is_alone = workers == 1 and settings.redis_url == running_in(Path(settings.data_dir))
    worker = token_hex(16)
    transports = _Transports(KeptTransport(), pooled(), pooled(lambda: PublicResolver(ThreadedResolver())))
    keys = KeyPool(settings.upstream_keys, store, clock, observation.upstream_key)
    wire = Wire(transports.api, settings.upstream_url, settings.upstream_connect_timeout)
    # Pictures on another server, or of a cluster, cannot be looked up by the script that limits.
    apart = pictures if pictures is not store or not store.one_server else None
    return _Outside(
        clock=clock,
        observation=observation,
        store=store,
        pictures=pictures,
        durable=durable,
        ledger=SqlLedger(
            database,
            clock,
            worker,
            unknown_hold=settings.unknown_hold,
            # As long as its worker waits for it; where that died, another adopts it, and waits as long.
            longest=2 * settings.upstream_timeout + settings.worker_lease,
            lease=settings.worker_lease,
        ),
        jobs=SqlJobs(database, worker),
        transports=transports,
        keys=keys,
        upstream=Upstream302(wire, keys, Account(wire, keys), upstream_options(settings)),
        limiter=RedisLimiter(store, observation, clock, LimiterOptions(workers, lease=settings.worker_lease), apart),
        wakeups=RedisWakeups(None if is_alone else store),
        is_alone=is_alone,
    )


def _gateway(settings: Settings, fresh: Fresh, outside: _Outside, media: "ObjectMedia | None") -> Gateway:
    clock, observation = outside.clock, outside.observation
    shelf = Shelf(Path(settings.data_dir), _HELD_IN_MEMORY)
    hosts = Hosts.of(settings.upstream_url, settings.image_hosts)
    downloader = GuardedDownloader(outside.transports.public, outside.transports.trusted, hosts, shelf, clock)
    url_ttl = min(settings.cache_ttl, _LONGEST_URL_TTL) if settings.media else settings.cache_ttl
    gallery = Gallery(media, downloader, observation, clock, url_ttl)
    cache = RedisCache(outside.pictures, clock)
    errands = Errands(observation)
    flights: Flights[Flown] = Flights(observation)
    return Gateway(
        keyring=fresh.keyring,
        catalogue=fresh.catalogue,
        limiter=outside.limiter,
        cache=cache,
        flights=flights,
        upstream=outside.upstream,
        gallery=gallery,
        settling=Settling(outside.ledger, errands, cache, gallery, outside.wakeups, observation),
        drain=Drain(flights, clock, settings.drain_delay, settings.drain_timeout),
        repeated=Repeated(SqlRepeats(outside.durable.database), errands, clock),
        observer=observation,
        clock=clock,
        options=fresh.options,
        directory=outside.durable.directory,
    )


def _recovery(settings: Settings, endpoints: Endpoints, outside: _Outside) -> Recovery:
    gateway = endpoints.gateway
    return Recovery(
        outside.ledger,
        gateway.settling,
        gateway.flights,
        outside.upstream,
        # Of the gateway of that moment: a reload puts another in its place. A forwarded model is in no catalogue.
        lambda name: endpoints.gateway.catalogue.models.get(name) or forwarded(name),
        outside.observation,
        outside.clock,
        confirm=settings.cost_source == "record",
        lease=settings.worker_lease,
    )


def _fresh(settings: Settings) -> Fresh:
    """What settings make, that a reload may replace."""
    keyring = Keyring(parse_static(settings.keys))
    return Fresh(keyring, catalogue(settings), options(settings), web_options(settings), read_teams(settings))


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


def _later(settings: Settings, outside: _Outside, gateway: Gateway) -> Later:
    hosts = settings.webhook_hosts
    webhooks = SignedWebhooks(outside.transports.trusted, settings.webhook_secret, hosts, outside.clock)
    runs = JobRuns(outside.jobs, webhooks, gateway.settling.errands, outside.observation)
    return Later(gateway, outside.jobs, runs, hosts)


def _told(keys: KeyPool) -> list[dict[str, object]]:
    return [asdict(status) for status in keys.snapshot()]


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


def _ignore(_message: str) -> None:
    return None
