"""A gateway on fakes that write into one transcript."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from gateway.core.catalogue import Catalogue
from gateway.core.keys import Keyring
from gateway.core.order import Answer, Asked, Options
from gateway.core.outcome import Outcome
from gateway.flights import Drain, Errands, Flights, Flown, Gallery, JobRuns, Repeated, Settling
from gateway.later import Later
from gateway.pipeline import Gateway
from gateway.ports import MediaStore
from tests.fakes import (
    FakeClock,
    FakeDownloader,
    FakeObserver,
    FakeUpstream,
    FakeWakeups,
    FakeWebhooks,
    MemoryCache,
    MemoryJobs,
    MemoryLedger,
    MemoryLimiter,
    MemoryRepeats,
    Recorder,
    reading,
)

MODEL = "dall-e-3-t2i"
FIRST, SECOND = b"the first key", b"the second key"


@dataclass
class World:
    """The gateway, and everything that stands around it."""

    catalogue: Catalogue
    options: Options = field(default_factory=Options)
    media: MediaStore | None = None

    def __post_init__(self) -> None:
        self.record = Recorder()
        self.clock = FakeClock()
        self.cache = MemoryCache(self.clock, self.record)
        self.limiter = MemoryLimiter(self.clock, self.record, kept=self.cache.kept)
        self.upstream = FakeUpstream(self.record)
        self.downloader = FakeDownloader(self.record)
        self.observer = FakeObserver(self.record)
        self.outcome = Outcome(request_id="req_1", method="POST")
        self.ledger = MemoryLedger(self.clock, self.record)
        gallery = Gallery(self.media, self.downloader, self.observer, self.clock, self.options.picture_ttl)
        self.settling = Settling(self.ledger, Errands(self.observer), self.cache, gallery, FakeWakeups(), self.observer)
        flights: Flights[Flown] = Flights(self.observer)
        self.gateway = Gateway(
            keyring=Keyring({"first": FIRST.decode(), "second": SECOND.decode()}),
            catalogue=self.catalogue,
            limiter=self.limiter,
            cache=self.cache,
            flights=flights,
            drain=Drain(flights, self.clock, 0.0, 290.0),
            upstream=self.upstream,
            gallery=gallery,
            settling=self.settling,
            repeated=Repeated(MemoryRepeats(), self.settling.errands, self.clock),
            observer=self.observer,
            clock=self.clock,
            options=self.options,
        )
        self.jobs, self.webhooks = MemoryJobs(self.clock), FakeWebhooks()
        pauses = (0.0, 0.0, 0.0)
        self.runs = JobRuns(self.jobs, self.webhooks, self.settling.errands, self.observer, pauses)
        self.later = Later(self.gateway, self.jobs, self.runs, ("hooks.example",))

    async def ask(
        self,
        secret: bytes | None = FIRST,
        *,
        look_up: bool = True,
        keep: bool = True,
        attempt: str | None = None,
        is_retry: bool = False,
        fields: Mapping[str, object] | None = None,
    ) -> Answer:
        """One generation, from its key to its answer."""
        body = orjson.dumps({"model": MODEL, "prompt": "a cat", **(fields or {})})
        read = reading(body, self.record)
        asked = Asked(read, look_up=look_up, keep=keep, attempt=attempt, is_retry=is_retry)
        self.outcome = Outcome(request_id="req_1", method="POST")
        order = await self.gateway.admit(await self.gateway.accept(secret, asked, self.outcome))
        return await self.gateway.generate(order)

    def work_elsewhere(self) -> None:
        """From now on another worker is asked, which shares ledger, cache and limits with the one before."""
        self.gateway = replace(self.gateway, flights=Flights(self.observer))

    def transcript(self) -> list[str]:
        """What happened since the last time it was asked for."""
        verbs, self.record.verbs[:] = list(self.record.verbs), []
        return verbs
