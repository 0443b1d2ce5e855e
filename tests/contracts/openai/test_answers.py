"""Every answer is one that OpenAI's published specification, and the newer types of OpenAI's SDK, allow."""

from base64 import b64decode
from functools import cache
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from openai.types import ImageEditCompletedEvent, ImageGenCompletedEvent, ImagesResponse, Model
from openai.types.shared import ErrorObject
from pydantic import BaseModel

from gateway.core.picture import media_type
from gateway.core.request import Body
from tests.contracts.openai.asking import EDITS, GENERATIONS, MODEL, MODELS, VARIATIONS, Exchange, exchanges
from tests.contracts.openai.published import REQUESTS, info, schemas, validator

EVENTS: Final = "text/event-stream"
EVENT: Final = {
    GENERATIONS: ("ImageGenStreamEvent", "image_generation.completed", ImageGenCompletedEvent),
    EDITS: ("ImageEditStreamEvent", "image_edit.completed", ImageEditCompletedEvent),
    VARIATIONS: ("ImageEditStreamEvent", "image_edit.completed", ImageEditCompletedEvent),
}
# What OpenAI's requests may say that says nothing of the picture, or is a file of another name in our struct.
PASSED_BY: Final = {"user", "images", "mask"}


@cache
def newest(type_: type[BaseModel]) -> Draft202012Validator:
    return Draft202012Validator(type_.model_json_schema())


def faults(judge: Draft202012Validator, value: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in judge.iter_errors(value)]


def answered(*paths: str) -> list[Exchange]:
    return [one for one in exchanges() if one.path in paths and one.status == 200 and one.method != "HEAD"]


def drawn() -> list[Exchange]:
    """The answers with pictures; one that was kept alive may be an error nonetheless."""
    some = [one for one in answered(GENERATIONS, EDITS, VARIATIONS) if one.media_type != EVENTS]
    return [one for one in some if "error" not in one.body]


def failed() -> list[Exchange]:
    """The answers that are errors, those that were kept alive among them."""
    some = [one for one in exchanges() if one.media_type == "application/json" and one.content]
    return [one for one in some if one.status >= 400 or "error" in one.body]


def streamed(path: str) -> list[tuple[str, dict[str, Any]]]:
    return [event for one in answered(path) if one.media_type == EVENTS for event in one.events]


def test_the_specification_is_openais() -> None:
    assert (info()["title"], info()["license"]["name"]) == ("OpenAI API", "MIT")


def test_every_answer_is_of_the_status_that_was_expected() -> None:
    assert [(one.name, one.status, one.expected) for one in exchanges() if one.status != one.expected] == []


def test_pictures_are_an_images_response() -> None:
    assert len(drawn()) > 25
    for one in drawn():
        assert faults(validator("ImagesResponse"), one.body) == [], one.name
        assert faults(newest(ImagesResponse), one.body) == [], one.name


def test_base64_is_of_pictures() -> None:
    given = [image["b64_json"] for one in drawn() for image in one.body["data"] if "b64_json" in image]
    given += [data["b64_json"] for path in EVENT for name, data in streamed(path) if name != "error"]

    assert len(given) > 10
    assert {media_type(b64decode(text, validate=True)) for text in given} == {"image/png"}


def test_ids_of_gpt_image_have_usage_and_others_have_none() -> None:
    named = [one for one in drawn() if one.asked is not None]

    assert {one.name for one in named if "usage" in one.body} == {
        one.name for one in named if str((one.asked or {}).get("model")).startswith("gpt-image")
    }


@pytest.mark.parametrize("path", EVENT)
def test_streams_are_completed_events(path: str) -> None:
    schema, expected, type_ = EVENT[path]

    events = [(name, data) for name, data in streamed(path) if name != "error"]

    assert events
    for name, data in events:
        assert (name, data["type"]) == (expected, expected)
        assert faults(validator(schema), data) == []
        assert faults(newest(type_), data) == []


def test_an_error_in_a_stream_is_an_error_object() -> None:
    errors = [data for path in EVENT for name, data in streamed(path) if name == "error"]

    assert errors
    for data in errors:
        assert faults(validator("Error"), data["error"]) == []
        assert faults(newest(ErrorObject), data["error"]) == []


def test_no_event_but_an_error_has_the_key_error() -> None:
    """Go's SDK takes its mere presence for a failure."""
    assert not any("error" in data for path in EVENT for name, data in streamed(path) if name != "error")


def test_models_are_a_list_of_models() -> None:
    (listed,) = answered(MODELS)
    single = answered(MODEL)

    assert faults(validator("ListModelsResponse"), listed.body) == []
    assert single
    for model in [*listed.body["data"], *(one.body for one in single)]:
        assert faults(validator("Model"), model) == []
        assert faults(newest(Model), model) == []


def test_errors_are_error_responses() -> None:
    codes = {one.body["error"]["code"] for one in failed()}

    assert len(codes) >= 15
    for one in failed():
        assert faults(validator("ErrorResponse"), one.body) == [], one.name
        assert faults(newest(ErrorObject), one.body["error"]) == [], one.name


@pytest.mark.parametrize("name", REQUESTS)
def test_every_field_of_openais_requests_is_known_or_passed_by_on_purpose(name: str) -> None:
    assert set(schemas()[name]["properties"]) - set(Body.__struct_fields__) <= PASSED_BY


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ImagesResponse", {"data": []}),
        ("ImagesResponse", {"created": 1, "size": "1x1"}),
        ("ImageGenStreamEvent", {"type": "image_generation.completed"}),
        ("Model", {"id": "x", "object": "model"}),
        ("ErrorResponse", {"error": "text"}),
        ("ErrorResponse", {"error": {"message": "x", "type": "x", "code": None}}),
    ],
)
def test_the_specification_refuses_what_is_wrong(schema: str, value: object) -> None:
    assert faults(validator(schema), value)
