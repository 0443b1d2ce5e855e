"""The fast path of a request that was a cache hit and comes again byte for byte: no application, no task of its own."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import msgspec

from gateway.core.order import Answer, Order
from gateway.core.outcome import HIT, Outcome, told_ms
from gateway.fastpath import KeptOrder
from gateway.pipeline import Gateway
from gateway.web.hit_head import HitHead
from gateway.web.marks import common_headers, new_request_id
from gateway.web.render import Headers, addresses, images_reply, length_header


class RawReply(NamedTuple):
    """A reply of status 200, as it is written: the lines of its headers, each with its end, and its body."""

    headers: bytes
    body: bytes


OnReply = Callable[[RawReply | None], None]

# A browser is told who may read the answer, and who prefers to wait or not to what came of that.
_CHANGES_ANSWER: Final = frozenset({b"origin", b"prefer"})


def has_fast_path(gateway: Gateway, order: Order, answer: Answer, headers: Mapping[bytes, bytes]) -> bool:
    """Whether the same request would get the same answer, as long as its pictures are kept and its caller may ask.

    One with an Idempotency-Key is answered by what is noted of it. Where there is a media store, it has to be asked for
    its pictures, and 302's addresses stand only until they lie there.
    """
    return (
        gateway.gallery.media is None
        and order.outcome.cache == HIT.word
        and answer.format == "url"
        and order.asked.attempt is None
        and headers.keys().isdisjoint(_CHANGES_ANSWER)
    )


class FastPath:
    """Answers a request as it was answered when it was a hit, and tells the observer of it."""

    def __init__(self, current: Callable[[], Gateway], kept: KeptOrder, outcome: Outcome, added: Headers) -> None:
        """`current` is the gateway that serves, which a reload replaces; `outcome` is that of the hit.

        `added` is what the answer gets on its way out, beside what all have in common.
        """
        self._current: Final = current
        self._kept: Final = kept
        self._outcome: Final = outcome
        self._added: Final = added
        self._head: HitHead | None = None

    def __call__(self, tell: OnReply) -> None:
        """Answer it once more: `tell` hears the reply, or None where the application has to be asked."""
        gateway = self._current()
        if self._kept.gateway is gateway:
            self._kept.ask(partial(self._answered, gateway, gateway.clock.monotonic(), tell))
        else:
            tell(None)

    def _answered(self, gateway: Gateway, started: float, tell: OnReply, answer: Answer | None) -> None:
        if answer is None:
            tell(None)
            return
        try:
            reply, outcome = self._reply(answer, gateway.clock.monotonic() - started)
        except Exception as error:  # noqa: BLE001 - nobody else hears it, and the caller waits
            gateway.observer.fault("fast path", error)
            tell(None)
            return
        tell(reply)
        gateway.observer.request(outcome)

    def _reply(self, answer: Answer, seconds: float) -> tuple[RawReply, Outcome]:
        outcome: Outcome = msgspec.structs.replace(
            self._outcome, request_id=new_request_id(), status=200, code="ok", ms=told_ms(seconds)
        )
        ms = seconds * 1000
        if self._head is None:  # not before it comes again: most hits never do
            reply = images_reply(answer, "")
            common = common_headers(outcome.request_id, ms)
            self._head = HitHead([*reply.headers, *length_header(reply), *self._added, *common])
        body = addresses(answer, "")
        return RawReply(self._head.lines(answer, len(body), outcome.request_id, ms), body), outcome
