"""The source picture a caller hands in: told apart, checked, and brought into the form that goes upstream.

A URL is handed on unread; bytes are recognised by their signature, never by a name or a declared type. Nothing is
decoded as an image here.
"""

import binascii
import re

import pybase64

from gateway.core.errors import GatewayError, Kind

MAX_URL = 8192
_URL = re.compile(r"https?://[^\s/?#@\\]+[^\s\\]*", re.ASCII | re.IGNORECASE)
_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def media_type(data: bytes) -> str | None:
    """Recognise PNG, JPEG, WebP and GIF by their first bytes; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return None


def is_http_url(text: str) -> bool:
    """Whether a text is an absolute http(s) URL that can be handed on.

    That is: a host, no spaces, no credentials, and not too long.
    """
    return len(text) <= MAX_URL and text.isprintable() and _URL.fullmatch(text) is not None


def source_picture(param: str, text: str) -> str:
    """Read a picture as a URL, a data URI or bare base64; bytes come back as a data URI of their true type.

    Raises:
        GatewayError: `invalid_image`, naming `param`.
    """
    text = text.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        if not is_http_url(text):
            raise _invalid(
                param, f"a URL must have a host, no spaces and no credentials, and at most {MAX_URL} characters"
            )
        return text
    if text[:5].lower() == "data:":
        # Only the head is matched: the pattern must not walk through megabytes of base64.
        head = _DATA_URI.match(text[:200])
        if head is None:
            raise _invalid(param, "a data URI must be base64: data:image/png;base64,…")
        text = text[head.end() :]
    elif _SCHEME.match(text[:30]):
        raise _invalid(param, "only http and https URLs, data URIs and base64 are understood")
    if any(space in text for space in " \n\r\t"):
        text = "".join(text.split())
    return f"data:{_media_type_of(param, text)};base64,{text}"


def _media_type_of(param: str, text: str) -> str:
    try:
        kind = media_type(pybase64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise _invalid(param, "it is neither a URL nor a data URI nor valid base64") from exc
    if kind is None:
        raise _invalid(param, "the bytes are no PNG, JPEG, WebP or GIF")
    return kind


def _invalid(param: str, why: str) -> GatewayError:
    return GatewayError(Kind.INVALID_IMAGE, f"{param} cannot be used: {why}.", param=param)
