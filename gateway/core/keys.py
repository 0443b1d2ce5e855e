"""Keys of the gateway: how they look, who stands behind one, and which header carries it.

Secrets are kept as digests only, so that a look-up takes the same time whatever the guess has in common with a key.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind

PREFIX: Final = "gw_live_"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS: Final = 30
_CHECK_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Terms:
    """What a team or one of its keys may do; None means without limit.

    `models` are globs, none meaning every model. `rpm` and `ipm` are requests and images a minute, `concurrency` the
    requests at once that wait for 302. Budgets are in micro-USD, for a day and a month of UTC; `expires` in seconds
    since 1970.
    """

    models: tuple[str, ...] = ()
    rpm: int | None = None
    ipm: int | None = None
    concurrency: int | None = None
    budget_day: int | None = None
    budget_month: int | None = None
    expires: float | None = None
    coercion: Policy | None = None
    disabled: bool = False


_UNLIMITED: Final = Terms()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key's id, its team's name, the terms of both. A static key is its own team, without terms."""

    key: str
    team: str
    key_terms: Terms = _UNLIMITED
    team_terms: Terms = _UNLIMITED


class Keyring:
    """The static keys, by digest."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._callers: Final = {_digest(secret.encode()): Caller(name, name) for name, secret in secrets.items()}

    def __len__(self) -> int:
        return len(self._callers)

    def caller(self, secret: bytes | None) -> Caller:
        """Find who holds a secret.

        Raises:
            GatewayError: `invalid_api_key`; the same words for every wrong key.
        """
        if not secret:
            message = "No API key was sent. Send it as `Authorization: Bearer YOUR_KEY` or as `api-key: YOUR_KEY`."
            raise GatewayError(Kind.INVALID_API_KEY, message)
        if (caller := self._callers.get(_digest(secret))) is None:
            raise GatewayError(Kind.INVALID_API_KEY, "Incorrect API key provided: this gateway does not know it.")
        return caller


def parse_static(text: str) -> dict[str, str]:
    """Read `name=secret,name2=secret2` (newlines part like commas) into name → secret.

    Raises:
        ValueError: saying which entry is wrong, without its secret.
    """
    secrets: dict[str, str] = {}
    for number, entry in enumerate(filter(None, (part.strip() for part in text.replace("\n", ",").split(","))), 1):
        name, equals, secret = (part.strip() for part in entry.partition("="))
        if not (name and equals and secret):
            message = f"entry {number} is not name=secret"
            raise ValueError(message)
        if name in secrets or secret in secrets.values():
            message = f"entry {number} ({name!r}) repeats a name or a secret"
            raise ValueError(message)
        secrets[name] = secret
    return secrets


def credentials(authorization: bytes | None, api_key: bytes | None) -> bytes | None:
    """The secret a request carries: a bearer's, else Azure's `api-key`.

    The scheme may be in any case, and a key may have spaces inside.
    """
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return api_key.strip() if api_key else None


def mint(randomness: int) -> str:
    """Make a key out of at least 192 random bits: `gw_live_`, 30 base62 digits, 6 base62 digits of CRC32 over both."""
    body = PREFIX + _base62(randomness, _SECRET_DIGITS)
    return body + _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, rest = divmod(number, 62)
        text = _ALPHABET[rest] + text
    return text


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
