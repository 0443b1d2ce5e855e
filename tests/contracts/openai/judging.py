"""What judges answers by our own `/openapi.json`: strictly, for nothing is to be served unsaid."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, cast

import pytest
from jsonschema import Draft202012Validator

from gateway.web.openapi import document
from tests.contracts.openai.asking import Exchange

Json = dict[str, Any]

IDS: Final = ("dall-e-3-t2i", "stable-sd3-t2i")
DOCUMENT: Final = document("1.2.3", IDS)
SCHEMAS: Final[dict[str, Json]] = DOCUMENT["components"]["schemas"]
OPERATIONS: Final = [
    pytest.param(path, method, id=f"{method} {path}") for path, item in DOCUMENT["paths"].items() for method in item
]
# What the server itself writes, and the type of the body, which the document says elsewhere.
NOT_OURS: Final = {"date", "server", "connection", "content-length", "content-type", "transfer-encoding"}
# What is added to every answer, whatever it is.
OF_THE_FRONT: Final = {
    "x-request-id": f"req_{'0' * 32}",
    "openai-processing-ms": "1",
    "openai-version": "2020-10-01",
    "x-content-type-options": "nosniff",
}
EVENTS: Final = "text/event-stream"
ERROR: Final = {"$ref": "#/components/schemas/ErrorResponse"}


def operation(path: str, method: str) -> Json:
    """What the document says of a request; HEAD is the same as GET where it is not said apart."""
    item: Json = DOCUMENT["paths"][path]
    return cast("Json", item[method.lower()] if method.lower() in item else item["get"])


def strict(node: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """The same schema, in which an object has no property that is not named: so nothing is served unsaid."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: strict(value) for key, value in node.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


# What the references in a schema lead to: as written, and with nothing left unsaid.
COMPONENTS: Final = {False: {"schemas": SCHEMAS}, True: {"schemas": strict(deepcopy(SCHEMAS))}}


def faults(schema: Json, value: object, *, closed: bool = True) -> list[str]:
    """What is wrong with a value; unless `closed` is False, what a schema does not name is."""
    judge = Draft202012Validator({**schema, "components": COMPONENTS[closed]})
    return [f"{error.json_path}: {error.message[:300]}" for error in judge.iter_errors(value)]


def codes(schema: Json) -> set[str]:
    """The codes of errors that an answer may have."""
    narrowed = schema.get("allOf", [])[1:]
    return {code for part in narrowed for code in part["properties"]["error"]["properties"]["code"]["enum"]}


def header_faults(reply: Json, headers: Mapping[str, str]) -> list[str]:
    """What is wrong with the headers of an answer."""
    said = {name: DOCUMENT["components"]["headers"][name] for name in reply["headers"]}
    assert all(value == {"$ref": f"#/components/headers/{name}"} for name, value in reply["headers"].items())
    found = [f"{name} is not in the document" for name in headers.keys() - said.keys() - NOT_OURS]
    found += [f"{name} is missing" for name, header in said.items() if header["required"] and name not in headers]
    for name in said.keys() & headers.keys():
        schema, value = said[name]["schema"], headers[name]
        whole = schema.get("type") == "integer" and re.fullmatch("[0-9]+", value)
        found += [f"{name}: {fault}" for fault in faults(schema, int(value) if whole else value)]
    return found


def body_faults(one: Exchange, reply: Json) -> list[str]:
    """What is wrong with the body of an answer."""
    if one.method == "HEAD" or "content" not in reply:
        return [f"a body of {len(one.content)} bytes"] if one.content else []
    if one.media_type not in reply["content"]:
        return [f"{one.media_type} is not in the document"]
    schema = reply["content"][one.media_type].get("schema", {})
    if one.media_type == EVENTS:
        return [fault for _, data in one.events for fault in faults(schema, data)]
    if one.media_type != "application/json":
        return []
    if (
        "error" in one.body and one.status == 200 and "object" not in one.body
    ):  # it was kept alive, as the document's description says
        schema = ERROR
    return faults(schema, one.body)
