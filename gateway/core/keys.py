"""Keys of the gateway: how they look, who stands behind one, and which header carries it.

Secrets are kept as digests only, so that a look-up takes the same time whatever the guess has in common with a key.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

import msgspec

from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind

PREFIX: Final = "gw_live_"
KEY_LABEL: Final = "gateway302 key"
"""What the digests of keys are derived for."""
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS: Final = 30
_CHECK_DIGITS: Final = 6
_ID_DIGITS: Final = 22
_PREFIX: Final = PREFIX.encode()
_FORM: Final = re.compile(rb"gw_live_[0-9A-Za-z]{36}")


class Terms(msgspec.Struct, frozen=True):
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


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the key's id, its team's name, the terms of both. A static key is its own team, without terms."""

    key: str
    team: str
    key_terms: Terms = _UNLIMITED
    team_terms: Terms = _UNLIMITED


class Keyring:
    """The static keys, by digest."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._named: Final = {name: Caller(name, name) for name in secrets}
        self._callers: Final = {_digest(secret.encode()): self._named[name] for name, secret in secrets.items()}

    def __len__(self) -> int:
        return len(self._callers)

    def find(self, secret: bytes) -> Caller | None:
        """Who holds a secret; None for nobody."""
        return self._callers.get(_digest(secret)) if self._callers else None

    def named(self, name: str) -> Caller | None:
        """Who has a key of this name; None for nobody."""
        return self._named.get(name)


def unknown_key(secret: bytes | None) -> GatewayError:
    """The same words for every wrong key; others where none was sent."""
    if not secret:
        message = "No API key was sent. Send it as `Authorization: Bearer YOUR_KEY` or as `api-key: YOUR_KEY`."
        return GatewayError(Kind.INVALID_API_KEY, message)
    return GatewayError(Kind.INVALID_API_KEY, "Incorrect API key provided: this gateway does not know it.")


def check_standing(caller: Caller, now: float) -> None:
    """Refuse a caller whose key or team may not ask any more; `now` in seconds since 1970.

    Raises:
        GatewayError: `key_disabled`, `key_expired`.
    """
    key, team = caller.key_terms, caller.team_terms
    if key is _UNLIMITED and team is _UNLIMITED:
        return
    if key.disabled or team.disabled:
        whose = "This API key" if key.disabled else "The team of this API key"
        raise GatewayError(Kind.KEY_DISABLED, f"{whose} is disabled. Ask the operator of this gateway for another.")
    if (key.expires is not None and key.expires <= now) or (team.expires is not None and team.expires <= now):
        raise GatewayError(Kind.KEY_EXPIRED, "This API key has expired. Ask the operator of this gateway for another.")


def may_use(caller: Caller, model: str) -> bool:
    """Whether key and team both allow a model of the catalogue, by its id."""
    key, team = caller.key_terms.models, caller.team_terms.models
    return (not key or _matches(key, model)) and (not team or _matches(team, model))


def check_model(caller: Caller, model: str) -> None:
    """Refuse a model that the key's or the team's list does not have.

    Raises:
        GatewayError: `model_not_allowed`.
    """
    if not may_use(caller, model):
        message = f"This API key may not use {model}. GET /v1/models lists the models it may use."
        raise GatewayError(Kind.MODEL_NOT_ALLOWED, message, param="model")


def policy_for(caller: Caller, default: Policy) -> Policy:
    """The coercion policy of a caller's key, else of its team, else the default."""
    return caller.key_terms.coercion or caller.team_terms.coercion or default


@lru_cache(4096)
def _matches(globs: tuple[str, ...], model: str) -> bool:
    return any(fnmatchcase(model.lower(), glob.lower()) for glob in globs)


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


def looks_minted(secret: bytes) -> bool:
    """Whether a secret has the outer form of a key that we made; cheap, for every request."""
    return len(secret) == len(PREFIX) + _SECRET_DIGITS + _CHECK_DIGITS and secret.startswith(_PREFIX)


def well_formed(secret: bytes) -> bool:
    """Whether a secret could be a key that we made: its form, and the checksum in it."""
    if not _FORM.fullmatch(secret):
        return False
    body, check = secret[:-_CHECK_DIGITS], secret[-_CHECK_DIGITS:]
    return _base62(zlib.crc32(body), _CHECK_DIGITS).encode() == check


def name_key(randomness: int) -> str:
    """A key's id out of at least 128 random bits. It is no secret."""
    return "key_" + _base62(randomness, _ID_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, rest = divmod(number, 62)
        text = _ALPHABET[rest] + text
    return text


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
