"""What the cache keeps under a fingerprint, and how it is checked when it comes back: Redis is not trusted blindly."""

from typing import Final

import msgspec

from gateway.core.translate import SCHEMA

_SCHEMA: Final = SCHEMA.decode()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A generated picture: where it lies, and until when the entry stands (seconds of wall clock)."""

    fingerprint: str
    url: str
    expires: float
    schema: str = _SCHEMA


_ENTRY: Final = msgspec.json.Decoder(Entry)
_ENCODER: Final = msgspec.json.Encoder()


def encode(entry: Entry) -> bytes:
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
