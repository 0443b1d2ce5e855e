"""`/admin/v1` over HTTP: who may ask, what hostile words do, and that what is decided there holds on `/v1`."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.core.keys import mint
from tests.acceptance.programs import PATIENCE, Simulator, unique
from tests.web.served import KEY, PATH, Web, served, settings_for

ADMIN_KEY = "5f4dcc3b5aa765d61d8327deb882cf99"
TEAMS = "/admin/v1/teams"
PATHS = [
    *("teams", "teams/design", "teams/design/keys", "keys", "keys/key_1"),
    *("audit", "generations", "generations/1", "upstream-keys"),
]


@pytest.fixture(scope="module")
def governed(simulator: Simulator, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    settings = settings_for(simulator.url, redis_url, admin_key=ADMIN_KEY)
    with served(settings, tmp_path_factory.mktemp("log") / "lines") as running:
        yield running


@pytest.fixture
def admin(governed: Web) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=governed.client.base_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def make(admin: httpx.Client, **terms: object) -> tuple[str, dict[str, Any]]:
    """A new team and a key of it."""
    team = unique("team").replace(" ", "-")
    assert admin.post(TEAMS, json={"name": team}).status_code == 201
    made = admin.post(f"{TEAMS}/{team}/keys", json={"name": "web", **terms})
    assert made.status_code == 201, made.text
    return team, made.json()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"] if "error" in answer.json() else "ok"


def ask(admin: httpx.Client, secret: str, **body: object) -> httpx.Response:
    asked = {"model": "dall-e-2", "prompt": unique(), **body}
    return admin.post(PATH, json=asked, headers={"authorization": f"Bearer {secret}"})


def becomes(admin: httpx.Client, secret: str, expected: tuple[int, str], within: float = PATIENCE) -> None:
    """Wait until a key is answered so."""
    deadline = time.monotonic() + within
    while (seen := code(admin.get("/v1/models", headers={"authorization": f"Bearer {secret}"}))) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


@pytest.mark.parametrize("path", PATHS)
def test_without_an_admin_key_there_is_no_such_path(web: Web, path: str) -> None:
    for key in (KEY, ADMIN_KEY):
        answer = web.client.get(f"/admin/v1/{path}", headers={"authorization": f"Bearer {key}"})
        assert code(answer) == (404, "unknown_url")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("secret", ["x", KEY, ADMIN_KEY[:-1], ADMIN_KEY + "0", ADMIN_KEY.upper(), "\xff", "gw_live_"])
def test_only_the_admin_key_opens_it(admin: httpx.Client, path: str, secret: str) -> None:
    answer = admin.get(f"/admin/v1/{path}", headers=[(b"authorization", f"Bearer {secret}".encode("latin-1"))])

    assert code(answer) == (401, "invalid_api_key")
    assert answer.headers["cache-control"] == "no-store"
    assert admin.get(f"/admin/v1/{path}", headers={"authorization": "", "api-key": ADMIN_KEY}).status_code == 401


def test_no_key_of_a_team_opens_it_and_the_admin_key_draws_nothing(admin: httpx.Client) -> None:
    _, key = make(admin)

    assert code(admin.get(TEAMS, headers={"authorization": f"Bearer {key['secret']}"})) == (401, "invalid_api_key")
    assert code(ask(admin, ADMIN_KEY)) == (401, "invalid_api_key")


def test_a_key_works_from_the_moment_it_is_made_until_it_is_revoked(admin: httpx.Client) -> None:
    team, key = make(admin)
    assert code(ask(admin, key["secret"])) == (200, "ok")

    rotated = admin.post(f"/admin/v1/keys/{key['id']}/rotate", json={"overlap": 3600}).json()
    assert code(ask(admin, rotated["secret"])) == code(ask(admin, key["secret"])) == (200, "ok")

    admin.patch(f"{TEAMS}/{team}", json={"disabled": True})
    becomes(admin, rotated["secret"], (401, "key_disabled"), within=2)
    admin.patch(f"{TEAMS}/{team}", json={"disabled": False})
    becomes(admin, rotated["secret"], (200, "ok"), within=2)
    admin.delete(f"/admin/v1/keys/{key['id']}")
    becomes(admin, rotated["secret"], (401, "key_disabled"), within=2)
    becomes(admin, key["secret"], (401, "invalid_api_key"), within=2)


def test_an_expired_key_is_told_so(admin: httpx.Client) -> None:
    _, key = make(admin, expires=time.time() + 1)

    becomes(admin, key["secret"], (401, "key_expired"))


def test_a_key_sees_and_uses_the_models_of_its_list(admin: httpx.Client) -> None:
    _, key = make(admin, models=["dall-e-2-*", "LUMA*"])
    bearer = {"authorization": f"Bearer {key['secret']}"}

    listed = [model["id"] for model in admin.get("/v1/models", headers=bearer).json()["data"]]
    assert listed == ["dall-e-2-t2i", "luma-t2i", "luma-flash-t2i"]
    assert code(admin.get("/v1/models/luma", headers=bearer)) == (200, "ok")
    assert code(admin.get("/v1/models/flux-dev", headers=bearer)) == (403, "model_not_allowed")
    assert code(ask(admin, key["secret"])) == (200, "ok")
    for other in ("flux-dev", "gpt-image-1"):
        assert code(ask(admin, key["secret"], model=other)) == (403, "model_not_allowed")
    # What one key may draw and has drawn is no way around the list of another.
    asked = {"model": "flux-dev", "prompt": unique()}
    assert code(admin.post(PATH, json=asked, headers={"authorization": f"Bearer {KEY}"})) == (200, "ok")
    assert code(admin.post(PATH, json=asked, headers=bearer)) == (403, "model_not_allowed")


def test_a_keys_policy_is_its_own_and_a_request_may_say_another(admin: httpx.Client) -> None:
    _, key = make(admin, coercion="strict")
    size = {"model": "dall-e-3", "prompt": unique(), "size": "1792x1024"}
    bearer = {"authorization": f"Bearer {key['secret']}"}

    assert code(admin.post(PATH, json=size, headers=bearer)) == (400, "invalid_value")
    assert code(admin.post(PATH, json=size, headers=bearer | {"x-gateway-coercion": "nearest"})) == (200, "ok")


def test_an_unknown_outcome_is_settled_by_a_person(admin: httpx.Client) -> None:
    team, key = make(admin)
    assert code(ask(admin, key["secret"], prompt=unique("[[fail:reset]]"))) == (502, "upstream_unknown")
    [row] = admin.get("/admin/v1/generations", params={"team": team, "state": "unknown"}).json()["data"]
    one = f"/admin/v1/generations/{row['id']}"
    assert (row["request_id"], admin.get(one).json()) == (None, row)

    for body, refused in (
        ({}, (400, "missing_parameter")),
        ({"cost": -1}, (400, "invalid_value")),
        ({"cost": 0.0000001}, (400, "invalid_value")),
    ):
        assert code(admin.post(f"{one}/settle", json=body)) == refused
    for secret in (key["secret"], KEY):
        bearer = {"authorization": f"Bearer {secret}"}
        assert code(admin.post(f"{one}/settle", json={"cost": 0}, headers=bearer)) == (401, "invalid_api_key")
    held = admin.get(f"{TEAMS}/{team}").json()["budgets"]["day"]
    settled = admin.post(f"{one}/settle", json={"cost": 0.015})
    spent = admin.get(f"{TEAMS}/{team}").json()["budgets"]["day"]

    assert settled.json() == admin.get(one).json() == {**row, "state": "failed", "actual": 0.015}
    assert [(at["held"], at["spent"]) for at in (held, spent)] == [(row["reserved"], 0), (0, 0.015)]
    [used] = admin.get("/admin/v1/usage", params={"by": "team", "team": team}).json()["data"]
    assert (used["cost"], used["images"]) == (0.015, 0)
    change = admin.get("/admin/v1/audit?limit=1").json()["data"][0]
    assert [change[name] for name in ("actor", "action", "target")] == [
        *("admin", "generation.settle", f"generation:{row['id']}")
    ]
    assert (change["before"], change["after"]) == (row, settled.json())
    again = admin.post(f"{one}/settle", json={"cost": 0})
    assert code(again) == (409, "conflict")
    assert "is failed" in again.json()["error"]["message"]
    assert code(admin.post("/admin/v1/generations/nothing/settle", json={"cost": 0})) == (404, "not_found")
    assert code(admin.get("/admin/v1/generations/nothing")) == (404, "not_found")


HOSTILE = ["'; DROP TABLE teams; --", '" OR 1=1', "%25%00", "%", "..%2f..", "x" * 2000, "%F0%9F%92%A9", "${jndi}"]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_words_are_refused_and_harm_nothing(admin: httpx.Client, value: str) -> None:
    for method, path in (
        ("GET", f"{TEAMS}/{value}"),
        ("PATCH", f"{TEAMS}/{value}"),
        ("DELETE", f"/admin/v1/keys/{value}"),
        ("POST", f"/admin/v1/keys/{value}/rotate"),
        ("GET", f"/admin/v1/generations/{value}"),
        ("POST", f"/admin/v1/generations/{value}/settle"),
        ("GET", f"/admin/v1/audit?after={value}"),
        ("GET", f"/admin/v1/generations?team={value}&model={value}"),
        ("GET", f"{TEAMS}?limit={value}"),
        ("GET", f"{TEAMS}?{value}=1"),
    ):
        answer = admin.request(method, path)
        assert answer.status_code in {200, 400, 404, 405}, (path, answer.text)
        assert answer.status_code != 200 or answer.json()["data"] == []
    for field in ("name", "models", "rpm", "budget_day", "expires", "coercion", "disabled", value):
        answer = admin.post(TEAMS, json={"name": "hostile", field: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field[:60])


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 20_000, b'{"a":' * 20_000])
def test_a_body_that_is_no_object_is_refused(admin: httpx.Client, body: bytes) -> None:
    answer = admin.post(TEAMS, content=body)

    assert code(answer) in {(400, "invalid_json"), (413, "request_too_large")}


def test_an_answer_is_never_kept_by_a_cache(admin: httpx.Client) -> None:
    assert {admin.get(f"/admin/v1/{path}").headers["cache-control"] for path in PATHS} == {"no-store"}


def test_guesses_are_all_refused_alike(admin: httpx.Client) -> None:
    guesses = [mint(number) for number in range(200)] + [f"gw_live_{number:036}" for number in range(200)]
    told = {ask(admin, guess).text for guess in guesses}

    assert len(told) == 1
    assert '"invalid_api_key"' in told.pop()
