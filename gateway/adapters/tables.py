"""The tables of the durable store: who may draw, what was drawn, and what it cost.

Times are seconds since 1970, money is whole micro-USD. What changes here needs a migration in `migrations/`.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
    or_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

METADATA: Final = MetaData()


def _terms() -> list[Column[Any]]:
    """`gateway.core.keys.Terms`, column by column; `models` are globs, parted by line breaks."""
    return [
        Column("models", Text, nullable=False, default=""),
        Column("rpm", Integer),
        Column("ipm", Integer),
        Column("concurrency", Integer),
        Column("budget_day", BigInteger),
        Column("budget_month", BigInteger),
        Column("expires", Double),
        Column("coercion", Text),
        Column("disabled", Boolean, nullable=False, default=False),
    ]


# `source` is `admin` or `file`; `revision` grows with every change, so that workers read only what is new.
TEAMS: Final = Table(
    "teams",
    METADATA,
    Column("name", Text, primary_key=True),
    *_terms(),
    Column("source", Text, nullable=False, default="admin"),
    Column("created", Double, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)

# Digests are HMACs of the secrets. After a rotation the old secret is good until `old_until`.
KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("team", Text, ForeignKey("teams.name"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("last_four", Text, nullable=False),
    Column("old_digest", LargeBinary, unique=True),
    Column("old_until", Double),
    *_terms(),
    Column("revoked", Double),
    Column("source", Text, nullable=False, default="admin"),
    Column("created", Double, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
    UniqueConstraint("team", "name"),
)

# One row: the newest revision of teams and keys.
REVISION: Final = Table(
    "revision",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("newest", BigInteger, nullable=False),
)

# `owner` is `team:<name>` or `key:<id>`; `period` a day or a month of UTC, `2026-11-22` or `2026-11`.
BUDGETS: Final = Table(
    "budgets",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("spent", BigInteger, nullable=False, default=0),
    Column("held", BigInteger, nullable=False, default=0),
)

# The gateway's processes. One whose lease is over is dead, and what it had in flight is anybody's.
WORKERS: Final = Table(
    "workers",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("lease_until", Double, nullable=False),
)

# The ledger: one row a generation. `flight` is by what others find it to join, `attempt` by what the same request
# finds it when it comes again; `finished` is empty while it is in flight; `billed` says that `actual` is 302's own.
GENERATIONS: Final = Table(
    "generations",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("flight", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("attempt", Text),
    Column("key", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("upstream_key", Text),
    Column("task_id", Text),
    Column("request_id", Text),
    Column("ttl", Integer, nullable=False),
    Column("day", Text, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("actual", BigInteger),
    Column("billed", Boolean, nullable=False, default=False),
    Column("created", Double, nullable=False),
    Column("sent", Double),
    Column("finished", Double),
    Column("url", Text),
    Column("error_code", Text),
    Column("error_message", Text),
)
_IN_FLIGHT: Final = GENERATIONS.c.finished.is_(None)
Index(
    "generations_one_flight",
    GENERATIONS.c.flight,
    unique=True,
    sqlite_where=_IN_FLIGHT,
    postgresql_where=_IN_FLIGHT,
)
Index("generations_fingerprint", GENERATIONS.c.fingerprint, GENERATIONS.c.created)
Index("generations_created", GENERATIONS.c.created)
Index(
    "generations_attempt",
    GENERATIONS.c.attempt,
    sqlite_where=GENERATIONS.c.attempt.is_not(None),
    postgresql_where=GENERATIONS.c.attempt.is_not(None),
)
Index(
    "generations_unknown",
    GENERATIONS.c.state,
    sqlite_where=GENERATIONS.c.state == "unknown",
    postgresql_where=GENERATIONS.c.state == "unknown",
)

IS_LOST: Final = and_(
    GENERATIONS.c.finished.is_not(None),
    GENERATIONS.c.state != literal_column("'succeeded'"),
    or_(GENERATIONS.c.actual.is_(None), GENERATIONS.c.actual > literal_column("0")),
)
"""Whether a call may have been paid for, and is over without a picture: in the very words of its index."""
Index("generations_lost", GENERATIONS.c.fingerprint, sqlite_where=IS_LOST, postgresql_where=IS_LOST)

# What was used, by day of UTC × team × key × model. `cost` is what was paid, `saved` what cache and joining spared.
USAGE: Final = Table(
    "usage",
    METADATA,
    Column("day", Text, primary_key=True),
    Column("team", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False, default=0)
        for name in ("requests", "images", "cached", "joined", "failed", "cost", "saved")
    ),
)

# Who changed what, when; `before` and `after` are JSON without secrets.
AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
)

# What an Idempotency-Key was first sent with: `digest` is of the request, `answer` JSON once there is one.
IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("answer", Text),
    Column("created", Double, nullable=False, index=True),
)

# Requests that clients come back for. `request` is what was asked, until there is an `answer`, which is JSON. `tries`
# counts the calls of the webhook; `told` is empty while anything is left to do.
JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("answer", Text),
    Column("webhook", Text),
    Column("tries", Integer, nullable=False, default=0),
    Column("told", Double),
    Column("created", Double, nullable=False, index=True),
    Column("finished", Double),
)
Index("jobs_open", JOBS.c.owner, sqlite_where=JOBS.c.told.is_(None), postgresql_where=JOBS.c.told.is_(None))


class now(FunctionElement[float]):  # noqa: N801 - an SQL function is written in lower case
    """The database's own clock: leases are told by one clock, whatever the workers' say."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401 - as SQLAlchemy calls it
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401 - as above
    return "extract(epoch from clock_timestamp())::double precision"
