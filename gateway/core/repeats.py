"""What an Idempotency-Key stands for: one request of one key, and what it was answered with."""

import hashlib
import re
from typing import Final

import msgspec

from gateway.core.errors import KIND_OF_CODE, GatewayError, Kind, invalid_value
from gateway.core.translate import Plan

# A structured field's string comes in quotes, by the IETF draft; Stripe's and everybody's comes without.
_NAME: Final = re.compile(r'"[\x20-\x7e]{1,253}"|(?!""$)[\x21-\x7e][\x20-\x7e]{0,254}')
# What ended a request that was sent is told again; what was refused before may be asked anew.
_FINAL: Final = frozenset(
    {Kind.CONTENT_POLICY, Kind.UPSTREAM_INVALID_REQUEST, Kind.UPSTREAM_UNKNOWN, Kind.UPSTREAM_TIMEOUT}
)


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """How the request ended the first time: pictures made at `created`, or an error."""

    created: int
    urls: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    param: str | None = None

    @property
    def error(self) -> GatewayError | None:
        """The error that is told again; None where there are pictures."""
        if not self.code:
            return None
        error = GatewayError(KIND_OF_CODE.get(self.code, Kind.INTERNAL_ERROR), self.message, param=self.param)
        error.replayed = True
        return error


def name_of(header: str | None) -> str | None:
    """The key that a header carries; None without one.

    Raises:
        GatewayError: `invalid_value`.
    """
    if header is None:
        return None
    if not _NAME.fullmatch(header):
        message = "Idempotency-Key must be 1 to 255 printable ASCII characters."
        raise invalid_value("Idempotency-Key", message)
    return header[1:-1] if header[0] == header[-1] == '"' and len(header) > 1 else header


def digest_of(plan: Plan, *words: str) -> bytes:
    """What makes two requests the same: what they become, and in which form they are answered."""
    parts = (*(payload.fingerprint for payload in plan.payloads), *words)
    return hashlib.sha256("\n".join(parts).encode()).digest()


def is_final(error: GatewayError) -> bool:
    """Whether the same request is told the same error, instead of being tried again."""
    return error.kind in _FINAL


def reused() -> GatewayError:
    """Another request came under the same key."""
    message = "This Idempotency-Key was used for another request; a new request needs a new one."
    return GatewayError(Kind.IDEMPOTENCY_KEY_REUSED, message, param="Idempotency-Key")
