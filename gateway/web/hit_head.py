"""The head of a hit that comes again: it is written once, with blanks for the few values that change."""

from itertools import chain
from typing import Final

from gateway.core.order import Answer
from gateway.web.render import RATE_LIMITS, Headers, hit_status, standing_values

# The headers whose values change from answer to answer.
_BLANKS: Final = frozenset(
    {
        b"cache-status",
        *chain.from_iterable(RATE_LIMITS.values()),
        b"content-length",
        b"x-request-id",
        b"openai-processing-ms",
    }
)


class HitHead:
    """The lines of an answer's headers."""

    def __init__(self, headers: Headers) -> None:
        """`headers` are those of such an answer; values like these left once, and none of them begins a line."""
        lines = [(name, b"%b" if name in _BLANKS else value.replace(b"%", b"%%")) for name, value in headers]
        self._form: Final = b"".join([b"%b: %b\r\n" % line for line in lines])

    def lines(self, answer: Answer, length: int, request_id: str, ms: float) -> bytes:
        """Those of another answer of the same kind; `length` is of its body, `ms` how many milliseconds it took."""
        # In the order of `images_reply`, `length_header` and `common_headers`.
        values = [hit_status(answer.pictures)]
        for standing in answer.standings:
            values += standing_values(standing)
        return self._form % (*values, b"%d" % length, request_id.encode(), b"%d" % ms)
