"""Calls that may have been paid for and have no picture are found by what they were to draw, however old they are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make their index, which is empty but for them."""
    which = sa.text("finished IS NOT NULL AND state != 'succeeded' AND (actual IS NULL OR actual > 0)")
    op.create_index("generations_lost", "generations", ["fingerprint"], sqlite_where=which, postgresql_where=which)
