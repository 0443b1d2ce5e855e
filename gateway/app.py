"""The composition root: settings → adapters → Gateway → ASGI application. The only place that wires.

Nothing happens at import. `create` is what uvicorn calls in each worker; tests call `build` with parts of their own.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
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
from gateway.adapters.redis_store import RedisStore, connect
from gateway.adapters.repeats import SqlRepeats
from gateway.adapters.secret import read_or_make
from gateway.adapters.shelf import Shelf
from gateway.adapters.teams import TeamDirectory
from gateway.adapters.transport import pooled
from gateway.adapters.upstream import Account, KeyPool, Upstream302, UpstreamOptions, Wire
from gateway.adapters.wakeups import CHANNEL, RedisWakeups
from gateway.adapters.webhooks import SignedWebhooks
from gateway.core.catalogue import Catalogue, Model, forwarded
from gateway.core.catalogue import load as load_catalogue
from gateway.core.coerce import Policy
from gateway.core.keys import Keyring, parse_static
from gateway.core.order import Options
from gateway.core.translate import Rules
from gateway.flights import Errands, Flights, Gallery, JobRuns, Recovery, Repeated, Settling
from gateway.later import Later
from gateway.lifetime import Durable, Parts
from gateway.pipeline import Gateway
from gateway.ports import Clock
from gateway.settings import WORKERS, Settings, SettingsError, read_sources
from gateway.settings import load as load_settings
from gateway.web.endpoints import Endpoints
from gateway.web.media import MediaEndpoint
from gateway.web.places import WebOptions
from gateway.web.routes import Site, media_route
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
    clock = SystemClock()
    observation = Observation(metrics, lines)
    pictures = RedisStore(connect(settings.picture_redis_url), lambda: observation.dependency_error("cache"))
    store = pictures
    if settings.picture_redis_url != settings.redis_url:
        store = RedisStore(connect(settings.redis_url), lambda: observation.dependency_error("limits"))
    database = Database(settings.durable_url, lambda: observation.dependency_error("database"))
    worker = token_hex(16)
    ledger = SqlLedger(database, clock, worker, unknown_hold=settings.unknown_hold)
    transports = (
        pooled(),
        pooled(read_buffer=_PICTURE_BUFFER),
        pooled(lambda: PublicResolver(ThreadedResolver()), _PICTURE_BUFFER),
    )
    keys = KeyPool(settings.upstream_keys, store, clock, observation.upstream_key)
    wire = Wire(transports[0], settings.upstream_url, settings.upstream_connect_timeout)
    upstream = Upstream302(wire, keys, Account(wire, keys), _upstream_options(settings))
    hosts = Hosts.of(settings.upstream_url, settings.image_hosts)
    shelf = Shelf(Path(settings.data_dir), _HELD_IN_MEMORY)
    media = _media(settings, clock)
    downloader = GuardedDownloader(transports[2], transports[1], hosts, shelf, clock)
    url_ttl = min(settings.cache_ttl, _LONGEST_URL_TTL) if settings.media else settings.cache_ttl
    gallery = Gallery(media, downloader, observation, clock, url_ttl)
    cache = RedisCache(pictures, clock)
    wakeups = RedisWakeups(store)
    apart = pictures if pictures is not store or not store.one_server else None
    limiter = RedisLimiter(store, observation, clock, LimiterOptions(workers), apart)
    errands = Errands(observation)
    settling = Settling(ledger, errands, cache, gallery, wakeups, observation)
    secret = settings.secret or read_or_make(Path(settings.data_dir))
    directory = TeamDirectory(database, secret, clock)
    gateway = Gateway(
        keyring=Keyring(parse_static(settings.keys)),
        catalogue=catalogue(settings),
        limiter=limiter,
        cache=cache,
        flights=Flights(observation),
        upstream=upstream,
        gallery=gallery,
        settling=settling,
        repeated=Repeated(SqlRepeats(database), errands, clock),
        observer=observation,
        clock=clock,
        options=_options(settings),
        directory=directory,
    )
    webhooks = SignedWebhooks(transports[1], settings.webhook_secret, settings.webhook_hosts, clock)
    later = _later(gateway, SqlJobs(database, worker), webhooks, settings)
    recovery = Recovery(ledger, settling, gateway.flights, upstream, _model_of(gateway), observation, clock)

    durable = Durable(settings.durable_url, database, directory, observation)
    background = [
        durable.watch,
        recovery.run,
        later.watch,
        keys.share_forever,
        limiter.renew_forever,
        lambda: store.listen(CHANNEL, wakeups.heard),
    ]
    parts = Parts(
        gateway, later.runs, media, durable, ledger, background, [*transports, store, pictures], observation, lines
    )
    routes = [media_route(MediaEndpoint(media).serve)] if media is not None else []
    endpoints = Endpoints(gateway, store, database.answers, metrics.scrape, _web_options(settings), later)
    return build_routes(Site(endpoints, observation, clock, parts.lifespan, settings.cors_origins, tuple(routes)))


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue of these settings; raises CatalogueError."""
    return load_catalogue(
        read_sources(settings),
        settings.default_model,
        for_edits=settings.edit_model,
        for_variations=settings.variation_model,
    )


def _later(gateway: Gateway, jobs: SqlJobs, webhooks: SignedWebhooks, settings: Settings) -> Later:
    runs = JobRuns(jobs, webhooks, gateway.settling.errands, gateway.observer)
    return Later(gateway, jobs, runs, settings.webhook_hosts)


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
