"""One secret of the gateway's own, and what is derived from it: a key for each purpose.

None stands for another, so that what is seen of one says nothing of the rest.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

SHORTEST: Final = 32
_FEWEST_KINDS: Final = 8
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_PLACEHOLDERS: Final = ("changeme", "change-me", "change_me", "placeholder", "replace", "example", "your-", "your_")


def weakness(secret: str) -> str | None:
    """Why a secret is none; None for one that may be used."""
    if len(secret) < SHORTEST:
        return f"it has {len(secret)} characters, and needs at least {SHORTEST}"
    if not secret.isascii() or not secret.isprintable():
        return "it must be printable ASCII"
    lower = secret.lower()
    if any(word in lower for word in _PLACEHOLDERS) or len(set(secret)) < _FEWEST_KINDS:
        return "it is a placeholder, which anybody can guess"
    return None


def is_signing_secret(secret: str) -> bool:
    """Whether a secret is one of Standard Webhooks: `whsec_`, and 24 to 64 bytes in base64."""
    try:
        data = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return secret.startswith("whsec_") and _FEWEST_BYTES <= len(data) <= _MOST_BYTES


def derive(secret: str, label: str) -> bytes:
    """32 bytes for one purpose: HKDF with SHA-256 (RFC 5869) and no salt, of one block."""
    extracted = hmac.digest(bytes(32), secret.encode(), hashlib.sha256)
    return hmac.digest(extracted, label.encode() + b"\x01", hashlib.sha256)


def digest_of(derived: bytes, key: bytes) -> bytes:
    """How a key is kept: nobody who reads the database alone can try keys against it."""
    return hmac.digest(derived, key, hashlib.sha256)
