"""The one family of errors a caller can meet.

A kind states the HTTP status, OpenAI's `type` and `code`, and whether the caller may try again; the last goes out as
`x-should-retry`, which OpenAI's SDKs obey before the status. How an error becomes bytes is `gateway.web.render`'s
business.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from gateway.core.standing import Standing

INVALID_REQUEST: Final = "invalid_request_error"
SERVER: Final = "server_error"


@dataclass(frozen=True, slots=True)
class KindRow:
    """What a kind of error is on the wire.

    `retry_after` is in seconds, the wait advised when the error itself knows no better. `outcome_unknown` marks the
    calls that may have been billed although no picture came: they are remembered for a while, so that a client which
    retries whatever we say does not pay again.
    """

    status: int
    type: str
    code: str
    retry: bool = False
    retry_after: float | None = None
    outcome_unknown: bool = False


class Kind(Enum):
    """Every kind of error, closed: its `code` is also a metric label."""

    INVALID_API_KEY = KindRow(401, INVALID_REQUEST, "invalid_api_key")
    KEY_EXPIRED = KindRow(401, INVALID_REQUEST, "key_expired")
    KEY_DISABLED = KindRow(401, INVALID_REQUEST, "key_disabled")
    MODEL_NOT_ALLOWED = KindRow(403, INVALID_REQUEST, "model_not_allowed")
    RATE_LIMIT_EXCEEDED = KindRow(429, "requests", "rate_limit_exceeded", retry=True)
    INSUFFICIENT_QUOTA = KindRow(429, "insufficient_quota", "insufficient_quota")
    IDEMPOTENCY_KEY_REUSED = KindRow(422, INVALID_REQUEST, "idempotency_key_reused")
    INVALID_JSON = KindRow(400, INVALID_REQUEST, "invalid_json")
    MISSING_PARAMETER = KindRow(400, INVALID_REQUEST, "missing_parameter")
    INVALID_VALUE = KindRow(400, INVALID_REQUEST, "invalid_value")
    IMAGE_REQUIRED = KindRow(400, INVALID_REQUEST, "image_required")
    INVALID_IMAGE = KindRow(400, INVALID_REQUEST, "invalid_image")
    INVALID_HEADERS = KindRow(400, INVALID_REQUEST, "invalid_headers")
    REQUEST_TIMEOUT = KindRow(408, INVALID_REQUEST, "request_timeout", retry=True)
    CLIENT_CLOSED_REQUEST = KindRow(499, INVALID_REQUEST, "client_closed_request", retry=True)
    NOT_FOUND = KindRow(404, INVALID_REQUEST, "not_found")
    CONFLICT = KindRow(409, INVALID_REQUEST, "conflict")
    MODEL_NOT_FOUND = KindRow(404, INVALID_REQUEST, "model_not_found")
    UNKNOWN_URL = KindRow(404, INVALID_REQUEST, "unknown_url")
    METHOD_NOT_ALLOWED = KindRow(405, INVALID_REQUEST, "method_not_allowed")
    REQUEST_TOO_LARGE = KindRow(413, INVALID_REQUEST, "request_too_large")
    UNSUPPORTED_MEDIA_TYPE = KindRow(415, INVALID_REQUEST, "unsupported_media_type")
    CONTENT_POLICY = KindRow(400, "image_generation_user_error", "content_policy_violation")
    UPSTREAM_INVALID_REQUEST = KindRow(400, INVALID_REQUEST, "upstream_invalid_request")
    UPSTREAM_MODEL_UNAVAILABLE = KindRow(503, SERVER, "upstream_model_unavailable", retry=True, retry_after=10)
    UPSTREAM_CREDENTIALS = KindRow(503, SERVER, "upstream_credentials")
    UPSTREAM_BALANCE = KindRow(503, SERVER, "upstream_balance")
    UPSTREAM_RATE_LIMITED = KindRow(429, "requests", "upstream_rate_limited", retry=True, retry_after=10)
    UPSTREAM_UNREACHABLE = KindRow(502, SERVER, "upstream_unreachable", retry=True, retry_after=5)
    UPSTREAM_UNKNOWN = KindRow(502, SERVER, "upstream_unknown", outcome_unknown=True)
    UPSTREAM_TIMEOUT = KindRow(504, SERVER, "upstream_timeout", outcome_unknown=True)
    STILL_RUNNING = KindRow(504, SERVER, "still_running", retry=True, retry_after=5)
    IMAGE_UNAVAILABLE = KindRow(502, SERVER, "image_unavailable", retry=True, retry_after=10)
    DRAINING = KindRow(503, SERVER, "draining", retry=True, retry_after=1)
    OVERLOADED = KindRow(503, SERVER, "overloaded", retry=True, retry_after=1)
    STORE_UNAVAILABLE = KindRow(503, SERVER, "store_unavailable", retry=True, retry_after=2)
    INTERNAL_ERROR = KindRow(500, SERVER, "internal_error")

    @property
    def row(self) -> KindRow:
        """The kind's row, typed."""
        return self.value


KIND_OF_CODE: Final = {kind.row.code: kind for kind in Kind}


class Said(NamedTuple):
    """What 302 itself said of a failure: HTTP status, `err_code`, and how many seconds to wait, where it said so."""

    status: int
    code: int | None = None
    retry_after: float | None = None


class GatewayError(Exception):
    """What went wrong, in words for the caller: what was bad and what would be right.

    `param` names the field of the request that is at fault. `retry_after` is in seconds and replaces the kind's own.
    `standings` is where the caller stands with its limits, as far as these were asked.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        standings: tuple[Standing, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.retry_after = kind.row.retry_after if retry_after is None else retry_after
        self.standings = standings
        self.replayed = False
        """Whether an earlier request with the same Idempotency-Key was told this."""
        self.upstream_request_id = ""
        """302's id of the call that failed, for the log; never told to callers."""
        self.upstream_key = ""
        """The public id of the 302 key that was asked last, for the log; never told to callers."""
        self.said: Said | None = None
        """302's own words in numbers, where 302 answered at all."""
        self.may_be_billed: bool | None = None
        """Where more is known than the kind says: False for a task that 302 itself calls failed, True for a picture
        that was made and then withheld."""

    @property
    def outcome_unknown(self) -> bool:
        """Whether the call may have been billed although no picture came; otherwise it surely was not."""
        return self.kind.row.outcome_unknown if self.may_be_billed is None else self.may_be_billed

    @property
    def body(self) -> dict[str, str | None]:
        """OpenAI's error object."""
        row = self.kind.row
        return {"message": self.message, "type": row.type, "param": self.param, "code": row.code}

    def copy(self) -> "GatewayError":
        """An equal error without a traceback: one failure is told to several waiters, each raises its own."""
        twin = GatewayError(
            self.kind, self.message, param=self.param, retry_after=self.retry_after, standings=self.standings
        )
        twin.may_be_billed = self.may_be_billed
        return twin


def invalid_value(param: str, message: str) -> GatewayError:
    """A refused value; `message` says what would be right."""
    return GatewayError(Kind.INVALID_VALUE, message, param=param)


def internal_error() -> GatewayError:
    """Our own fault; the cause goes to the log, never to the caller."""
    return GatewayError(Kind.INTERNAL_ERROR, "The gateway failed on this request; the fault is logged.")
