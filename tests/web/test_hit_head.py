"""The head of a hit that comes again has the same lines as one that is rendered anew."""

import pytest

from gateway.core.coerce import Adjustment
from gateway.core.order import Answer, Picture
from gateway.core.outcome import CacheState
from gateway.core.standing import Standing
from gateway.web.hit_head import HitHead
from gateway.web.marks import common_headers
from gateway.web.render import Headers, images_reply, length_header

ADDED: Headers = [(b"x-added", b"100%s of %% it")]
ADJUSTMENTS = (Adjustment("size", "1x1", "100%d"),)


def hit(ttl: int, adjustments: tuple[Adjustment, ...], standings: tuple[Standing, ...]) -> Answer:
    pictures = [Picture("https://a/1.png", CacheState.HIT, ttl), Picture("https://a/2.png", CacheState.HIT, ttl + 1)]
    return Answer(ttl, pictures, "url", False, adjustments, standings)


def headers_of(answer: Answer, request_id: str, ms: float) -> Headers:
    reply = images_reply(answer, "")
    return [*reply.headers, *length_header(reply), *ADDED, *common_headers(request_id, ms)]


@pytest.mark.parametrize("adjustments", [(), ADJUSTMENTS], ids=["as-asked", "adjusted"])
@pytest.mark.parametrize("measures", [(), ("requests",), ("requests", "images")])
def test_what_changes_is_filled_in_and_all_else_is_as_it_was(
    adjustments: tuple[Adjustment, ...], measures: tuple[str, ...]
) -> None:
    first, second = (
        hit(ttl, adjustments, tuple(Standing(measure, ttl, ttl - 1, 0.5 + ttl) for measure in measures))  # type: ignore[arg-type]
        for ttl in (5, 86_400)
    )
    head = HitHead(headers_of(first, "req_1", 1.0))

    length = images_reply(second, "").length
    assert length is not None
    lines = head.lines(second, length, "req_22", 33.3)

    assert lines == b"".join(b"%b: %b\r\n" % header for header in headers_of(second, "req_22", 33.3))
