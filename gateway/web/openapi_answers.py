"""The answers of `/openapi.json`: which headers each carries, and which errors it may be."""

from collections.abc import Iterable
from typing import Any, Final

from gateway.core.errors import Kind
from gateway.core.outcome import WORDS
from gateway.web.openapi_schemas import error_of

Json = dict[str, Any]

HEADERS: Final[dict[str, Json]] = {
    name: {"description": description, "required": required, "schema": schema}
    for name, required, schema, description in (
        ("x-request-id", True, {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}, "Names the request in the log."),
        ("openai-processing-ms", True, {"type": "integer", "minimum": 0}, "From the request's head to this one."),
        ("openai-version", True, {"const": "2020-10-01"}, "The version of OpenAI's API."),
        ("x-content-type-options", True, {"const": "nosniff"}, "The content type is true."),
        ("x-should-retry", True, {"enum": ["true", "false"]}, "Whether to send the request again."),
        ("retry-after", False, {"type": "integer", "minimum": 1}, "Seconds to wait before that."),
        ("retry-after-ms", False, {"type": "integer", "minimum": 1}, "The same in milliseconds."),
        *(
            (f"x-ratelimit-{what}-{measure}", False, schema, f"Of the tightest limit on {measure}: {words}.")
            for measure in ("requests", "images")
            for what, schema, words in (
                ("limit", {"type": "integer", "minimum": 0}, "how many"),
                ("remaining", {"type": "integer", "minimum": 0}, "how many are left"),
                ("reset", {"type": "string", "pattern": "^[0-9hms.]+$"}, "when all are free again, like `20.5s`"),
            )
        ),
        ("location", True, {"type": "string", "pattern": "^/v1/images/jobs/"}, "Where to come back to."),
        ("preference-applied", False, {"const": "respond-async"}, "Of a Prefer that was heeded."),
        ("www-authenticate", True, {"const": "Bearer"}, "How to say the key."),
        ("cache-status", False, {"type": "string", "pattern": "^gateway; "}, "RFC 9211, of the least lucky picture."),
        ("x-gateway-cache", False, {"enum": list(WORDS)}, "The same in a word."),
        (
            "x-gateway-adjusted",
            False,
            {"type": "string"},
            "What had to change, as `size=1792x1024->aspect_ratio=16:9`.",
        ),
        ("x-accel-buffering", False, {"const": "no"}, "Of event streams: proxies are not to hold them back."),
        ("accept-ranges", True, {"const": "bytes"}, "Parts may be asked for."),
        ("access-control-allow-origin", True, {"const": "*"}, "Any page may show the picture."),
        ("content-security-policy", True, {"type": "string"}, "The picture is nothing but a picture."),
        ("content-disposition", True, {"const": "inline"}, "To be shown."),
        ("content-range", True, {"type": "string", "pattern": "^bytes "}, "Which part this is, and of how many bytes."),
        ("cache-control", False, {"type": "string"}, "Kept pictures never change; event streams are not to be cached."),
        ("etag", True, {"type": "string"}, "For if-none-match and if-range."),
        ("last-modified", True, {"type": "string"}, "When the picture was kept."),
    )
}
OF_LIMITS: Final = tuple(name for name in HEADERS if name.startswith("x-ratelimit-"))
_ALWAYS: Final = ("x-request-id", "openai-processing-ms", "openai-version", "x-content-type-options")
OF_PICTURES: Final = (
    "cache-status",
    "x-gateway-cache",
    "x-gateway-adjusted",
    "cache-control",
    "x-accel-buffering",
    *OF_LIMITS,
)
OF_MEDIA: Final = ("accept-ranges", "access-control-allow-origin", "content-security-policy")
OF_KEPT: Final = ("cache-control", "etag", "last-modified")


def answer(description: str, content: dict[str, Json], headers: Iterable[str] = ()) -> Json:
    """An answer with the headers that all have and those named; `content` is a schema by media type."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *headers)}
    bodies = {kind: {"schema": schema} if schema else {} for kind, schema in content.items()}
    return {"description": description, "headers": named} | ({"content": bodies} if bodies else {})


def errors(kinds: Iterable[Kind], headers: Iterable[str] = ()) -> Json:
    """Answers by status, each with the codes it may have, and the headers named beside those of all errors."""
    by_status: dict[int, list[Kind]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.row.code):
        by_status.setdefault(kind.row.status, []).append(kind)
    return {
        str(status): answer(
            ", ".join(f"`{kind.row.code}`" for kind in some),
            {"application/json": error_of(some)},
            [*retry_headers(some), *headers],
        )
        for status, some in by_status.items()
    }


def retry_headers(kinds: Iterable[Kind]) -> list[str]:
    """The headers that tell what to do about errors of these kinds."""
    some = list(kinds)
    bad_key = any(kind.row.status == Kind.INVALID_API_KEY.row.status for kind in some)
    waits = ["retry-after", "retry-after-ms"] if any(kind.row.retry for kind in some) else []
    limits = OF_LIMITS if Kind.RATE_LIMIT_EXCEEDED in some or Kind.INVALID_VALUE in some else ()
    return ["x-should-retry", *waits, *limits, *(["www-authenticate"] if bad_key else [])]
