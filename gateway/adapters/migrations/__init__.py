"""The schema of the durable store, step by step and forward only.

Each file in `versions/` is a step. Steps are written out in full and never changed, so that what
`gateway.adapters.tables` becomes later does not alter what an old database once got. Gateways that start together take
turns.
"""

import os
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from gateway.adapters.database import SILENCE
from gateway.adapters.engines import is_away, open_engine, sqlite_file
from gateway.adapters.sockets import watched
from gateway.ports import DatabaseUnavailableError

HEAD: Final = "0002"
"""The newest step."""
VERSION_TABLE: Final = "gateway_schema"
# A step may have much to do, and another gateway be before us.
_PATIENCE_MS: Final = 60_000
# For how many seconds nothing may be heard of a connection that is opened, and of a statement, which a server that is
# well ends by itself.
_OPENED_WITHIN: Final = SILENCE
_ANSWERED_WITHIN: Final = _PATIENCE_MS / 1000 + SILENCE
_NO_DATABASE: Final = "file is not a database"


class WrongDatabaseError(Exception):
    """The database is not one that this gateway can use; the message says why, and what to do."""


def is_current(connection: Connection) -> bool:
    """Whether the database has the newest step; cheap, and enough for workers whose supervisor has migrated."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - our own name
    return found == HEAD


def upgrade(url: str) -> bool:
    """Bring a database to the newest step, an empty one too; whether there was anything to do.

    Raises:
        WrongDatabaseError: it has tables that are not ours, or is of a newer gateway.
        DatabaseUnavailableError: it cannot be reached, or has fallen silent.
    """
    engine = open_engine(url, writes=True, patience_ms=_PATIENCE_MS)
    try:
        _make_file(url)
        with watched(engine, _OPENED_WITHIN, _ANSWERED_WITHIN), engine.begin() as connection:
            return not is_current(connection) and _upgrade(connection)
    except OSError as error:
        raise DatabaseUnavailableError(f"{error.filename}: {error.strerror}") from error
    except DBAPIError as error:
        if _NO_DATABASE in str(error):
            raise WrongDatabaseError(f"{sqlite_file(url)} is no SQLite database; name another file") from error
        if not is_away(error):
            raise
        raise DatabaseUnavailableError(str(error.orig).strip()) from error
    finally:
        engine.dispose()


def _make_file(url: str) -> None:
    """For its owner alone; SQLite itself would make it as readable as the umask says."""
    if (file := sqlite_file(url)) is not None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _upgrade(connection: Connection) -> bool:
    # Imported here: workers find a database that is migrated already, and need not carry it.
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory(str(Path(__file__).parent))
    options = {
        "version_table": VERSION_TABLE,
        "fn": lambda revision, _context: script._upgrade_revs(HEAD, revision),  # noqa: SLF001 - as Alembic's own commands
    }
    context = MigrationContext.configure(connection, opts=options)
    _check_ours(connection, context.get_current_revision(), {step.revision for step in script.walk_revisions()})
    with Operations.context(context):
        context.run_migrations()
    return True


def _check_ours(connection: Connection, current: str | None, known: set[str]) -> None:
    if current is None:
        if tables := sorted(set(inspect(connection).get_table_names()) - {VERSION_TABLE}):
            raise WrongDatabaseError(
                f"the database has tables that are not this gateway's ({', '.join(tables[:5])}): "
                "let GATEWAY_DATABASE_URL name an empty database"
            )
    elif current not in known:
        raise WrongDatabaseError(
            f"the database is of a newer gateway: its schema is {current}, this one knows {HEAD}. "
            "Start that gateway, or restore the backup that was made before it"
        )
