"""The same request again, byte for byte, after it was a cache hit: answered without going through the application."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from gateway.again import KeptOrder
from gateway.core.order import Answer, Order, media_name
from gateway.core.outcome import CacheState, Outcome
from gateway.pipeline import Gateway
from gateway.web.marks import every_answers, new_request_id
from gateway.web.render import Reply, images_reply

Tell = Callable[[Reply | None], None]

_MORE_THAN_THAT: Final = frozenset({b"origin", b"prefer"})


def may_come_again(order: Order, answer: Answer, headers: Mapping[bytes, bytes]) -> bool:
    """Whether the same request would get the same answer, as long as its pictures are kept and its caller may ask.

    One with an Idempotency-Key is answered by what is noted of it, a web page's with headers for its browser, and
    pictures in our own store are looked for there.
    """
    return (
        order.outcome.cache == CacheState.HIT.word
        and answer.format == "url"
        and order.asked.attempt is None
        and headers.keys().isdisjoint(_MORE_THAN_THAT)
        and all(media_name(picture.url) is None for picture in answer.pictures)
    )


class Again:
    """Answers a request that was a cache hit as it was answered then, and tells the observer of it."""

    more: Sequence[tuple[bytes, bytes]] = ()
    """What is added to the answer on its way out, by name and value."""

    def __init__(self, current: Callable[[], Gateway], gateway: Gateway, order: Order, secret: bytes | None) -> None:
        """`current` is the gateway that serves: a reload puts another in the place of the one that took the order."""
        self._current: Final = current
        self._gateway: Final = gateway
        self._kept: Final = KeptOrder(gateway, order, secret)
        self._outcome: Final = order.outcome

    def __call__(self, tell: Tell) -> None:
        """Answer it once more: `tell` hears the reply, its length too, or None where the application must be asked."""
        if self._current() is self._gateway:
            self._kept.ask(partial(self._answered, tell, self._gateway.clock.monotonic()))
        else:
            tell(None)

    def _answered(self, tell: Tell, started: float, answer: Answer | None) -> None:
        if answer is None:
            tell(None)
            return
        ms = (self._gateway.clock.monotonic() - started) * 1000
        outcome: Outcome = msgspec.structs.replace(
            self._outcome, request_id=new_request_id(), status=200, code="ok", ms=round(ms, 2)
        )
        reply = images_reply(answer, "")
        length = (b"content-length", b"%d" % (reply.length or 0))
        reply.headers.extend((length, *self.more, *every_answers(outcome.request_id, ms)))
        tell(reply)
        self._gateway.observer.request(outcome)
