"""`/openapi.json` is what is served: it is held to the routes, the structs, the kinds of errors and real answers."""

import contextlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final, cast

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Route

from gateway import __version__
from gateway.core.edits import _EditBody
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import Body, parse
from gateway.web import openapi_schemas
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.middleware import Dispatch, Front
from gateway.web.openapi import document
from gateway.web.places import WebOptions
from gateway.web.render import error_reply
from gateway.web.routes import Site, admin_routes, build, media_route
from tests.contracts.openai.asking import exchanges
from tests.contracts.openai.judging import (
    DOCUMENT,
    ERROR,
    IDS,
    OF_THE_FRONT,
    OPERATIONS,
    SCHEMAS,
    body_faults,
    codes,
    faults,
    header_faults,
    operation,
)

Json = dict[str, Any]

# What is answered to a path or method that the document does not have.
UNLISTED: Final = {"unknown_url", "method_not_allowed"}


def test_it_is_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", "1.2.3")


def test_it_is_openapi_without_models_to_suggest() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document("1", ())).iter_errors()] == []


def test_every_schema_and_header_is_of_use() -> None:
    text = orjson.dumps(DOCUMENT).decode()

    for group in ("schemas", "headers"):
        for name in DOCUMENT["components"][group]:
            assert f'"#/components/{group}/{name}"' in text, name


def test_operations_have_names_of_their_own() -> None:
    names = [operation(*param.values)["operationId"] for param in OPERATIONS]  # type: ignore[arg-type]

    assert len(set(names)) == len(names)


def test_every_route_is_in_the_document_and_the_reverse() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield

    nothing = cast("Any", None)
    endpoints = Endpoints(nothing, nothing, nothing, bytes, WebOptions(1, 1), nothing)
    admin = admin_routes(Admin("", nothing, nothing, nothing, nothing, nothing))
    front = build(Site(endpoints, nothing, nothing, lifespan, more=(media_route(nothing), *admin)))
    dispatch = cast("Dispatch", cast("Front", front)._app)
    routes = [route for route in cast("Starlette", dispatch._rest).routes if isinstance(route, Route)]

    served = {(route.path.replace(":path", ""), method) for route in routes for method in route.methods or ()}
    served |= {(path, method) for method, path in dispatch._hot}
    written = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}

    assert {(path, method) for path, method in served if method not in {"OPTIONS", "HEAD"}} == {
        (path, method) for path, method in written if method != "HEAD"
    }
    assert {(path, method) for path, method in written if method == "HEAD"} <= served
    assert {path for path, method in served if method == "OPTIONS"} == set(DOCUMENT["paths"])


def test_it_is_what_the_gateway_serves() -> None:
    (one,) = (one for one in exchanges() if (one.path, one.method, one.expected) == ("/openapi.json", "GET", 200))
    suggested = one.body["components"]["schemas"]["ImageRequest"]["properties"]["model"].get("examples", [])

    assert one.body == document(__version__, suggested)
    assert not suggested or set(IDS) <= set(suggested)


@pytest.mark.parametrize("name", ["ImageRequest", "ImageEditRequest", "ImageEditForm", "ImageVariationForm"])
def test_every_field_that_is_read_is_in_the_document(name: str) -> None:
    fields = set(SCHEMAS[name]["properties"])

    if name == "ImageRequest":
        assert fields == set(Body.__struct_fields__)
    elif name == "ImageEditRequest":
        assert fields == set(_EditBody.__struct_fields__)
    else:
        assert fields == {*Body.__struct_fields__, "mask"}


def test_what_is_said_of_fields_is_said_of_fields_that_are_read() -> None:
    assert set(openapi_schemas._FIELDS) == set(Body.__struct_fields__)
    assert all("description" in field for field in SCHEMAS["ImageRequest"]["properties"].values())


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, True),
        ({"prompt": ""}, False),
        ({"prompt": " \n"}, False),
        ({"prompt": None}, False),
        ({"prompt": 1}, False),
        ({"prompt": "x" * 32_000}, True),
        ({"prompt": "x" * 32_001}, False),
        ({"model": None, "n": None, "size": None, "seed": None, "image": None, "stream": None}, True),
        ({"model": 1}, False),
        ({"n": 10}, True),
        ({"n": 0}, False),
        ({"n": 11}, False),
        ({"n": "1"}, False),
        ({"n": 1.5}, False),
        ({"batch_size": 11}, False),
        ({"size": "1024x1024"}, True),
        ({"size": " 1024*768 "}, True),
        ({"size": "16:9"}, True),
        ({"size": "AUTO"}, True),
        ({"size": ""}, True),
        ({"size": 0}, True),
        ({"size": False}, False),
        ({"size": "big"}, False),
        ({"size": "0x10"}, False),
        ({"size": "100000x10"}, False),
        ({"size": 1024}, False),
        ({"image_size": {}}, False),
        ({"aspect_ratio": "7/3"}, False),
        ({"width": 512, "height": 512}, True),
        ({"width": "", "height": 0}, True),
        ({"width": -1, "height": 1}, False),
        ({"width": 100_000, "height": 1}, False),
        ({"width": "512", "height": 512}, False),
        ({"image": ["https://example.com/a.png"]}, True),
        ({"image": ["https://example.com/a.png"] * 2}, False),
        ({"image": 1}, False),
        ({"seed": 2**63}, False),
        ({"seed": -(2**63)}, True),
        ({"response_format": "url"}, True),
        ({"response_format": ""}, True),
        ({"response_format": None}, True),
        ({"response_format": "png"}, False),
        ({"output_format": "x" * 201}, False),
        ({"negative_prompt": "x" * 32_001}, False),
        ({"stream": "true"}, False),
        ({"quality": {"any": ["thing"]}, "svg": 1, "user": "u", "unknown": None}, True),
    ],
)
def test_the_document_takes_and_refuses_what_the_gateway_does(fields: Json, taken: bool) -> None:
    body = {"prompt": "x", **fields}

    try:
        parse(orjson.dumps(body))
        read = True
    except GatewayError:
        read = False

    assert (read, faults(SCHEMAS["ImageRequest"], body, closed=False) == []) == (taken, taken)


