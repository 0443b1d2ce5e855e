"""`teams`, `keys`, `usage`, `generations` and `migrate` as a person runs them, on an SQLite file of their own."""

import re
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import Result

from gateway.adapters.engines import open_engine
from gateway.adapters.tables import GENERATIONS, USAGE
from tests.cli.test_commands import run

Cli = Callable[..., Result]
SECRET = re.compile(r"gw_live_[0-9A-Za-z]{36}\n")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return lambda *arguments: run(*arguments, GATEWAY_DATA_DIR=str(tmp_path))


def test_migrate_says_what_it_did(cli: Cli) -> None:
    assert cli("migrate").stdout == "The database is at 0002 now.\n"
    assert cli("migrate").stdout == "The database is at 0002 already.\n"


def test_teams_are_made_shown_changed_and_listed(cli: Cli) -> None:
    made = cli("teams", "create", "design", "--rpm", "60", "--budget-day", "2.5", "--models", "flux-*, dall-e-*")
    changed = cli("teams", "set", "design", "--rpm", "none", "--coercion", "strict")
    shown = cli("teams", "show", "design")
    cli("teams", "disable", "design")
    listed = cli("teams", "list")
    enabled = cli("teams", "enable", "design")

    team = orjson.loads(made.stdout)
    assert (team["rpm"], team["budget_day"], team["models"]) == (60, 2.5, ["flux-*", "dall-e-*"])
    assert shown.stdout == changed.stdout
    assert (orjson.loads(shown.stdout)["rpm"], orjson.loads(shown.stdout)["coercion"]) == (None, "strict")
    assert [line.split() for line in listed.stdout.splitlines()][1] == [
        *["design", "-", "-", "-", "2.5", "-", "-", "yes", "admin"]
    ]
    assert orjson.loads(enabled.stdout)["disabled"] is False


def test_only_the_secret_is_on_standard_output(cli: Cli) -> None:
    cli("teams", "create", "design")
    made = cli("keys", "create", "design", "web")
    rotated = cli("keys", "rotate", "design/web", "--overlap", "60")

    for done in (made, rotated):
        assert SECRET.fullmatch(done.stdout)
        assert "design/web is key_" in done.stderr
    assert made.stdout != rotated.stdout


def test_keys_are_shown_changed_listed_and_revoked(cli: Cli) -> None:
    for team in ("design", "shop"):
        cli("teams", "create", team)
        cli("keys", "create", team, "web", "--concurrency", "2", "--expires", "2090-01-01T00:00:00Z")
    key = orjson.loads(cli("keys", "show", "design/web").stdout)
    changed = orjson.loads(cli("keys", "set", key["id"], "--name", "site", "--concurrency", "3").stdout)
    assert orjson.loads(cli("keys", "disable", key["id"]).stdout)["disabled"]
    assert not orjson.loads(cli("keys", "enable", key["id"]).stdout)["disabled"]
    revoked = orjson.loads(cli("keys", "revoke", key["id"]).stdout)

    assert (changed["name"], changed["concurrency"], changed["expires"]) == ("site", 3, "2090-01-01T00:00:00.000Z")
    assert revoked["revoked"] is not None
    assert len(cli("keys", "list").stdout.splitlines()) == 3
    assert len(cli("keys", "list", "--team", "shop").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("teams", "create", "Design"), "name must be"),
        (("teams", "create", "design"), "There is a team 'design' already"),
        (("teams", "set", "design", "--rpm", "many"), "rpm must be a whole number"),
        (("teams", "set", "design", "--budget-day", "0.0000001"), "budget_day must be USD with at most 6 decimals"),
        (("teams", "set", "design", "--expires", "tomorrow"), "expires must be a time like"),
        (("teams", "set", "design", "--coercion", "rough"), "coercion must be one of"),
        (("teams", "show", "nobody"), "There is no team 'nobody'"),
        (("keys", "create", "nobody", "web"), "There is no team 'nobody'"),
        (("keys", "show", "design/web"), "There is no key 'design/web'"),
        (("keys", "digest", "s3cret"), "SECRET must be a key"),
        (("generations", "show", "g1"), "There is no generation 'g1'"),
        (("generations", "settle", "g1", "0"), "There is no generation 'g1'"),
        (("generations", "settle", "g1", "much"), "cost must be USD from 0 to"),
        (("generations", "settle", "g1", "0.0000001"), "cost must be USD with at most 6 decimals"),
        (("usage", "--by", "colour"), "by must be some of"),
        (("usage", "--since", "today"), "since must be a day"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    cli("teams", "create", "design")
    done = cli(*arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("gateway302: ")
    assert words in done.stderr


def test_more_teams_than_a_page_are_listed(cli: Cli, tmp_path: Path) -> None:
    cli("teams", "create", "design")
    engine = open_engine(f"sqlite:///{tmp_path}/gateway.db", writes=True)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150) INSERT INTO teams "
            "(name, models, disabled, source, created, revision) SELECT 't' || i, '', 0, 'admin', 0, 1 FROM n"
        )
    engine.dispose()

    assert len(cli("teams", "list").stdout.splitlines()) == 152


