"""What all answers have in common, whoever writes them."""

from random import getrandbits
from typing import Final

_VERSION: Final = (b"openai-version", b"2020-10-01")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")


def new_request_id() -> str:
    """What a request is known by, `req_` and 32 hex digits; no secret."""
    return "req_" + getrandbits(128).to_bytes(16, "big").hex()


def common_headers(request_id: str, ms: float) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that every answer ends with; `ms` is how many milliseconds it took."""
    return (
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", b"%d" % ms),
        _VERSION,
        _NO_SNIFFING,
    )