def test_every_kind_of_error_is_in_the_document() -> None:
    by_status: dict[int, set[str]] = {}
    for param in OPERATIONS:
        for status, reply in operation(*param.values)["responses"].items():  # type: ignore[arg-type]
            for media in reply.get("content", {}).values():
                by_status.setdefault(int(status), set()).update(codes(media.get("schema", {})))

    assert SCHEMAS["Error"]["properties"]["code"]["enum"] == [kind.row.code for kind in Kind]
    assert SCHEMAS["Error"]["properties"]["type"]["enum"] == sorted({kind.row.type for kind in Kind})
    for kind in Kind:
        assert kind.row.code in by_status.get(kind.row.status, set()) | UNLISTED


@pytest.mark.parametrize("kind", Kind)
def test_an_error_is_answered_as_the_document_says(kind: Kind) -> None:
    """So that it holds for the kinds that no test can bring about in the real programs."""
    reply = error_reply(GatewayError(kind, "Why.", param="n", retry_after=2.5 if kind.row.retry else None))
    assert not isinstance(reply.pieces, AsyncIterable)
    body = orjson.loads(b"".join(reply.pieces))
    headers = {name.decode(): value.decode() for name, value in reply.headers} | OF_THE_FRONT

    assert faults(ERROR, body) == []
    for param in OPERATIONS:
        said = operation(*param.values)["responses"].get(str(kind.row.status))  # type: ignore[arg-type]
        if said is None or "content" not in said or "application/json" not in said["content"]:
            continue
        schema = said["content"]["application/json"]["schema"]
        if kind.row.code in codes(schema):
            assert (faults(schema, body), header_faults(said, headers)) == ([], []), param.id
        else:
            assert faults(schema, body) != [], param.id


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_real_answers_are_as_the_document_says(path: str, method: str) -> None:
    found = []
    seen = [one for one in exchanges() if one.path == path and one.method.lower() == method]
    assert seen
    for one in seen:
        reply = operation(path, method)["responses"].get(str(one.status))
        if reply is None:
            found.append(f"{one.name}: {one.status} is not in the document")
            continue
        found += [f"{one.name}: {fault}" for fault in header_faults(reply, one.headers)]
        found += [f"{one.name}: {fault}" for fault in body_faults(one, reply)]

    assert found == []


def test_head_is_answered_as_get_is() -> None:
    seen = [one for one in exchanges() if one.path and one.method == "HEAD" and one.status == 200]

    assert len(seen) >= 8
    for one in seen:
        reply = operation(one.path, "HEAD")["responses"]["200"]
        assert (header_faults(reply, one.headers), body_faults(one, reply)) == ([], []), one.name


def test_what_is_not_in_the_document_is_told_so() -> None:
    """OPTIONS is answered with the methods; other paths and methods are errors of the two kinds that no path has."""
    for one in (one for one in exchanges() if not one.path):
        if one.method == "OPTIONS":
            assert (one.status, "allow" in one.headers, one.content) == (204, True, b""), one.name
        else:
            assert faults(ERROR, one.body) == []
            assert one.body["error"]["code"] in UNLISTED


def test_the_document_takes_the_requests_that_were_served() -> None:
    asked = [one for one in exchanges() if one.path and one.asked is not None and one.status == one.expected == 200]

    assert len(asked) > 20
    for one in asked:
        schema = operation(one.path, one.method)["requestBody"]["content"]["application/json"]["schema"]
        assert faults(schema, one.asked, closed=False) == [], one.name


def test_only_what_tells_nothing_of_anybody_needs_no_key() -> None:
    opened = {path for path, item in DOCUMENT["paths"].items() if item.get("get", {}).get("security") == []}

    assert opened == {"/v1/media/{name}", "/livez", "/readyz", "/metrics", "/openapi.json", "/"}
