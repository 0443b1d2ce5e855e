"""What 302's second API (V2) answers, read: a task that was accepted, and how it stands.

Sources: 302's page of V2, and what its own clients (a command, a web app) take for granted.
"""

import re
from typing import Any, Final, NamedTuple

from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply, as_object, error_in, picture_url

# A UUID in every sample; it becomes a part of a path, so it must not be able to lead anywhere else.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DONE: Final = frozenset({"completed", "succeeded", "succeed", "success"})
_FAILED: Final = frozenset({"failed", "error"})
_RUNNING: Final = frozenset({"pending", "processing", "queued", "running", "submitted"})
_SUCCESS: Final = 200


class Submitted(NamedTuple):
    """A task, or the picture itself where it was there at once. `request_id` is what its bill is looked up by."""

    task_id: str
    url: str = ""
    request_id: str = ""


def is_id(text: object) -> bool:
    """Whether a text can be an id of 302's that may stand in a path."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def read_submitted(reply: Reply, *, known_model: bool = True) -> Submitted:
    """Find the task in an answer of `POST /302/v2/image/generate?run_async=true`.

    Raises:
        GatewayError: of the kind the answer means; `upstream_unknown` where it names no task.
    """
    data = as_object(reply.body)
    named = next((str(id_) for id_ in (data.get("task_id"), data.get("taskid")) if is_id(id_)), "")
    if named and data.get("status") in _RUNNING:
        return Submitted(named, request_id=reply.request_id)
    error = error_in(reply, data, known_model=known_model)
    if error is not None:
        if data.get("status") in _FAILED:
            error.may_be_billed = False
        raise error
    url = picture_url(_as_v1(data))
    if url is None and not named:
        raise _unknown("302.AI accepted the request and named no task; it may have been billed.", reply.request_id)
    return Submitted(named, url or "", billed_as(data) or reply.request_id)


def read_task(reply: Reply) -> Submitted | None:
    """How a task stands, by an answer of `GET /302/v2/image/fetch/{task_id}`: with its picture, or None if it runs.

    302 documents no price for a task that failed, so that is taken as not billed; its kind is that of its `err_code`.

    An error names what the task is booked under, never the id of this question.

    Raises:
        ValueError: this is no task; ask again.
        GatewayError: it failed, or ended without a picture.
    """
    data = as_object(reply.body)
    status = data.get("status")
    if reply.status != _SUCCESS or not isinstance(status, str):
        raise ValueError(reply.status)
    if status in _RUNNING:
        return None
    if status not in _DONE and status not in _FAILED:
        raise ValueError(status)
    bill = billed_as(data)
    error = error_in(reply, _as_v1(data))
    if error is not None:
        error.upstream_request_id = bill
        if status in _FAILED:
            error.may_be_billed = False
        raise error
    url = picture_url(_as_v1(data))
    if url is None:
        raise _unknown("302.AI completed the picture and gave no address of it; it may have been billed.", bill)
    return Submitted("", url, bill)


def billed_as(data: dict[str, Any]) -> str:
    """The ids that a task's cost is booked under, comma-separated: 302 writes them as a list, or so already."""
    ids = data.get("ai302_cost_request_ids")
    listed = ids.split(",") if isinstance(ids, str) else ids if isinstance(ids, list) else []
    return ",".join(id_.strip() for id_ in listed if isinstance(id_, str) and is_id(id_.strip()))


def _as_v1(data: dict[str, Any]) -> dict[str, Any]:
    """The vendor's raw answer stands under `raw_response` here, and under `data` in V1."""
    vendor = data.get("raw_response")
    return {**data, "data": vendor} if isinstance(vendor, dict) else data


def _unknown(message: str, request_id: str) -> GatewayError:
    error = GatewayError(Kind.UPSTREAM_UNKNOWN, message)
    error.upstream_request_id = request_id
    return error
