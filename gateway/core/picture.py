"""The source picture a caller hands in: told apart, checked, and brought into the form that goes upstream.

A URL is handed on unread; bytes are recognised by their signature, never by a name or a declared type. Nothing is
decoded as an image here.
"""

import binascii
import re

import pybase64

from gateway.core.errors import GatewayError, Kind

MAX_URL = 8192
_URL = re.compile(
    r"https?://[^\s/?#@:\\]+(:[0-9]*)?([/?#][^\s\\]*)?|https?://\[[0-9a-f:.]+\](:[0-9]*)?([/?#][^\s\\]*)?",
    re.IGNORECASE,
)
_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_JPEG_MARKER = 0xFF
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WEBP_HEAD = 30
_PNG_HEAD = 24
_GIF_HEAD = 10
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


def to_data_uri(param: str, data: bytes) -> str:
    """Wrap uploaded bytes for the wire, by their true type.

    Raises:
        GatewayError: `invalid_image`, naming `param`.
    """
    kind = media_type(data)
    if kind is None:
        raise _invalid(param, "the bytes are no PNG, JPEG, WebP or GIF")
    return f"data:{kind};base64,{pybase64.b64encode_as_string(data)}"


def size_of(data: bytes) -> tuple[int, int] | None:
    """A picture's width and height from its head; None where the head does not tell."""
    match media_type(data):
        case "image/png" if data[12:16] == b"IHDR" and len(data) >= _PNG_HEAD:
            return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        case "image/gif" if len(data) >= _GIF_HEAD:
            return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
        case "image/jpeg":
            return _jpeg_size(data)
        case "image/webp":
            return _webp_size(data)
        case _:
            return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header (SOF0 to SOF15, but for DHT, JPG and DAC)."""
    place = 2
    while place + 9 <= len(data) and data[place] == _JPEG_MARKER:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _JPEG_FRAMES:
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        place += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X" if len(data) >= _WEBP_HEAD:
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L" if len(data) >= _WEBP_HEAD:
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if len(data) >= _WEBP_HEAD:
            width, height = data[26:28], data[28:30]
            return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
        case _:
            return None


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
