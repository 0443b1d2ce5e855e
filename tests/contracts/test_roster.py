"""The service of teams and keys, on both databases: what is made is found, and every change leaves its row."""

from collections.abc import Awaitable

import pytest
from sqlalchemy import Connection, func, select

from gateway.adapters.database import Database
from gateway.adapters.records import Records
from gateway.adapters.roster import Roster
from gateway.adapters.tables import AUDIT, BUDGETS, GENERATIONS, KEYS, REVISION
from gateway.adapters.teams import TeamDirectory
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Terms
from gateway.core.pages import Sought, Wanted
from tests.fakes import FakeClock

OURS = "0123456789abcdef0123456789abcdef"
HOSTILE = ["'; DROP TABLE teams; --", '" OR 1=1', "%", "a%00", "\x00", "../..", "x" * 10_000, "\ud800", "${jndi}"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def roster(database: Database, clock: FakeClock) -> Roster:
    return Roster(database, OURS, clock, ["static"])


@pytest.fixture
def records(database: Database, clock: FakeClock) -> Records:
    return Records(database, clock)


@pytest.fixture
def directory(database: Database, clock: FakeClock) -> TeamDirectory:
    return TeamDirectory(database, OURS, clock)


async def refusal(work: Awaitable[object]) -> tuple[Kind, str | None]:
    with pytest.raises(GatewayError) as caught:
        await work
    return caught.value.kind, caught.value.param


NO_BUDGETS = {
    "day": {"period": "2027-01-15", "budget": None, "spent": 0, "held": 0, "remaining": None},
    "month": {"period": "2027-01", "budget": None, "spent": 0, "held": 0, "remaining": None},
}


async def test_a_team_is_made_and_told(roster: Roster) -> None:
    made = await roster.create_team("me", {"name": "design", "rpm": 60, "models": ["flux-*"], "coercion": "strict"})

    assert made == {
        "object": "team",
        "name": "design",
        "models": ["flux-*"],
        "rpm": 60,
        **dict.fromkeys(("ipm", "concurrency", "budget_day", "budget_month", "expires")),
        "coercion": "strict",
        "disabled": False,
        "source": "admin",
        "created": "2027-01-15T08:00:00.000Z",
        "budgets": NO_BUDGETS,
    }
    assert await roster.team("design") == made


async def test_a_key_is_made_told_and_works(roster: Roster, directory: TeamDirectory) -> None:
    await roster.create_team("me", {"name": "design", "rpm": 60})
    made = await roster.create_key("me", "design", {"name": "web", "rpm": 30, "budget_day": 0.5})
    secret = made.pop("secret")
    await directory.refresh()

    assert secret[-4:] == made["last_four"]
    assert await roster.key(made["id"]) == await roster.key("design/web") == made
    assert (made["team"], made["name"], made["rpm"], made["budget_day"]) == ("design", "web", 30, 0.5)
    caller = Caller(made["id"], "design", Terms(rpm=30, budget_day=500_000), Terms(rpm=60))
    assert directory.find(secret.encode()) == caller


async def test_no_secret_is_kept_anywhere(roster: Roster, database: Database) -> None:
    await roster.create_team("me", {"name": "design"})
    first = (await roster.create_key("me", "design", {"name": "web"}))["secret"]
    second = (await roster.rotate_key("me", "design/web", {}))["secret"]

    rows = await database.read(
        lambda connection: [*connection.execute(select(KEYS)), *connection.execute(select(AUDIT))]
    )
    for secret in (first, second):
        assert secret not in repr(rows)
        assert secret[:-4] not in repr(rows)


async def test_what_is_wrong_is_named_and_changes_nothing(roster: Roster, database: Database) -> None:
    await roster.create_team("me", {"name": "design", "rpm": 60})
    await roster.create_key("me", "design", {"name": "web", "rpm": 60})
    newest = select(REVISION.c.newest)
    before = await database.read(lambda connection: connection.scalar(newest))

    assert await refusal(roster.create_team("me", {})) == (Kind.MISSING_PARAMETER, "name")
    assert await refusal(roster.create_team("me", {"name": "Design"})) == (Kind.INVALID_VALUE, "name")
    assert await refusal(roster.create_team("me", {"name": "design"})) == (Kind.CONFLICT, None)
    assert await refusal(roster.create_team("me", {"name": "static"})) == (Kind.CONFLICT, None)
    assert await refusal(roster.create_team("me", {"name": "shop", "rpm": 0})) == (Kind.INVALID_VALUE, "rpm")
    assert await refusal(roster.create_team("me", {"name": "shop", "revision": 0})) == (Kind.INVALID_VALUE, "revision")
    assert await refusal(roster.change_team("me", "design", {"source": "file"})) == (Kind.INVALID_VALUE, "source")
    assert await refusal(roster.change_team("me", "design", {"name": "x"})) == (Kind.INVALID_VALUE, "name")
    assert await refusal(roster.create_key("me", "design", {"name": "web"})) == (Kind.CONFLICT, None)
    assert await refusal(roster.create_key("me", "nobody", {"name": "web"})) == (Kind.NOT_FOUND, None)
    assert await refusal(roster.create_key("me", "design", {"name": "x", "rpm": 61})) == (Kind.INVALID_VALUE, "rpm")
    assert await refusal(roster.change_key("me", "design/web", {"rpm": 61})) == (Kind.INVALID_VALUE, "rpm")
    assert await refusal(roster.change_key("me", "design/web", {"digest": "x"})) == (Kind.INVALID_VALUE, "digest")
    assert await refusal(roster.rotate_key("me", "design/web", {"overlap": -1})) == (Kind.INVALID_VALUE, "overlap")
    assert await refusal(roster.rotate_key("me", "design/web", {"x": 1})) == (Kind.INVALID_VALUE, "x")
    for missing in ("key_1", "design/none", "none/web", "design"):
        assert await refusal(roster.key(missing)) == (Kind.NOT_FOUND, None)
        assert await refusal(roster.revoke_key("me", missing)) == (Kind.NOT_FOUND, None)
    assert await refusal(roster.team("shop")) == (Kind.NOT_FOUND, None)

    assert await database.read(lambda connection: connection.scalar(newest)) == before


@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_words_find_nothing_and_harm_nothing(roster: Roster, records: Records, value: str) -> None:
    await roster.create_team("me", {"name": "design"})

    for work in (roster.team(value), roster.key(value), roster.key(f"{value}/x"), roster.revoke_key("me", value)):
        assert (await refusal(work))[0] is Kind.NOT_FOUND
    assert (await refusal(roster.create_team("me", {"name": value})))[1] == "name"
    assert (await refusal(roster.create_key("me", "design", {"name": value})))[1] == "name"
    assert (await refusal(roster.change_team("me", "design", {"models": [f"{value} "]})))[1] == "models"
    if value.isprintable():
        assert (await refusal(records.audit(Wanted(after=value))))[1] == "after"
        assert (await refusal(records.generations(Wanted(after=value), Sought())))[1] == "after"
        sought = Sought(team=value, key=value, state=value, model=value)
        assert (await records.generations(Wanted(), sought)).data == []
        assert (await roster.teams(Wanted(after="~" + value))).data == []
    assert (await roster.team("design"))["name"] == "design"


async def test_a_rotation_and_a_revocation(roster: Roster, directory: TeamDirectory, clock: FakeClock) -> None:
    await roster.create_team("me", {"name": "design"})
    first = (await roster.create_key("me", "design", {"name": "web"}))["secret"].encode()
    rotated = await roster.rotate_key("me", "design/web", {"overlap": 60})
    second = rotated["secret"].encode()
    await directory.refresh()

    assert rotated["old_secret_until"] == "2027-01-15T08:01:00.000Z"
    assert directory.find(first) == directory.find(second) is not None
    clock.advance(60)
    assert directory.find(first) is None
    assert (await roster.key("design/web"))["old_secret_until"] is None

    await roster.rotate_key("me", "design/web", {})
    revoked = await roster.revoke_key("me", "design/web")
    await directory.refresh()
    assert (revoked["revoked"], revoked["old_secret_until"]) == ("2027-01-15T08:01:00.000Z", None)
    assert directory.find(second) is None
    for work in (roster.rotate_key("me", "design/web", {}), roster.change_key("me", "design/web", {"rpm": 1})):
        assert (await refusal(work))[0] is Kind.CONFLICT
    assert (await refusal(roster.create_key("me", "design", {"name": "web"})))[0] is Kind.CONFLICT


async def test_a_lowered_team_holds_for_keys_that_had_more(roster: Roster, directory: TeamDirectory) -> None:
    await roster.create_team("me", {"name": "design", "rpm": 60})
    secret = (await roster.create_key("me", "design", {"name": "web", "rpm": 60}))["secret"].encode()
    await roster.change_team("me", "design", {"rpm": 10})
    await directory.refresh()

    caller = directory.find(secret)
    assert caller is not None
    assert (caller.key_terms.rpm, caller.team_terms.rpm) == (60, 10)


async def test_every_change_leaves_its_row(roster: Roster, records: Records) -> None:
    await roster.create_team("admin", {"name": "design"})
    key = await roster.create_key("cli", "design", {"name": "web"})
    await roster.change_key("cli", key["id"], {"name": "site", "rpm": 5})
    await roster.change_key("cli", key["id"], {"rpm": 5})
    await roster.rotate_key("cli", key["id"], {})
    await roster.revoke_key("admin", key["id"])
    await roster.change_team("admin", "design", {"disabled": True})

    rows = (await records.audit(Wanted())).data
    assert [(row["actor"], row["action"], row["target"]) for row in reversed(rows)] == [
        ("admin", "team.create", "team:design"),
        ("cli", "key.create", f"key:{key['id']}"),
        ("cli", "key.change", f"key:{key['id']}"),
        ("cli", "key.rotate", f"key:{key['id']}"),
        ("admin", "key.revoke", f"key:{key['id']}"),
        ("admin", "team.change", "team:design"),
    ]
    change = rows[3]
    assert [change["before"][name] for name in ("name", "rpm")] == ["web", None]
    assert [change["after"][name] for name in ("name", "rpm")] == ["site", 5]
    assert rows[-1]["before"] is None


async def test_lists_go_on_where_a_page_ended(roster: Roster, records: Records) -> None:
    names = sorted(f"team-{number}" for number in range(7))
    for name in names:
        await roster.create_team("me", {"name": name})
        await roster.create_key("me", name, {"name": "web"})
    for read, field, wanted_names in (
        (roster.teams, "name", names),
        (roster.keys, "team", None),
        (records.audit, "id", None),
    ):
        seen, after = [], None
        while True:
            page = await read(Wanted(3, after))
            seen += [one[field] for one in page.data]
            assert len(page.data) <= 3
            if (after := page.next) is None:
                break
        assert len(seen) == len(set(seen)) == (14 if field == "id" else 7)
        assert wanted_names is None or seen == wanted_names
    assert [one["team"] for one in (await roster.keys(Wanted(), "team-3")).data] == ["team-3"]
    assert (await refusal(roster.keys(Wanted(), "nobody")))[0] is Kind.NOT_FOUND


async def test_what_is_spent_is_told(roster: Roster, database: Database) -> None:
    await roster.create_team("me", {"name": "design", "budget_day": 5, "budget_month": 1})
    rows = [
        {"owner": "team:design", "period": "2027-01-15", "spent": 1_250_000, "held": 250_000},
        {"owner": "team:design", "period": "2027-01", "spent": 2_000_000, "held": 0},
        {"owner": "team:design", "period": "2027-01-14", "spent": 9, "held": 9},
    ]
    await database.write(lambda connection: connection.execute(BUDGETS.insert(), rows))

    assert (await roster.team("design"))["budgets"] == {
        "day": {"period": "2027-01-15", "budget": 5, "spent": 1.25, "held": 0.25, "remaining": 3.5},
        "month": {"period": "2027-01", "budget": 1, "spent": 2, "held": 0, "remaining": 0},
    }


async def test_the_ledger_is_found_by_what_is_sought(database: Database, records: Records) -> None:
    def row(number: int, **more: object) -> dict[str, object]:
        plain: dict[str, object] = {
            "id": f"g{number}",
            "flight": f"f{number}",
            "fingerprint": "0",
            "key": "k",
            "team": "design",
        }
        plain |= {"model": "m", "state": "settled", "version": 1, "owner": "w", "ttl": 1, "billed": False}
        return {**plain, "day": "2027-01-15", "reserved": 40_000, "created": 100.0 + number // 2, **more}

    rows = [row(number, state="unknown" if number == 3 else "settled", actual=None) for number in range(6)]
    rows.append(row(6, team="shop"))
    await database.write(lambda connection: [connection.execute(GENERATIONS.insert().values(one)) for one in rows])

    async def ids(wanted: Wanted, sought: Sought) -> list[str]:
        return [one["id"] for one in (await records.generations(wanted, sought)).data]

    assert await ids(Wanted(), Sought()) == ["g6", "g5", "g4", "g3", "g2", "g1", "g0"]
    assert await ids(Wanted(3, "g4"), Sought()) == ["g3", "g2", "g1"]
    assert await ids(Wanted(), Sought(state="unknown")) == ["g3"]
    assert await ids(Wanted(), Sought(team="shop")) == ["g6"]
    assert await ids(Wanted(), Sought(since=101.0, until=103.0, team="design")) == ["g5", "g4", "g3", "g2"]
    [one] = (await records.generations(Wanted(), Sought(state="unknown"))).data
    assert (one["object"], one["reserved"], one["created"]) == ("generation", 0.04, "1970-01-01T00:01:41.000Z")
    assert "url" not in one


async def test_a_thousand_keys_do_not_slow_a_list(roster: Roster, database: Database) -> None:
    await roster.create_team("me", {"name": "design"})
    made = await roster.create_key("me", "design", {"name": "web"})

    def work(connection: Connection) -> None:
        one = dict(connection.execute(select(KEYS).where(KEYS.c.id == made["id"])).mappings().one())
        rows = [{**one, "id": f"key_{n:05}", "name": f"n{n}", "digest": b"%d" % n} for n in range(1000)]
        connection.execute(KEYS.insert(), rows)

    await database.write(work)

    assert len((await roster.keys(Wanted(100))).data) == 100
    assert await database.read(lambda connection: connection.scalar(select(func.count()).select_from(KEYS))) == 1001
