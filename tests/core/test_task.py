"""What V2's answers mean: a task, its state, its picture, and whose bill it is."""

from typing import Any

import orjson
import pytest

from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply
from gateway.core.task import Submitted, billed_as, is_id, read_submitted, read_task

Answer = dict[str, Any] | str

URL, OTHER = "https://file.302.ai/gpt/imgs/20260901/cat.png", "https://vendor.example/dog.png"
TASK = "568911aa-83d1-4c5b-9a54-0c3f7f6f2f11"


def reply(answer: Answer, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(answer), request_id="r-1")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        pytest.param({"task_id": TASK, "status": "pending"}, Submitted(TASK, "", "r-1"), id="pending"),
        pytest.param({"task_id": TASK, "status": "processing"}, Submitted(TASK, "", "r-1"), id="processing"),
        pytest.param({"taskid": TASK, "status": "pending"}, Submitted(TASK, "", "r-1"), id="the CLI's other name"),
        pytest.param(
            {"task_id": TASK, "status": "completed", "image_url": URL, "ai302_cost_request_ids": ["a", "b"]},
            Submitted(TASK, URL, "a,b"),
            id="done at once",
        ),
        pytest.param({"image_url": URL}, Submitted("", URL, "r-1"), id="as V1 answers"),
        pytest.param({"task_id": TASK}, Submitted(TASK, "", "r-1"), id="no status"),
    ],
)
def test_a_submission_names_its_task(answer: Answer, found: Submitted) -> None:
    assert read_submitted(reply(answer)) == found


@pytest.mark.parametrize("named", [None, "", "../../dashboard/balance", "a/b", "a?b", 7, "x" * 129, "..", "a b"])
def test_what_can_lead_elsewhere_is_no_task(named: object) -> None:
    with pytest.raises(GatewayError) as caught:
        read_submitted(reply({"task_id": named, "status": "pending"}))

    assert (caught.value.kind, caught.value.outcome_unknown) == (Kind.UPSTREAM_UNKNOWN, True)
    assert not is_id(named)


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        ({"error": {"err_code": -10004}}, 402, Kind.UPSTREAM_BALANCE),
        ({"error": {"err_code": -10008}}, 503, Kind.UPSTREAM_MODEL_UNAVAILABLE),
        ({"code": "RateLimitExceeded"}, 429, Kind.UPSTREAM_RATE_LIMITED),
        ({}, 500, Kind.UPSTREAM_UNKNOWN),
        ("<html>", 200, Kind.UPSTREAM_UNKNOWN),
    ],
)
def test_a_submission_fails_as_v1_does(answer: Answer, status: int, kind: Kind) -> None:
    with pytest.raises(GatewayError) as caught:
        read_submitted(reply(answer, status))

    assert (caught.value.kind, caught.value.upstream_request_id) == (kind, "r-1")


def test_a_submission_that_failed_at_once_is_not_billed() -> None:
    with pytest.raises(GatewayError) as caught:
        read_submitted(reply({"task_id": TASK, "status": "failed", "error": {"message": "no"}}))

    assert (caught.value.kind, caught.value.may_be_billed, caught.value.outcome_unknown) == (
        Kind.UPSTREAM_UNKNOWN,
        False,
        False,
    )
    assert caught.value.copy().outcome_unknown is False


@pytest.mark.parametrize("status", ["pending", "processing", "queued"])
def test_a_task_that_runs_is_waited_for_whatever_its_error_field_holds(status: str) -> None:
    assert read_task(reply({"status": status, "error": "", "image_url": ""})) is None


@pytest.mark.parametrize(
    ("answer", "url"),
    [
        ({"status": "completed", "image_url": URL, "image_urls": [OTHER]}, URL),
        ({"status": "success", "image_urls": [OTHER]}, OTHER),
        ({"status": "completed", "raw_response": {"result": {"sample": OTHER}}}, OTHER),
        ({"status": "succeed", "raw_response": {"images": [{"url": OTHER}]}}, OTHER),
    ],
)
def test_a_task_that_is_done_has_its_picture(answer: dict[str, Any], url: str) -> None:
    assert read_task(reply(answer | {"ai302_cost_request_ids": "a, b"})) == Submitted("", url, "a,b")


@pytest.mark.parametrize(
    ("answer", "kind", "unknown"),
    [
        ({"status": "failed", "error": {"error": "x", "message": "CUDA"}}, Kind.UPSTREAM_UNKNOWN, False),
        ({"status": "failed"}, Kind.UPSTREAM_UNKNOWN, False),
        ({"status": "error", "error": {"err_code": -10504}}, Kind.UPSTREAM_TIMEOUT, False),
        ({"status": "failed", "error": {"error": "nsfw content"}}, Kind.CONTENT_POLICY, False),
        ({"status": "failed", "error": {"message": "Pre Img Risk Not Pass"}}, Kind.CONTENT_POLICY, False),
        ({"status": "completed"}, Kind.UPSTREAM_UNKNOWN, True),
        ({"status": "completed", "image_url": "javascript:x"}, Kind.UPSTREAM_UNKNOWN, True),
        (
            {"status": "completed", "image_url": URL, "raw_response": {"has_nsfw_concepts": [True]}},
            Kind.CONTENT_POLICY,
            True,
        ),
    ],
)
def test_a_task_that_ended_badly_is_its_kind(answer: Answer, kind: Kind, unknown: bool) -> None:
    with pytest.raises(GatewayError) as caught:
        read_task(reply(answer))

    assert (caught.value.kind, caught.value.outcome_unknown) == (kind, unknown)
    assert caught.value.upstream_request_id == ""


@pytest.mark.parametrize(
    "seen",
    [
        Reply(0, b""),
        Reply(500, b'{"status": "failed"}'),
        Reply(404, b'{"error": {"err_code": -10010}}'),
        Reply(200, b"<html>"),
        Reply(200, b"{}"),
        Reply(200, b'{"status": "strange"}'),
        Reply(200, b'{"status": 7}'),
    ],
)
def test_what_is_no_task_is_asked_again(seen: Reply) -> None:
    with pytest.raises(ValueError, match=r"^"):
        read_task(seen)


@pytest.mark.parametrize("ids", [None, 7, {}, [7, None], "", "a/b", [".."]])
def test_ids_that_can_be_looked_up_nowhere_are_left_out(ids: object) -> None:
    assert billed_as({"ai302_cost_request_ids": ids}) == ""
