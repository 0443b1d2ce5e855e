"""The kinds of error against the contract's table, written down a second time."""

import pytest

from gateway.core.errors import KIND_OF_CODE, GatewayError, Kind, internal_error, invalid_value

# status, type, code, whether the caller may retry; `unknown` marks calls that may have been billed.
TABLE = """
400 invalid_request_error       invalid_json               no
400 invalid_request_error       missing_parameter          no
400 invalid_request_error       invalid_value              no
400 invalid_request_error       image_required             no
400 invalid_request_error       invalid_image              no
400 invalid_request_error       invalid_headers            no
400 invalid_request_error       upstream_invalid_request   no
400 image_generation_user_error content_policy_violation   no
401 invalid_request_error       invalid_api_key            no
401 invalid_request_error       key_expired                no
401 invalid_request_error       key_disabled               no
403 invalid_request_error       model_not_allowed          no
422 invalid_request_error       idempotency_key_reused     no
429 requests                    rate_limit_exceeded        yes
429 insufficient_quota          insufficient_quota         no
503 server_error                store_unavailable          yes
404 invalid_request_error       not_found                  no
409 invalid_request_error       conflict                   no
404 invalid_request_error       model_not_found            no
404 invalid_request_error       unknown_url                no
405 invalid_request_error       method_not_allowed         no
408 invalid_request_error       request_timeout            yes
499 invalid_request_error       client_closed_request      yes
413 invalid_request_error       request_too_large          no
415 invalid_request_error       unsupported_media_type     no
429 requests                    upstream_rate_limited      yes
500 server_error                internal_error             no
502 server_error                upstream_unreachable       yes
502 server_error                upstream_unknown           no unknown
502 server_error                image_unavailable          yes
503 server_error                upstream_model_unavailable yes
503 server_error                upstream_credentials       no
503 server_error                upstream_balance           no
503 server_error                draining                   yes
503 server_error                overloaded                 yes
504 server_error                upstream_timeout           no unknown
504 server_error                still_running              yes
"""


def test_every_kind_is_what_the_contract_says() -> None:
    rows = [kind.row for kind in Kind]

    assert {
        f"{row.status} {row.type} {row.code} {'yes' if row.retry else 'no'}{' unknown' * row.outcome_unknown}"
        for row in rows
    } == {" ".join(line.split()) for line in TABLE.strip().splitlines()}
    assert len({row.code for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.row.code)
def test_a_code_leads_back_to_its_kind(kind: Kind) -> None:
    assert KIND_OF_CODE[kind.row.code] is kind


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.row.code)
def test_only_who_may_retry_is_told_when_and_never_to_wait_over_a_minute(kind: Kind) -> None:
    assert kind.row.retry_after is None or (kind.row.retry and 0 < kind.row.retry_after <= 60)


def test_a_missing_channel_is_worth_another_try_after_ten_seconds() -> None:
    assert GatewayError(Kind.UPSTREAM_MODEL_UNAVAILABLE, "Busy.").retry_after == 10


def test_an_error_may_know_a_better_wait_than_its_kind() -> None:
    assert GatewayError(Kind.UPSTREAM_RATE_LIMITED, "Busy.", retry_after=0.5).retry_after == 0.5
    assert GatewayError(Kind.UPSTREAM_RATE_LIMITED, "Busy.").retry_after == 10
    assert GatewayError(Kind.INVALID_VALUE, "Bad.").retry_after is None


def test_a_copy_says_the_same_and_remembers_no_raise() -> None:
    error = GatewayError(Kind.UPSTREAM_RATE_LIMITED, "Busy.", param="n", retry_after=7)
    with pytest.raises(GatewayError) as raised:
        raise error
    copy = raised.value.copy()

    assert (copy.kind, copy.message, copy.param, copy.retry_after) == (error.kind, "Busy.", "n", 7)
    assert (str(copy), copy.upstream_request_id) == ("Busy.", "")
    assert (copy.__traceback__, raised.value.__traceback__ is None) == (None, False)


def test_a_refused_value_names_its_field() -> None:
    error = invalid_value("n", "n must be from 1 to 10.")

    assert (error.kind, error.param, error.message) == (Kind.INVALID_VALUE, "n", "n must be from 1 to 10.")


def test_our_own_fault_tells_nothing_of_its_cause() -> None:
    error = internal_error()

    assert (error.kind, error.param) == (Kind.INTERNAL_ERROR, None)
    assert error.message == "The gateway failed on this request; the fault is logged."
