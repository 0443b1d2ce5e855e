"""The administration in `/openapi.json`: its paths, and the schemas of what goes and comes there."""

from collections.abc import Iterable
from typing import Any, Final

from gateway.core.coerce import Policy
from gateway.core.errors import Kind
from gateway.core.pages import MOST
from gateway.core.terms import MOST_OVERLAP, NAME
from gateway.core.usage import COUNTERS, FORMATS, GROUPS
from gateway.web.openapi_answers import answer, errors
from gateway.web.openapi_schemas import ref

Json = dict[str, Any]

_ADMIN: Final = frozenset({Kind.INVALID_HEADERS, Kind.INTERNAL_ERROR, Kind.INVALID_API_KEY, Kind.STORE_UNAVAILABLE})
_READING: Final = _ADMIN | {Kind.INVALID_VALUE}
_WRITING: Final = _READING | {Kind.INVALID_JSON, Kind.REQUEST_TOO_LARGE, Kind.REQUEST_TIMEOUT}
_NAMED: Final = {Kind.NOT_FOUND}
_TEXT: Final[Json] = {"type": "string"}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_USD: Final[Json] = {"type": "number", "minimum": 0}
_NAME: Final[Json] = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_COUNT: Final[Json] = {"type": ["integer", "null"], "minimum": 1}
_NO_STORE: Final = ("cache-control",)
_COST: Final = "USD, with at most 6 decimals; 0 for what was not billed."


def _parameter(name: str, where: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


_TEAM: Final = _parameter("name", "path", _TEXT, "A team's name.")
_KEY: Final = _parameter("id", "path", _TEXT, "A key's id, `key_…`.")
_DRAWN: Final = _parameter("id", "path", _TEXT, "A generation's id.")
_PAGED: Final = [
    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST}, "Entries a page; absent, 20."),
    _parameter("after", "query", _TEXT, "The `next` of the page before."),
]
_TIMES: Final = {"since": "at or after", "until": "before"}
_REFUSED: Final = _WRITING | _NAMED | {Kind.CONFLICT, Kind.MISSING_PARAMETER}


def admin_paths() -> Json:
    """The paths; they are there where the setting `admin_key` is."""
    return {**_team_paths(), **_key_paths(), **_record_paths()}


def _team_paths() -> Json:
    return {
        "/admin/v1/teams": {
            "get": _get("listTeams", "Teams by name.", "TeamList", _READING, _PAGED),
            "post": _write("createTeam", "Make a team.", "Team", _REFUSED - _NAMED, body="NewTeam", status="201"),
        },
        "/admin/v1/teams/{name}": {
            "get": _get("retrieveTeam", "A team.", "Team", _ADMIN | _NAMED, [_TEAM]),
            "patch": _write("changeTeam", "Change what is given.", "Team", _REFUSED, [_TEAM], body="Terms"),
            "delete": _write("disableTeam", "Disable a team; PATCH enables it.", "Team", _REFUSED, [_TEAM]),
        },
        "/admin/v1/teams/{name}/keys": {
            "get": _get("listKeysOfTeam", "A team's keys.", "KeyList", _READING | _NAMED, [_TEAM, *_PAGED]),
            "post": _write("createKey", "Make a key.", "NewKey", _REFUSED, [_TEAM], body="KeyTerms", status="201"),
        },
    }


def _key_paths() -> Json:
    return {
        "/admin/v1/keys": {"get": _get("listKeys", "Keys by id.", "KeyList", _READING, _PAGED)},
        "/admin/v1/keys/{id}": {
            "get": _get("retrieveKey", "A key.", "Key", _ADMIN | _NAMED, [_KEY]),
            "patch": _write("changeKey", "Change what is given.", "Key", _REFUSED, [_KEY], body="KeyTerms"),
            "delete": _write("deleteKey", "The same as revoke.", "Key", _REFUSED, [_KEY]),
        },
        "/admin/v1/keys/{id}/rotate": {
            "post": _write("rotateKey", "Give it a new secret.", "NewKey", _REFUSED, [_KEY], body="Rotation")
        },
        "/admin/v1/keys/{id}/revoke": {"post": _write("revokeKey", "End it for good.", "Key", _REFUSED, [_KEY])},
    }


