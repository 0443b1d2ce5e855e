"""The fast path: a cache hit that is asked for again, word for word, with only Redis to wait for.

Nothing is decided by how it was before: who holds the key and whether it still may, the limits and the cache are asked
each time. Only what the same request always means is not worked out again.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.callers import caller_of
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller, check_standing
from gateway.core.limits import Admission
from gateway.core.order import Answer, Order, Picture, kept_picture, media_name
from gateway.pipeline import Gateway

OnAnswer = Callable[[Answer | None], None]


class KeptOrder:
    """An order whose pictures were all kept, and were asked for by their addresses."""

    def __init__(self, gateway: Gateway, order: Order, secret: bytes | None) -> None:
        # Weak: after a reload it is asked no more, and must not keep what it knew.
        self._gateway: Final = weakref.ref(gateway)
        self._secret: Final = secret
        self._caller: Final = order.caller
        self._usage: Final = order.usage
        self._adjustments: Final = order.plan.adjustments
        self._fingerprints: Final = [payload.fingerprint for payload in order.plan.payloads]
        names = [gateway.cache.name(fingerprint) for fingerprint in self._fingerprints]
        self._admit: Final = gateway.limiter.kept_admission(order.caller, names)

    @property
    def gateway(self) -> Gateway | None:
        """The gateway that took the order; None when it is gone."""
        return self._gateway()

    def ask(self, tell: OnAnswer) -> None:
        """Have it answered from the cache once more; `tell` hears None where it has to go all the way through."""
        gateway = self._gateway()
        caller = None if gateway is None else caller_of(gateway.keyring, gateway.directory, self._secret)
        if gateway is None or caller is None or not self._may(gateway, caller):
            tell(None)
        else:
            self._admit(partial(self._admitted, gateway, tell))

    def _may(self, gateway: Gateway, caller: Caller) -> bool:
        if caller is not self._caller and caller != self._caller:
            return False  # other terms may lead to another picture, or to none
        try:
            check_standing(caller, gateway.clock.now())
        except GatewayError:
            return False
        return True

    def _admitted(self, gateway: Gateway, tell: OnAnswer, admission: Admission | None) -> None:
        answer = None
        if admission is not None:
            try:
                answer = self._answer(gateway, admission)
            except Exception as error:  # noqa: BLE001 - nobody else hears it, and the caller waits
                gateway.observer.fault("fast path", error)
        tell(answer)

    def _answer(self, gateway: Gateway, admission: Admission) -> Answer | None:
        # Let in for what cannot be read after all, a request is let in once more on the whole way, and counts twice:
        # that takes an entry that lapses in this very moment, or that somebody else has written.
        now = gateway.clock.now()
        pictures: list[Picture] = []
        for fingerprint, value in zip(self._fingerprints, admission.found or (), strict=True):
            entry = gateway.cache.read(fingerprint, value)
            if entry is None or media_name(entry.url) is not None:
                return None
            pictures.append(kept_picture(entry, now))
        return Answer(int(now), pictures, "url", self._usage, self._adjustments, admission.standings)
