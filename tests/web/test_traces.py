"""Requests that differ in nothing but what traces them are the same one, and only those."""

import pytest

from gateway.cli.protocol import without_traces
from tests.web.talking import answer_to, talking
from tests.web.test_protocol_fastpath import Hits, request

KNOWN = request(b"0123")
FIRST_LINE, REST = KNOWN.split(b"\r\n", 1)


def with_fields(*fields: bytes) -> bytes:
    return b"\r\n".join([FIRST_LINE, *fields, REST])


TRACED = [
    with_fields(b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"tracestate: a=b"),
    with_fields(b"X-Request-ID:one"),
    KNOWN.replace(b"\r\n\r\n", b"\r\nX-B3-TraceId: 1\r\nx-datadog-parent-id: 2\r\nbaggage: a=\tb\r\n\r\n"),
]
OTHERS = [
    pytest.param(with_fields(b"traceparent: a\x01b"), id="control character"),
    pytest.param(with_fields(b"traceparent: a", b" folded"), id="folded"),
    pytest.param(with_fields(b"traceparent : a"), id="space before the colon"),
    pytest.param(with_fields(b"x-traceparent: a"), id="another name"),
    pytest.param(with_fields(b"idempotency-key: a"), id="a field that is read"),
    pytest.param(with_fields(*[b"x-request-id: %d" % number for number in range(13)]), id="too many"),
    pytest.param(with_fields(b"traceparent: a\nx-evil: b"), id="line feed"),
    pytest.param(with_fields(b"traceparent: " + b"a" * 5000), id="long"),
    pytest.param(KNOWN + b"\r\ntraceparent: a\r\n", id="behind the head"),
]


@pytest.mark.parametrize("traced", TRACED)
def test_what_traces_a_request_is_not_of_its_name(traced: bytes) -> None:
    assert without_traces(traced) == KNOWN


@pytest.mark.parametrize("other", OTHERS)
def test_all_else_is(other: bytes) -> None:
    assert without_traces(other) != KNOWN


@pytest.mark.parametrize("nothing", [b"", b"GET", b"traceparent: a\r\n", b"\r\n\r\n"])
def test_what_is_no_whole_head_stays_as_it_is(nothing: bytes) -> None:
    assert without_traces(nothing) == nothing


async def test_a_known_request_takes_its_fast_path_whatever_traces_it() -> None:
    hits = Hits()

    async with talking(hits) as talk:
        answers = {await answer_to(talk, one) for one in (*TRACED, KNOWN, *TRACED)}

    assert len(answers) == 1
    assert (len(hits.asked), len(hits.again)) == (1, 6)
