"""What 302 answered, read: the picture's address, or the error it means for the caller.

302's texts never pass through here to a caller: they may echo keys and prompts. Only its numeric `err_code` is named.
Sources: 302's help centre (statuses), its apps' error tables (`err_code`), its SDK's response types (`data`).
"""

import re
from typing import Any, Final

import msgspec
import orjson

from gateway.core.errors import GatewayError, Kind, Said
from gateway.core.picture import is_http_url

MAX_RETRY_AFTER: Final = 60.0

_BY_ERR_CODE: Final = {
    -10001: Kind.UPSTREAM_CREDENTIALS,  # key missing
    -10002: Kind.UPSTREAM_CREDENTIALS,  # key disabled or deleted
    -10003: Kind.UPSTREAM_UNKNOWN,  # "network error": on whose side, it does not say
    -10004: Kind.UPSTREAM_BALANCE,  # balance insufficient
    -10005: Kind.UPSTREAM_CREDENTIALS,  # credential expired
    -10006: Kind.UPSTREAM_BALANCE,  # key's total quota
    -10007: Kind.UPSTREAM_BALANCE,  # key's daily quota
    -10008: Kind.UPSTREAM_MODEL_UNAVAILABLE,  # no channel; also said of a model that does not exist
    -10009: Kind.UPSTREAM_INVALID_REQUEST,  # function not supported
    -10010: Kind.UPSTREAM_INVALID_REQUEST,  # resource not found
    -10011: Kind.UPSTREAM_INVALID_REQUEST,  # invalid request
    -10012: Kind.UPSTREAM_BALANCE,  # hourly quota
    -10013: Kind.UPSTREAM_CREDENTIALS,  # model disabled for the key
    -10014: Kind.UPSTREAM_CREDENTIALS,  # address disabled
    -10015: Kind.UPSTREAM_INVALID_REQUEST,  # picture's size
    -10016: Kind.UPSTREAM_INVALID_REQUEST,  # file could not be fetched
    -10017: Kind.UPSTREAM_INVALID_REQUEST,  # file larger than 50 MB
    -10018: Kind.UPSTREAM_BALANCE,  # key's monthly quota
    -1024: Kind.UPSTREAM_TIMEOUT,  # 302 timed out on the vendor
    -10504: Kind.UPSTREAM_TIMEOUT,  # generation timed out
}
_BY_WORD: Final = {
    "InvalidParameter": Kind.UPSTREAM_INVALID_REQUEST,
    "MissingParameter": Kind.UPSTREAM_INVALID_REQUEST,
    "Unauthorized": Kind.UPSTREAM_CREDENTIALS,
    "RateLimitExceeded": Kind.UPSTREAM_RATE_LIMITED,
    "InsufficientBalance": Kind.UPSTREAM_BALANCE,
}
_BY_STATUS: Final = {
    400: Kind.UPSTREAM_INVALID_REQUEST,
    401: Kind.UPSTREAM_CREDENTIALS,
    402: Kind.UPSTREAM_BALANCE,
    403: Kind.UPSTREAM_CREDENTIALS,
    404: Kind.UPSTREAM_INVALID_REQUEST,
    405: Kind.UPSTREAM_INVALID_REQUEST,
    413: Kind.UPSTREAM_INVALID_REQUEST,
    415: Kind.UPSTREAM_INVALID_REQUEST,
    422: Kind.UPSTREAM_INVALID_REQUEST,
    429: Kind.UPSTREAM_RATE_LIMITED,
    504: Kind.UPSTREAM_TIMEOUT,
}
_MAY_BE_BILLED: Final = "the picture may have been billed, so do not send it again at once."
_MESSAGES: Final = {
    Kind.UPSTREAM_CREDENTIALS: "302.AI does not accept the gateway's key; whoever runs the gateway must look.",
    Kind.UPSTREAM_BALANCE: "The gateway's account at 302.AI has used up its balance or quota.",
    Kind.UPSTREAM_UNKNOWN: f"302.AI failed after the request was sent; {_MAY_BE_BILLED}",
    Kind.UPSTREAM_TIMEOUT: f"302.AI did not finish in time; {_MAY_BE_BILLED}",
    Kind.UPSTREAM_MODEL_UNAVAILABLE: "302.AI has no capacity for this model at the moment; nothing was billed.",
    Kind.UPSTREAM_INVALID_REQUEST: "302.AI refused the parameters of this request.",
    Kind.UPSTREAM_RATE_LIMITED: "302.AI is busy and asks to slow down.",
    Kind.CONTENT_POLICY: "The vendor's moderation refused this prompt or picture.",
}
_MODERATED = re.compile(
    r"moderat|nsfw|safety|content[ _-]?polic|sensitive|prohibited|inappropriate|risk not pass|敏感|违规|审核|不合规",
    re.IGNORECASE,
)
_FINE: Final = (0, 200, 10000, "0", "200", "10000")  # 10000 is Doubao's
_SUCCESS: Final = 2
_CAN_BE_MODERATION: Final = frozenset({Kind.UPSTREAM_INVALID_REQUEST, Kind.UPSTREAM_UNKNOWN})


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer of 302, unread: `retry_after` and `request_id` are its headers of these names."""

    status: int
    body: bytes
    retry_after: str | None = None
    request_id: str = ""


def read_answer(reply: Reply, *, known_model: bool = True) -> str:
    """Find the picture's URL in an answer of `POST /302/image/generate`.

    `known_model` is False for an id that no catalogue row knows: 302's "no channel" then means that it does not exist.

    Raises:
        GatewayError: of the kind the answer means; `err_code` decides before the status.
    """
    data = as_object(reply.body)
    error = error_in(reply, data, known_model=known_model)
    if error is not None:
        raise error
    url = picture_url(data)
    if url is None:
        raise _error(Kind.UPSTREAM_UNKNOWN, reply, data)
    return url


def error_in(reply: Reply, data: dict[str, Any], *, known_model: bool = True) -> GatewayError | None:
    """What an answer, whose body is `data`, says went wrong; None where it says nothing of the kind."""
    failure = _failure(reply.status, data)
    if failure is None:
        return None
    if failure is Kind.UPSTREAM_MODEL_UNAVAILABLE and not known_model:
        return GatewayError(Kind.MODEL_NOT_FOUND, "302.AI knows no such model.", param="model")
    return _error(failure, reply, data)


def _error(failure: Kind, reply: Reply, data: dict[str, Any]) -> GatewayError:
    if failure in _CAN_BE_MODERATION and _is_moderation(data):
        failure = Kind.CONTENT_POLICY
    code, wait = _err_code(data), seconds(reply.retry_after)
    message = _MESSAGES[failure] if code is None else f"{_MESSAGES[failure]} (302.AI's err_code {code})"
    error = GatewayError(failure, message, retry_after=wait if failure is Kind.UPSTREAM_RATE_LIMITED else None)
    error.upstream_request_id = reply.request_id
    error.said = Said(reply.status, code, wait)
    if failure is Kind.CONTENT_POLICY and reply.status // 100 == _SUCCESS and code is None:
        error.may_be_billed = True
    return error


def picture_url(data: dict[str, Any]) -> str | None:
    """The first usable address, in the order of trust: 302's own fields, then the vendor's answer under `data`."""
    first = data.get("image_url")
    if isinstance(first, str) and is_http_url(first):  # where V1 has it, so that the list of all others is seldom made
        return first
    inner = data.get("data")
    vendor = inner if isinstance(inner, dict) else {}
    candidates = [first, data.get("image_urls"), vendor.get("image_url"), vendor.get("image_urls")]
    candidates += [vendor.get("output"), vendor.get("images"), vendor.get("data"), vendor.get("result")]
    for candidate in candidates:
        for url in _urls(candidate):
            if is_http_url(url):
                return url
    return None


def _urls(value: object) -> list[str]:
    """Every string in the shapes vendors use: "url", '["url"]', ["url"], [{"url": …}], {"image_urls": […]}."""
    match value:
        case str() if value.startswith("["):
            return _urls(_loads(value.encode()))
        case str():
            return [value]
        case list():
            return [url for item in value for url in (_urls(item) if not isinstance(item, list) else [])]
        case {"url": str(url)}:
            return [url]
        case {"sample": str(url)}:
            return [url]
        case {"image_urls": list(urls)}:
            return [url for url in urls if isinstance(url, str)]
        case _:
            return []


def _failure(status: int, data: dict[str, Any]) -> Kind | None:
    """What the answer says went wrong; None where it says nothing of the kind."""
    if (code := _err_code(data)) in _BY_ERR_CODE:
        return _BY_ERR_CODE[code]
    word = data.get("code")
    if isinstance(word, str) and word in _BY_WORD:
        return _BY_WORD[word]
    if status // 100 != _SUCCESS:
        return _BY_STATUS.get(status, Kind.UPSTREAM_UNKNOWN)
    if data.get("error") or _failed(data) or _vendor_failed(data.get("data")):
        return Kind.UPSTREAM_UNKNOWN
    return None


def _failed(data: dict[str, Any]) -> bool:
    return data.get("status") in ("failed", "error")


def _vendor_failed(data: object) -> bool:
    """A vendor's own failure inside a 200, as 302's SDK meets it: task, Doubao, MiniMax, fal, Ideogram."""
    if not isinstance(data, dict):
        return False
    base = data.get("base_resp")
    return bool(
        _failed(data)
        or data.get("error")
        or (data.get("code") is not None and data["code"] not in _FINE)
        or (isinstance(data.get("status"), int) and data["status"] not in _FINE)
        or (isinstance(base, dict) and base.get("status_code") not in (0, "0", None))
        or _flagged(data)
    )


def _flagged(data: dict[str, Any]) -> bool:
    """Fal and Ideogram mark a picture as unsafe beside it."""
    concepts = data.get("has_nsfw_concepts")
    pictures = data.get("data")
    return (isinstance(concepts, list) and True in concepts) or (
        isinstance(pictures, list)
        and any(isinstance(item, dict) and item.get("is_image_safe") is False for item in pictures)
    )


def _is_moderation(data: dict[str, Any]) -> bool:
    inner = data.get("data")
    vendor = inner if isinstance(inner, dict) else {}
    base = vendor.get("base_resp")
    base = base if isinstance(base, dict) else {}
    texts: list[object] = []
    for error in (data.get("error"), vendor.get("error")):
        texts += [error.get(key) for key in ("message", "detail", "error")] if isinstance(error, dict) else [error]
    texts += [data.get(key) for key in ("message", "msg", "detail", "err")]
    texts += [vendor.get(key) for key in ("message", "msg", "details")] + [base.get("status_msg")]
    return _flagged(vendor) or any(isinstance(text, str) and _MODERATED.search(text) for text in texts)


def _err_code(data: dict[str, Any]) -> int | None:
    inner = data.get("data")
    nested = inner.get("error") if isinstance(inner, dict) else None
    for holder in (data.get("error"), data, nested):
        code = holder.get("err_code") if isinstance(holder, dict) else None
        if isinstance(code, str) and re.fullmatch(r"-?[0-9]{1,6}", code):
            return int(code)
        if type(code) is int:
            return code
    return None


def as_object(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for whatever else a body is."""
    data = _loads(body)
    return data if isinstance(data, dict) else {}


def _loads(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def seconds(retry_after: str | None) -> float | None:
    """A `retry-after` in seconds, between 1 and a minute; None where it is none."""
    if retry_after is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", retry_after.strip()):
        return None
    return min(max(float(retry_after), 1.0), MAX_RETRY_AFTER)
