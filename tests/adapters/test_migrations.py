"""The schema of the durable store: what the steps make is what the tables say, and no other database is touched."""

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from gateway.adapters import migrations
from gateway.adapters.engines import open_engine, sqlite_file
from gateway.adapters.migrations import HEAD, VERSION_TABLE, WrongDatabaseError, is_current, upgrade
from gateway.adapters.tables import METADATA
from gateway.ports import DatabaseUnavailableError
from tests.postgres import Postgres


def described(engine: Engine) -> set[tuple[object, ...]]:
    """Everything about the tables, as the database itself tells it."""
    sqlite = (
        'SELECT m.name, c.name, c.type, c."notnull", c.pk, c.dflt_value '
        "FROM sqlite_master m, pragma_table_info(m.name) c"
    )
    sqlite_keys = 'SELECT m.name, f."table", f."from", f."to" FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
    sqlite_indexes = (
        'SELECT m.name, i."unique", i.origin, i.partial, group_concat(c.name), s.sql '
        "FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c "
        "LEFT JOIN sqlite_master s ON s.name = i.name GROUP BY i.name"
    )
    postgres = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    )
    postgres_indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    postgres_keys = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0"
    )
    asked = {
        "sqlite": (sqlite, sqlite_keys, sqlite_indexes),
        "postgresql": (postgres, postgres_indexes, postgres_keys),
    }[engine.dialect.name]
    with engine.connect() as connection:
        rows = {tuple(row) for query in asked for row in connection.execute(text(query))}
    return {row for row in rows if row[0] != VERSION_TABLE}


def beside(url: str, postgres: Postgres) -> str:
    """Another empty database of the same kind."""
    return f"{url}.beside" if sqlite_file(url) else postgres.url(postgres.create())


def test_the_steps_make_what_the_tables_say(empty_database: str, postgres: Postgres) -> None:
    assert upgrade(empty_database)
    made, said = open_engine(empty_database, writes=True), open_engine(beside(empty_database, postgres), writes=True)
    with said.begin() as connection:
        METADATA.create_all(connection)

    assert described(made) == described(said)
    with made.begin() as connection:
        assert connection.execute(text("SELECT id, newest FROM revision")).all() == [(1, 0)]
    made.dispose()
    said.dispose()


def test_the_head_is_the_newest_step() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert script.get_heads() == [HEAD]
    assert len(list(script.walk_revisions())) == int(HEAD)


def test_a_migrated_database_is_left_alone(database_url: str) -> None:
    assert not upgrade(database_url)
    engine = open_engine(database_url, writes=False)
    with engine.connect() as connection:
        assert is_current(connection)
    engine.dispose()


def test_gateways_that_start_together_take_turns(empty_database: str) -> None:
    program = f"from gateway.adapters.migrations import upgrade; print(upgrade({empty_database!r}))"
    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(
                lambda _: subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False),
                range(4),
            )
        )

    assert [one.stderr for one in done] == [""] * 4
    assert sorted(one.stdout.strip() for one in done) == ["False", "False", "False", "True"]


def execute(url: str, statement: str) -> None:
    engine = open_engine(url, writes=True)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_newer_database_is_refused(database_url: str) -> None:
    execute(database_url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608 - our own name

    with pytest.raises(WrongDatabaseError, match=r"newer gateway: its schema is 9999.*Start that gateway"):
        upgrade(database_url)


def test_somebody_elses_database_is_refused_and_left_alone(empty_database: str) -> None:
    execute(empty_database, "CREATE TABLE invoices (id INTEGER)")

    with pytest.raises(WrongDatabaseError, match=r"invoices.*GATEWAY_DATABASE_URL"):
        upgrade(empty_database)

    engine = open_engine(empty_database, writes=False)
    with engine.connect() as connection:
        assert not is_current(connection)
    engine.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 100)

    with pytest.raises(WrongDatabaseError, match=r"notes\.txt is no SQLite database"):
        upgrade(f"sqlite:///{tmp_path}/notes.txt")


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/new/gateway.db")

    assert stat.S_IMODE((tmp_path / "new/gateway.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////proc/none/gateway.db"])
def test_a_database_that_is_away_is_said_to_be_away(url: str) -> None:
    with pytest.raises(DatabaseUnavailableError):
        upgrade(url)


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gateway.db"
    other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode=WAL").close()
    other.execute("BEGIN IMMEDIATE").close()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(upgrade, url)
        assert not waiting.done()
        other.execute("ROLLBACK").close()

        assert waiting.result()
    other.close()


def test_who_waits_for_another_gateways_migration_is_not_taken_for_one_who_hears_nothing() -> None:
    assert migrations._ANSWERED_WITHIN > migrations._PATIENCE_MS / 1000