def _record_paths() -> Json:
    sought = [
        *(_parameter(name, "query", _TEXT, f"Only of this {name}.") for name in ("team", "key", "state", "model")),
        *(_parameter(name, "query", _TEXT, f"Only {word} this time.") for name, word in _TIMES.items()),
    ]
    return {
        "/admin/v1/audit": {"get": _get("listChanges", "The changes, newest first.", "ChangeList", _READING, _PAGED)},
        "/admin/v1/generations": {
            "get": _get("listGenerations", "The ledger, newest first.", "GenerationList", _READING, [*_PAGED, *sought])
        },
        "/admin/v1/generations/{id}": {
            "get": _get("retrieveGeneration", "A generation.", "Generation", _ADMIN | _NAMED, [_DRAWN])
        },
        "/admin/v1/generations/{id}/settle": {
            "post": _write(
                "settleGeneration", "Say what an unknown one cost.", "Generation", _REFUSED, [_DRAWN], body="Settlement"
            )
        },
        "/admin/v1/usage": {"get": _usage()},
        "/admin/v1/reload": {
            "post": _write("reload", "Read settings and files anew.", "Reload", _WRITING | {Kind.CONFLICT})
        },
        "/admin/v1/upstream-keys": {
            "get": _get("listUpstreamKeys", "The keys of 302.AI and their state.", "UpstreamKeyList", _READING)
        },
    }


def _usage() -> Json:
    groups, days = ",".join(GROUPS), {"type": "string", "format": "date"}
    parameters = [
        _parameter("by", "query", _TEXT, f"Columns to group by, with commas; absent, {groups}."),
        *(_parameter(name, "query", _TEXT, f"Only of this {name}.") for name in GROUPS[1:]),
        *(_parameter(name, "query", days, f"Only days {word} this.") for name, word in _TIMES.items()),
        _parameter("format", "query", {"enum": list(FORMATS)}, "Absent, json."),
    ]
    told = _get("getUsage", "What was used: all rows in one page.", "UsageList", _READING, parameters)
    told["responses"]["200"]["content"]["text/csv"] = {"schema": _TEXT}
    return told


def admin_schemas() -> dict[str, Json]:
    """The component schemas by name."""
    terms = _terms()
    team = {"object": {"const": "team"}, "name": _NAME, **terms, **_OF_ROW, "budgets": ref("Budgets")}
    key = {
        "object": {"const": "key"},
        "id": {"type": "string", "pattern": "^key_[0-9A-Za-z]{22}$"},
        "team": _NAME,
        "name": _NAME,
        "last_four": {**_TEXT, "description": "Of the secret."},
        **terms,
        "revoked": _or_null(_TIME),
        "old_secret_until": {**_or_null(_TIME), "description": "Until when the secret before the rotation is good."},
        **_OF_ROW,
        "budgets": ref("Budgets"),
    }
    secret = {"secret": {"type": "string", "pattern": "^gw_live_[0-9A-Za-z]{36}$", "description": "Told this once."}}
    return {
        "Terms": {"type": "object", "properties": _asked(terms)},
        "NewTeam": {"type": "object", "properties": {"name": _NAME, **_asked(terms)}, "required": ["name"]},
        "KeyTerms": {"type": "object", "properties": {"name": _NAME, **_asked(terms)}},
        "Rotation": {
            "type": "object",
            "properties": {"overlap": {"type": "integer", "minimum": 0, "maximum": MOST_OVERLAP}},
        },
        "Settlement": _record({"cost": {"type": ["number", "string"], "minimum": 0, "description": _COST}}),
        "Team": _record(team),
        "Key": _record(key),
        "NewKey": _record({**key, **secret}),
        "Budgets": _record({"day": ref("Budget"), "month": ref("Budget")}),
        "Budget": _record(
            {"period": _TEXT, "budget": _or_null(_USD), "spent": _USD, "held": _USD, "remaining": _or_null(_USD)}
        ),
        "Change": _record(_CHANGE),
        "Generation": _record(_GENERATION),
        "UpstreamKey": {"type": "object", "additionalProperties": True},
        **{f"{name}List": _list(name) for name in ("Team", "Key", "Change", "Generation", "UpstreamKey")},
        **_answers(),
    }


