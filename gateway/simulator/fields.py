"""Reading one field of a payload: its type and its form, or a refusal.

PURE. Nothing here knows a model or a geometry; `rules` asks for fields and decides what they mean.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.simulator.wire import Code

Payload = Mapping[str, object]

_DATA_URI: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_BLANK: Final = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that 302 would not take: the HTTP status, its `err_code`, and what exactly was wrong."""

    status: int
    code: Code
    detail: str = ""


class RefusedError(Exception):
    """Carries a refusal out of the depth in which it was found; it never leaves `rules.check`."""

    def __init__(self, detail: str, status: int = 400, code: Code = Code.INVALID_REQUEST) -> None:
        super().__init__(detail)
        self.refusal = Refusal(status, code, detail)


def whole(payload: Payload, name: str) -> int | None:
    """A whole number, or None when the field is absent; null is not absent."""
    if name not in payload:
        return None
    value = payload[name]
    if isinstance(value, int) and not isinstance(value, bool):  # true is an int to Python, and none to 302
        return value
    raise RefusedError(f"{name} must be a whole number")


def text(payload: Payload, name: str) -> str | None:
    """A string with something in it, or None when the field is absent."""
    if name not in payload:
        return None
    value = payload[name]
    if isinstance(value, str) and value.strip():
        return value
    raise RefusedError(f"{name} must be a string that is not empty")


def picture(payload: Payload, name: str) -> bool:
    """Whether a source picture is there, in one of the three forms that 302 takes."""
    value = text(payload, name)
    if value is None:
        return False
    opening = _DATA_URI.match(value)
    if _is_url(value) or _is_base64(value[opening.end() :] if opening else value):
        return True
    raise RefusedError(f"{name} must be an http(s) URL, a data:image/...;base64 URI or base64")


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not _BLANK.search(value)


def _is_base64(value: str) -> bool:
    try:
        return bool(b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return False
