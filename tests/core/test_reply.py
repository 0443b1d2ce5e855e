"""What each answer of 302 means: the address of a picture, or an error in our own words."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply, read_answer

URL, OTHER = "https://file.302.ai/gpt/imgs/20260901/cat.png", "https://vendor.example/dog.png"
SECRET = "sk-302-secret"

INVALID, UNKNOWN, TIMEOUT = Kind.UPSTREAM_INVALID_REQUEST, Kind.UPSTREAM_UNKNOWN, Kind.UPSTREAM_TIMEOUT
KEY, BALANCE, BUSY = Kind.UPSTREAM_CREDENTIALS, Kind.UPSTREAM_BALANCE, Kind.UPSTREAM_RATE_LIMITED
NO_CHANNEL, MODERATED = Kind.UPSTREAM_MODEL_UNAVAILABLE, Kind.CONTENT_POLICY

ERR_CODES = {
    -10001: KEY,
    -10002: KEY,
    -10003: UNKNOWN,
    -10004: BALANCE,
    -10005: KEY,
    -10006: BALANCE,
    -10007: BALANCE,
    -10008: NO_CHANNEL,
    -10009: INVALID,
    -10010: INVALID,
    -10011: INVALID,
    -10012: BALANCE,
    -10013: KEY,
    -10014: KEY,
    -10015: INVALID,
    -10016: INVALID,
    -10017: INVALID,
    -10018: BALANCE,
    -1024: TIMEOUT,
    -10504: TIMEOUT,
}


def failure(status: int, answer: object, retry_after: str | None = None) -> GatewayError:
    body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
    with pytest.raises(GatewayError) as raised:
        read_answer(Reply(status, body, retry_after))
    return raised.value


ANSWERS: dict[str, dict[str, Any]] = {
    "302's own field": {"image_url": URL, "data": {"images": [{"url": OTHER}]}},
    "302's own list": {"image_urls": [URL, OTHER]},
    "an empty own field": {"image_url": "", "image_urls": [], "data": {"output": URL}},
    "302 hosted, as a task": {"data": {"id": "1", "status": "succeeded", "error": "", "output": f'["{URL}"]'}},
    "302 hosted, as fal": {"data": {"images": [{"url": URL, "width": 1}], "has_nsfw_concepts": [False], "seed": 1}},
    "OpenAI, CogView, Baidu": {"data": {"created": 1, "data": [{"url": URL, "b64_json": None}]}},
    "Ideogram": {"data": {"created": "now", "data": [{"is_image_safe": True, "url": URL}]}},
    "Recraft, Luma": {"data": {"images": [{"url": URL}]}},
    "Imagen": {"data": {"output": URL}},
    "Doubao": {"data": {"code": 10000, "status": 10000, "details": "", "data": {"image_urls": [URL]}}},
    "MiniMax": {"data": {"data": {"image_urls": [URL]}, "base_resp": {"status_code": 0, "status_msg": "success"}}},
    "Flux": {"data": {"id": "1", "status": "Ready", "result": {"sample": URL, "seed": 1}}},
    "MiniMax, in words": {"data": {"data": {"image_urls": [URL]}, "base_resp": {"status_code": "0"}}},
    "302's own field, below data": {"data": {"image_url": URL}},
    "302's own list, below data": {"data": {"image_urls": [URL]}},
    "an unusable address first": {"image_url": "file:///cat.png", "image_urls": ["", URL]},
    "beside an odd status": {"image_url": URL, "status": ["failed"], "data": {"status": {"failed": True}}},
    "beside no errors": {"image_url": URL, "error": "", "code": 0, "err_code": 0, "status": "succeeded", "data": None},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_picture_is_found_in_every_shape(answer: dict[str, Any]) -> None:
    assert read_answer(Reply(200, orjson.dumps(answer))) == URL


@pytest.mark.parametrize("fine", [0, 200, 10000, "0", "200", "10000"], ids=repr)
def test_a_vendors_code_of_success_is_no_failure(fine: object) -> None:
    assert read_answer(Reply(200, orjson.dumps({"image_url": URL, "data": {"code": fine}}))) == URL


@pytest.mark.parametrize("status", [200, 401, 429, 503])
@pytest.mark.parametrize(("code", "kind"), ERR_CODES.items())
def test_err_code_decides_before_the_status(code: int, kind: Kind, status: int) -> None:
    error = failure(status, {"error": {"err_code": code, "message": SECRET, "message_cn": SECRET, "type": "api_error"}})

    assert error.kind is kind
    assert f"err_code {code}" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"err_code": -10004}},
        {"error": {"err_code": "-10004"}},
        {"err_code": -10004},
        {"status": 1, "message": "no", "data": {"state": "FAILURE", "progress": 0, "error": {"err_code": -10004}}},
        {"image_url": URL, "error": {"err_code": -10004}},
    ],
    ids=str,
)
def test_err_code_is_found_where_302_puts_it(answer: object) -> None:
    assert failure(200, answer).kind is BALANCE


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("InvalidParameter", INVALID),
        ("MissingParameter", INVALID),
        ("Unauthorized", KEY),
        ("RateLimitExceeded", BUSY),
        ("InsufficientBalance", BALANCE),
        ("InternalError", UNKNOWN),
    ],
)
def test_a_code_in_words_decides_before_the_status(word: str, kind: Kind) -> None:
    assert failure(500, {"code": word, "message": SECRET, "request_id": "1"}).kind is kind


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>Bad gateway</html>", b"\xff", b'{"error": {'])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, INVALID) for status in (400, 404, 405, 413, 415, 422)),
        *((status, KEY) for status in (401, 403)),
        *((status, UNKNOWN) for status in (200, 204, 301, 304, 408, 418, 500, 502, 503, 520)),
        (402, BALANCE),
        (429, BUSY),
        (504, TIMEOUT),
    ],
)
def test_the_status_decides_where_the_body_says_nothing(status: int, kind: Kind, body: bytes) -> None:
    assert failure(status, body).kind is kind


def test_an_address_under_a_bad_status_is_no_picture() -> None:
    assert failure(500, {"image_url": URL}).kind is UNKNOWN


FAILURES: dict[str, dict[str, Any]] = {
    "an error in words": {"error": "it broke"},
    "an error as an object": {"error": {"message": "it broke"}},
    "an unknown err_code": {"error": {"err_code": -10600, "message": "it broke"}},
    "a failed task on top": {"status": "failed"},
    "a failed task": {"data": {"status": "failed", "output": f'["{URL}"]'}},
    "a task in error": {"data": {"status": "error"}},
    "a task with an error": {"data": {"status": "succeeded", "error": "it broke"}},
    "Doubao's code": {"data": {"code": 50411, "details": "it broke"}},
    "Doubao's status": {"data": {"code": 10000, "status": 50411}},
    "MiniMax's code": {"data": {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}},
    "a code of the dashboard": {"image_url": "", "code": -1, "msg": "it broke"},
    "an odd status on top": {"image_url": "", "status": ["failed"]},
    "an odd status": {"image_url": "", "data": {"status": {"failed": True}}},
    "odd codes": {"data": {"code": [], "base_resp": {"status_code": {}}}},
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
def test_a_failure_inside_a_200_may_have_been_billed(answer: dict[str, Any]) -> None:
    error = failure(200, {"image_url": URL} | answer)

    assert error.kind is UNKNOWN
    assert "may have been billed" in error.message


@pytest.mark.parametrize(
    "url", ["", "cat.png", "//file.302.ai/cat.png", "file:///cat.png", "https://a b/cat.png", 7, None]
)
def test_a_200_without_a_usable_address_may_have_been_billed(url: object) -> None:
    assert failure(200, {"image_url": url, "image_urls": [url], "data": {"output": url}}).kind is UNKNOWN


MODERATIONS: dict[str, dict[str, Any]] = {
    "fal's mark": {"image_url": URL, "data": {"has_nsfw_concepts": [False, True]}},
    "Ideogram's mark": {"image_url": URL, "data": {"data": [{"is_image_safe": False, "url": URL}]}},
    "error.message": {"error": {"message": "Blocked by content moderation"}},
    "error.detail": {"error": {"detail": "violates our content policy"}},
    "error": {"error": "NSFW content detected"},
    "message": {"message": "the prompt is sensitive", "error": True},
    "msg": {"msg": "内容违规", "error": True},
    "detail": {"detail": "inappropriate prompt"},
    "data.error": {"data": {"status": "failed", "error": "safety system"}},
    "data.error.message": {"data": {"state": "FAILURE", "error": {"err_code": -10011, "message": "moderation"}}},
    "data.message": {"data": {"status": "failed", "message": "prohibited content"}},
    "data.msg": {"data": {"status": "failed", "msg": "敏感词"}},
    "err": {"err": "审核不通过"},
    "MiniMax": {"data": {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}},
    "Doubao": {"data": {"code": 50411, "details": "Pre Img Risk Not Pass: prohibited"}},
    "with 302's own code": {"error": {"err_code": -10011, "message": "prompt was moderated"}},
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("answer", MODERATIONS.values(), ids=MODERATIONS)
def test_moderation_is_recognised_wherever_it_is_told(answer: dict[str, Any], status: int) -> None:
    assert failure(status, answer).kind is MODERATED


@pytest.mark.parametrize("code", [-10001, -10004, -10008])
def test_what_was_surely_not_billed_is_no_moderation(code: int) -> None:
    assert failure(400, {"error": {"err_code": code, "message": "moderation"}}).kind is ERR_CODES[code]


def test_no_channel_for_a_model_we_do_not_know_means_that_there_is_none() -> None:
    with pytest.raises(GatewayError) as unknown:
        read_answer(Reply(503, b'{"error": {"err_code": -10008}}'), known_model=False)

    assert (unknown.value.kind, unknown.value.param) == (Kind.MODEL_NOT_FOUND, "model")
    assert failure(503, {"error": {"err_code": -10008}}).retry_after == 10


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 1.0),
        ("61", 60.0),
        ("999999999", 60.0),
        (None, 10.0),
        ("", 10.0),
        ("-1", 10.0),
        ("1e5", 10.0),
        ("NaN", 10.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 10.0),
    ],
)
def test_the_wait_302_asks_for_is_passed_on_within_a_minute(header: str | None, wait: float) -> None:
    assert failure(429, b"", header).retry_after == wait


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 429, 500, 503])
@pytest.mark.parametrize("words", [SECRET, f"moderation refused {SECRET}"])
def test_302s_words_never_reach_the_caller(words: str, status: int) -> None:
    places = [
        {"error": words},
        {"error": {"message": words, "detail": words, "err_code": words}},
        {"error": {"message": words, "err_code": -10001}},
        {"message": words, "msg": words, "detail": words, "err": words, "request_id": words},
        {"code": words, "err_code": words, "status": words},
        {"data": {"error": words, "message": words, "details": words, "status": words, "code": words}},
        {"data": {"base_resp": {"status_code": words, "status_msg": words}}},
        {"image_url": f"{words} https://"},
    ]
    for answer in places:
        error = failure(status, answer)

        assert SECRET not in f"{error.message} {error.param}"


KEYS = [
    *("image_url", "image_urls", "data", "images", "output", "url"),
    *("error", "err_code", "message", "status", "code", "base_resp", "status_code"),
]
LEAVES = st.none() | st.booleans() | st.integers(-11_000, 11_000) | st.floats() | st.sampled_from(["failed", "[", URL])
anything = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)


@given(answer=anything, status=st.sampled_from([200, 400, 503]))
def test_whatever_302_answers_is_a_picture_or_an_error(answer: object, status: int) -> None:
    try:
        found = read_answer(Reply(status, orjson.dumps(answer)))
    except GatewayError as error:
        found = error.kind.name

    assert found == URL or found in {kind.name for kind in (*ERR_CODES.values(), INVALID, MODERATED)}


@pytest.mark.parametrize("body", [b"[" * 300_000, b'{"data":' * 300_000, b'{"image_url": "' + b"[" * 300_000 + b'"}'])
def test_a_deep_answer_is_no_answer(body: bytes) -> None:
    assert failure(200, body).kind is UNKNOWN