_OF_ROW: Final = {"source": {"enum": ["admin", "file"]}, "created": _TIME}
_CHANGE: Final = {
    "object": {"const": "audit.change"},
    "id": {"type": "integer"},
    "at": _TIME,
    **dict.fromkeys(("actor", "action", "target"), _TEXT),
    **{name: {"type": ["object", "null"], "additionalProperties": True} for name in ("before", "after")},
}
_GENERATION: Final = {
    "object": {"const": "generation"},
    **dict.fromkeys(("id", "team", "key", "model", "state", "fingerprint"), _TEXT),
    **{name: {"type": ["string", "null"]} for name in ("upstream_key", "request_id", "error_code")},
    "reserved": _USD,
    "actual": {"type": ["number", "null"], "minimum": 0},
    "created": _TIME,
    **{name: {"type": ["string", "null"], "format": "date-time"} for name in ("sent", "finished")},
}


def _answers() -> dict[str, Json]:
    return {
        "UsedSum": _used_sum(),
        "UsageList": _list("UsedSum"),
        "Reload": _record(
            {
                "object": {"const": "reload"},
                "changed": {"type": "array", "items": _TEXT, "description": "Settings."},
                "restart_needed": {"type": "array", "items": _TEXT, "description": "Those that need a restart."},
            }
        ),
    }


def _used_sum() -> Json:
    words = {
        "cost": "USD paid.",
        "saved": "USD that cache and joining spared.",
        "images": "Pictures that were paid for.",
    }
    counters = {
        name: {"type": "number" if name in {"cost", "saved"} else "integer", "description": words.get(name, "")}
        for name in COUNTERS
    }
    return {
        "type": "object",
        "properties": {**dict.fromkeys(GROUPS, _TEXT), **counters},
        "required": list(COUNTERS),
        "description": "The columns that were asked for, and their sums.",
    }


def _terms() -> dict[str, Json]:
    """As they are answered."""
    return {
        "models": {"type": "array", "items": _TEXT, "description": "Ids or globs; none allows every model."},
        "rpm": {**_COUNT, "description": "Requests a minute; null for no limit."},
        "ipm": {**_COUNT, "description": "Images a minute."},
        "concurrency": {**_COUNT, "description": "Requests at once that wait for 302.AI."},
        "budget_day": {**_or_null(_USD), "description": "USD a day of UTC."},
        "budget_month": {**_or_null(_USD), "description": "USD a month of UTC."},
        "expires": _or_null(_TIME),
        "coercion": {"enum": [*(policy.value for policy in Policy), None]},
        "disabled": {"type": "boolean"},
    }


def _asked(terms: dict[str, Json]) -> dict[str, Json]:
    """As they are taken: null takes a term back, money may be text, a time seconds since 1970."""
    wider: dict[str, Json] = {
        "models": {"type": ["array", "null"], "maxItems": 100},
        "budget_day": {"type": ["number", "string", "null"]},
        "budget_month": {"type": ["number", "string", "null"]},
        "expires": {"type": ["string", "number", "null"]},
        "disabled": {"type": ["boolean", "null"]},
    }
    return {name: {**schema, **wider.get(name, {})} for name, schema in terms.items()}


def _get(name: str, summary: str, schema: str, kinds: Iterable[Kind], parameters: Iterable[Json] = ()) -> Json:
    return _operation(name, summary, {"200": schema}, kinds, parameters)


def _write(
    name: str,
    summary: str,
    schema: str,
    kinds: Iterable[Kind],
    parameters: Iterable[Json] = (),
    *,
    body: str | None = None,
    status: str = "200",
) -> Json:
    operation = _operation(name, summary, {status: schema}, kinds, parameters)
    if body is None:
        return operation
    required = body in {"NewTeam", "Settlement"}
    return operation | {"requestBody": {"required": required, "content": {"application/json": {"schema": ref(body)}}}}


def _operation(
    name: str, summary: str, done: dict[str, str], kinds: Iterable[Kind], parameters: Iterable[Json]
) -> Json:
    told = {status: answer(summary, {"application/json": ref(schema)}, _NO_STORE) for status, schema in done.items()}
    head: Json = {"operationId": name, "tags": ["administration"], "summary": summary, "security": [{"admin": []}]}
    if parameters := list(parameters):
        head["parameters"] = parameters
    return {**head, "responses": dict(sorted({**told, **errors(kinds, _NO_STORE)}.items()))}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


def _record(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(name: str) -> Json:
    next_ = {"type": ["string", "null"], "description": "What to ask `after` for more."}
    data = {"type": "array", "items": ref(name)}
    return _record({"object": {"const": "list"}, "data": data, "has_more": {"type": "boolean"}, "next": next_})
