"""The first: teams and keys, the ledger and its budgets, usage, audit, idempotency, jobs."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    _teams()
    _money()
    _generations()
    _records()
    _requests()


def _terms() -> list[sa.Column[Any]]:
    return [
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("rpm", sa.Integer),
        sa.Column("ipm", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("budget_day", sa.BigInteger),
        sa.Column("budget_month", sa.BigInteger),
        sa.Column("expires", sa.Double),
        sa.Column("coercion", sa.Text),
        sa.Column("disabled", sa.Boolean, nullable=False),
    ]


def _teams() -> None:
    op.create_table(
        "teams",
        sa.Column("name", sa.Text, primary_key=True),
        *_terms(),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_teams_revision", "teams", ["revision"])
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("team", sa.Text, sa.ForeignKey("teams.name"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("last_four", sa.Text, nullable=False),
        sa.Column("old_digest", sa.LargeBinary, unique=True),
        sa.Column("old_until", sa.Double),
        *_terms(),
        sa.Column("revoked", sa.Double),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("team", "name"),
    )
    op.create_index("ix_keys_team", "keys", ["team"])
    op.create_index("ix_keys_revision", "keys", ["revision"])
    newest = op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("newest", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(newest, [{"id": 1, "newest": 0}])


def _money() -> None:
    op.create_table(
        "budgets",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("lease_until", sa.Double, nullable=False),
    )


def _generations() -> None:
    op.create_table(
        "generations",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("flight", "fingerprint")),
        sa.Column("attempt", sa.Text),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("key", "team", "model", "state")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("upstream_key", "task_id", "request_id")),
        sa.Column("ttl", sa.Integer, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("actual", sa.BigInteger),
        sa.Column("billed", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        *(sa.Column(name, sa.Double) for name in ("sent", "finished")),
        *(sa.Column(name, sa.Text) for name in ("url", "error_code", "error_message")),
    )
    _partial_index("generations_one_flight", ["flight"], "finished IS NULL", unique=True)
    op.create_index("generations_fingerprint", "generations", ["fingerprint", "created"])
    op.create_index("generations_created", "generations", ["created"])
    _partial_index("generations_attempt", ["attempt"], "attempt IS NOT NULL")
    _partial_index("generations_unknown", ["state"], "state = 'unknown'")


def _partial_index(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    which = sa.text(where)
    op.create_index(name, "generations", columns, unique=unique, sqlite_where=which, postgresql_where=which)


def _records() -> None:
    op.create_table(
        "usage",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("day", "team", "key", "model")),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("requests", "images", "cached", "joined", "failed", "cost", "saved")
        ),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("actor", "action", "target")),
        *(sa.Column(name, sa.Text) for name in ("before", "after")),
    )


def _requests() -> None:
    op.create_table(
        "idempotency",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("key", "name")),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("key", "state")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("answer", "webhook")),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("told", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
    )
    op.create_index("ix_jobs_created", "jobs", ["created"])
    open_ = sa.text("told IS NULL")
    op.create_index("jobs_open", "jobs", ["owner"], sqlite_where=open_, postgresql_where=open_)
