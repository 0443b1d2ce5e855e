"""A cache hit that is asked for again, word for word: the steps of the pipeline, with only Redis to wait for.

Nothing is decided by how it was before: who holds the key and whether it still may, the limits and the cache are asked
each time. Only what the same request always means is not worked out again.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.callers import caller_of
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller, check_standing
from gateway.core.limits import Admission
from gateway.core.order import Answer, Order, Picture, media_name
from gateway.core.outcome import CacheState
from gateway.pipeline import Gateway

Tell = Callable[[Answer | None], None]


class KeptOrder:
    """An order whose pictures were all kept, and were asked for by their addresses."""

    def __init__(self, gateway: Gateway, order: Order, secret: bytes | None) -> None:
        self._gateway: Final = gateway
        self._secret: Final = secret
        self._caller: Final = order.caller
        self._usage: Final = order.usage
        self._adjustments: Final = order.plan.adjustments
        self._fingerprints: Final = [payload.fingerprint for payload in order.plan.payloads]
        self._names: Final = [gateway.cache.name(fingerprint) for fingerprint in self._fingerprints]

    def ask(self, tell: Tell) -> None:
        """Have it answered from the cache once more; `tell` hears None where it must go all the way through."""
        gateway = self._gateway
        caller = caller_of(gateway.keyring, gateway.directory, self._secret)
        if caller is None or not self._may(caller):
            tell(None)
        else:
            gateway.limiter.admit_kept(caller, self._names, partial(self._admitted, tell))

    def _may(self, caller: Caller) -> bool:
        if caller is not self._caller and caller != self._caller:
            return False  # other terms may lead to another picture, or to none
        try:
            check_standing(caller, self._gateway.clock.now())
        except GatewayError:
            return False
        return True

    def _admitted(self, tell: Tell, admission: Admission | None) -> None:
        # Let in for what cannot be read after all, a request is let in once more on the whole way, and counts twice:
        # that takes an entry that lapses in this very moment, or that somebody else has written.
        pictures = None if admission is None or admission.found is None else self._recall(admission.found)
        if admission is None or pictures is None:
            tell(None)
            return
        created = int(self._gateway.clock.now())
        tell(Answer(created, pictures, "url", self._usage, self._adjustments, admission.standings))

    def _recall(self, found: list[bytes | None]) -> list[Picture] | None:
        cache, now = self._gateway.cache, self._gateway.clock.now()
        pictures: list[Picture] = []
        for fingerprint, value in zip(self._fingerprints, found, strict=True):
            entry = cache.read(fingerprint, value)
            if entry is None or media_name(entry.url) is not None:
                return None
            pictures.append(Picture(entry.url, CacheState.HIT, ttl=max(0, int(entry.expires - now))))
        return pictures