def test_a_digest_is_what_the_file_takes(cli: Cli) -> None:
    made = cli("keys", "digest").stdout.split()

    assert re.fullmatch(rf"[0-9a-f]{{64}}:{made[0][-4:]}", made[1])
    assert cli("keys", "digest", made[0]).stdout.split() == made[1:]


def test_usage_is_a_table_csv_or_json(cli: Cli, tmp_path: Path) -> None:
    cli("migrate")
    engine = open_engine(f"sqlite:///{tmp_path}/gateway.db", writes=True)
    row = {"day": "2026-11-22", "team": "design", "key": "k", "model": "m", "requests": 3, "cost": 40_000}
    with engine.begin() as connection:
        connection.execute(USAGE.insert().values(**row))
    engine.dispose()

    table, csv, json = (
        cli("usage", "--by", "team,model", "--format", form).stdout for form in ("table", "csv", "json")
    )
    assert table.splitlines()[1].split() == ["design", "m", "3", "0", "0", "0", "0", "0.040000", "0.000000"]
    assert csv.splitlines()[1] == "design,m,3,0,0,0,0,0.040000,0.000000"
    assert [(one["team"], one["cost"]) for one in orjson.loads(json)] == [("design", 0.04)]
    assert cli("usage", "--team", "nobody", "--format", "json").stdout == "[]\n"


def test_unknown_outcomes_are_listed_and_settled(cli: Cli, tmp_path: Path) -> None:
    cli("migrate")
    assert len(cli("generations", "unknown").stdout.splitlines()) == 1
    engine = open_engine(f"sqlite:///{tmp_path}/gateway.db", writes=True)
    row = {"fingerprint": "0", "key": "key_1", "team": "design", "model": "flux", "version": 2, "owner": "w", "ttl": 1}
    row |= {"day": "2026-11-22", "reserved": 40_000, "created": 1_800_000_000.0, "billed": False}
    with engine.begin() as connection:
        for id_, state in (("g1", "unknown"), ("g2", "failed")):
            connection.execute(GENERATIONS.insert().values(**row, id=id_, flight=id_, state=state, finished=1.0))
    engine.dispose()

    listed = [line.split() for line in cli("generations", "unknown").stdout.splitlines()]
    shown = orjson.loads(cli("generations", "show", "g1").stdout)
    settled = orjson.loads(cli("generations", "settle", "g1", "0.039").stdout)
    again = cli("generations", "settle", "g1", "0")

    assert listed == [
        ["ID", "CREATED", "TEAM", "KEY", "MODEL", "HELD"],
        ["g1", "2027-01-15T08:00:00.000Z", "design", "key_1", "flux", "0.04"],
    ]
    assert settled == {**shown, "state": "failed", "actual": 0.039}
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is failed" in again.stderr
    [used] = orjson.loads(cli("usage", "--format", "json").stdout)
    assert (used["team"], used["cost"]) == ("design", 0.039)


@pytest.mark.parametrize("command", [("teams", "list"), ("migrate",), ("usage",), ("generations", "unknown")])
def test_a_database_that_is_away_or_somebody_elses_is_told(command: tuple[str, ...], tmp_path: Path) -> None:
    away = run(*command, GATEWAY_DATABASE_URL="postgresql://x@127.0.0.1:1/x", GATEWAY_DATA_DIR=str(tmp_path))
    (tmp_path / "notes").write_text("no database " * 100)
    foreign = run(*command, GATEWAY_DATABASE_URL=f"sqlite:///{tmp_path}/notes", GATEWAY_DATA_DIR=str(tmp_path))

    assert (away.exit_code, foreign.exit_code) == (2, 2)
    assert "the database cannot be reached" in away.stderr
    assert "GATEWAY_DATABASE_URL" in foreign.stderr
