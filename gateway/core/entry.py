"""What the cache keeps under a fingerprint, and how it is checked when it comes back: Redis is not trusted blindly."""

from typing import Final

import msgspec

from gateway.core.errors import KIND_OF_CODE, GatewayError
from gateway.core.translate import SCHEMA

_SCHEMA: Final = SCHEMA.decode()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A generated picture: where it lies, and until when the entry stands (seconds of wall clock)."""

    fingerprint: str
    url: str
    expires: float
    schema: str = _SCHEMA


class HeldError(msgspec.Struct, frozen=True, gc=False):
    """An unknown outcome, told again to the same key for a while instead of paying again."""

    fingerprint: str
    code: str
    message: str
    schema: str = _SCHEMA


_ENTRY: Final = msgspec.json.Decoder(Entry)
_HELD: Final = msgspec.json.Decoder(HeldError)
_ENCODER: Final = msgspec.json.Encoder()


def encode(entry: Entry | HeldError) -> bytes:
    """The stored form."""
    return _ENCODER.encode(entry)


def read_entry(data: bytes, fingerprint: str, now: float) -> Entry | None:
    """The entry, or None where it is not of this schema and fingerprint, has lapsed, or leads nowhere."""
    try:
        entry = _ENTRY.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    sound = entry.schema == _SCHEMA and entry.fingerprint == fingerprint and entry.expires > now
    return entry if sound and entry.url[:8].lower().startswith(("http://", "https://", "media:")) else None


def read_held(data: bytes, fingerprint: str) -> GatewayError | None:
    """The remembered error, or None where the value cannot be trusted."""
    try:
        held = _HELD.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if held.schema != _SCHEMA or held.fingerprint != fingerprint or held.code not in KIND_OF_CODE:
        return None
    return GatewayError(KIND_OF_CODE[held.code], held.message)
