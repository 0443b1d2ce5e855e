"""The teams file in the database, on both kinds: applied whole or not at all, and again without a change."""

import pytest
from sqlalchemy import Connection, select

from gateway.adapters.database import Database
from gateway.adapters.declared import Declarations
from gateway.adapters.records import Records
from gateway.adapters.roster import Roster
from gateway.adapters.tables import REVISION
from gateway.adapters.teams import TeamDirectory
from gateway.core.declared import DeclaredError, read_declared
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import KEY_LABEL, Caller, Terms, mint
from gateway.core.pages import Wanted
from gateway.core.secrets import derive, digest_of
from tests.fakes import FakeClock

OURS = "0123456789abcdef0123456789abcdef"
FIRST, SECOND = (mint(number) for number in (1, 2))


def digest(secret: str) -> str:
    return digest_of(derive(OURS, KEY_LABEL), secret.encode()).hex()


@pytest.fixture
def declarations(database: Database) -> Declarations:
    return Declarations(database, FakeClock(), ["static"])


@pytest.fixture
def roster(database: Database) -> Roster:
    return Roster(database, OURS, FakeClock())


@pytest.fixture
def directory(database: Database) -> TeamDirectory:
    return TeamDirectory(database, OURS, FakeClock())


async def apply(declarations: Declarations, text: str) -> None:
    await declarations.apply(read_declared("teams.toml", text))


def newest(connection: Connection) -> int | None:
    return connection.scalar(select(REVISION.c.newest))


WEB = f"[teams.design]\nrpm = 60\n[teams.design.keys.web]\ndigest = '{digest(FIRST)}:{FIRST[-4:]}'\n"


async def test_what_is_declared_works_and_applying_it_again_changes_nothing(
    database: Database, declarations: Declarations, directory: TeamDirectory, roster: Roster
) -> None:
    await apply(declarations, WEB)
    before = await database.read(newest)
    await apply(declarations, WEB)
    await directory.refresh()

    assert await database.read(newest) == before
    key = await roster.key("design/web")
    assert (key["source"], key["last_four"]) == ("file", FIRST[-4:])
    assert directory.find(FIRST.encode()) == Caller(key["id"], "design", Terms(), Terms(rpm=60))


async def test_what_changes_in_the_file_changes_and_what_vanishes_ends(
    declarations: Declarations, directory: TeamDirectory, roster: Roster, database: Database
) -> None:
    await apply(declarations, WEB)
    await apply(declarations, WEB.replace("rpm = 60", "rpm = 5").replace(digest(FIRST), digest(SECOND)))
    await directory.refresh()
    assert directory.find(FIRST.encode()) is None
    caller = directory.find(SECOND.encode())
    assert caller is not None
    assert caller.team_terms.rpm == 5

    await apply(declarations, "[teams.design]\n[teams.shop]\n")
    assert (await roster.key("design/web"))["revoked"] is not None
    assert not (await roster.team("design"))["disabled"]
    await apply(declarations, "[teams.shop]\n")
    assert (await roster.team("design"))["disabled"]
    await apply(declarations, WEB)
    await directory.refresh()
    assert directory.find(FIRST.encode()) == Caller(caller.key, "design", Terms(), Terms(rpm=60))
    rows = (await Records(database, FakeClock()).audit(Wanted())).data
    assert {row["actor"] for row in rows} == {"file"}
    assert [row["action"] for row in reversed(rows)] == [
        *("team.create", "key.create"),
        *("team.change", "key.rotate"),
        *("team.change", "team.create", "key.revoke"),
        "team.change",
        *("team.change", "team.change", "key.rotate"),
    ]


async def test_what_the_file_declares_is_changed_nowhere_else(declarations: Declarations, roster: Roster) -> None:
    await apply(declarations, WEB)

    for work in (
        roster.change_team("me", "design", {"rpm": 1}),
        roster.change_key("me", "design/web", {"rpm": 1}),
        roster.rotate_key("me", "design/web", {}),
        roster.revoke_key("me", "design/web"),
    ):
        with pytest.raises(GatewayError, match="teams file") as refusal:
            await work
        assert refusal.value.kind is Kind.CONFLICT


async def test_what_is_at_odds_changes_nothing(database: Database, declarations: Declarations, roster: Roster) -> None:
    await roster.create_team("me", {"name": "mine"})
    await apply(declarations, WEB)
    before = await database.read(newest)

    for text, words in (
        ("[teams.new]\n[teams.mine]\n", r"^teams\.toml:2: the team 'mine' was made by command"),
        ("[teams.static]\n", r"^teams\.toml:1: .* name of a static key"),
        (f"{WEB}[teams.new.keys.web]\ndigest = '{digest(SECOND)}'\n[teams.mine]\n", "mine"),
    ):
        with pytest.raises(DeclaredError, match=words):
            await apply(declarations, text)

    assert await database.read(newest) == before
    made = await roster.create_key("me", "mine", {"name": "web"})
    taken = f"[teams.shop.keys.web]\ndigest = '{digest(made['secret'])}'\n"
    with pytest.raises(DeclaredError, match=r"^teams\.toml:1: .* is that of mine/web"):
        await apply(declarations, taken)
