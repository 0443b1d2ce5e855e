"""How the simulator behaves: its latency, its failures, its keys and its money.

Values only. How a failure looks on the wire is `faults`' business.
"""

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Every way in which 302.AI, or the network in front of it, fails a call that was well formed."""

    BAD_REQUEST = "bad-request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    BALANCE = "balance"
    QUOTA = "quota"
    DAILY_QUOTA = "daily-quota"
    MONTHLY_QUOTA = "monthly-quota"
    KEY_EXPIRED = "key-expired"
    RATE_LIMITED = "rate-limited"
    NO_CHANNEL = "no-channel"
    NETWORK = "network"
    AI_TIMEOUT = "ai-timeout"
    GENERATION_TIMEOUT = "generation-timeout"
    SERVER_ERROR = "server-error"
    BAD_GATEWAY_HTML = "bad-gateway-html"
    OK_HTML = "ok-html"
    TRUNCATED = "truncated"
    NO_PICTURE = "no-picture"
    EMPTY_URL = "empty-url"
    TASK_FAILED = "task-failed"
    ERROR_IN_200 = "error-in-200"
    DOUBAO_CODE = "doubao-code"
    NSFW = "nsfw"
    RESET = "reset"
    RESET_MID_BODY = "reset-mid-body"
    HANG = "hang"
    ECHO_KEY = "echo-key"

    @property
    def billed(self) -> bool:
        """Whether the picture was made and charged, and only its answer was lost on the way."""
        return self in (Failure.TRUNCATED, Failure.RESET_MID_BODY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one simulator does.

    A generation takes `delay` seconds, give or take `jitter`. Of all well-formed calls the share `failure_rate` fails,
    each in one of `failures`, drawn by lot. Any key that begins with `sk-` is good, unless `keys` lists the only good
    ones. `balance` is in USD. The same `seed` gives the same lots, so the same latencies, failures and picture ids.
    `public_origin` (`https://host`) begins the URLs of pictures; without it the host that the caller asked does.
    """

    delay: float = 0.0
    jitter: float = 0.0
    failures: tuple[Failure, ...] = ()
    failure_rate: float = 0.0
    keys: frozenset[str] = frozenset()
    balance: float = 1_000_000.0
    seed: int | None = None
    public_origin: str | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, when it is said and not when it is first used."""
        if min(self.delay, self.jitter) < 0:
            message = "delay and jitter are in seconds, 0 or more"
            raise ValueError(message)
        if not 0 <= self.failure_rate <= 1:
            message = "failure_rate is a share, from 0 to 1"
            raise ValueError(message)
        if self.failure_rate and not self.failures:
            message = "failure_rate needs failures: name at least one"
            raise ValueError(message)
