"""Orders written into a prompt."""

import pytest

from gateway.simulator import Failure
from gateway.simulator.fields import Refusal
from gateway.simulator.triggers import Orders, read


@pytest.mark.parametrize(
    ("prompt", "orders"),
    [
        pytest.param("a cat", Orders(), id="none"),
        pytest.param("a [[cat]] [fail:hang]", Orders(), id="brackets of another kind"),
        pytest.param("a cat [[fail:rate-limited]]", Orders(failure=Failure.RATE_LIMITED), id="a failure"),
        pytest.param("[[delay:2.5]] a cat", Orders(delay=2.5), id="a delay"),
        pytest.param("[[delay:0]][[fail:hang]]", Orders(Failure.HANG, 0.0), id="both"),
        pytest.param("[[fail:quota@two]]", Orders(of_keys=(("two", Failure.QUOTA),)), id="of one key"),
        pytest.param("[[delay:1]] [[delay:2]]", Orders(delay=2.0), id="the last counts"),
    ],
)
def test_orders_are_found_in_a_prompt(prompt: str, orders: Orders) -> None:
    assert read(prompt) == orders


@pytest.mark.parametrize(
    "prompt",
    ["[[fail:nonsense]]", "[[fail:]]", "[[fail:nonsense@two]]", "[[delay:-1]]", "[[delay:inf]]", "[[delay:soon]]"],
)
def test_an_order_that_nobody_understands_is_refused(prompt: str) -> None:
    refusal = read(prompt)

    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


def test_a_failure_of_one_key_is_no_failure_of_another() -> None:
    orders = read("[[fail:nsfw]] [[fail:hang@two]] [[fail:quota@two]] [[fail:reset@one]]")

    assert isinstance(orders, Orders)
    assert [orders.failure_of(key) for key in ("sk-two", "sk-one", "sk-three")] == ["quota", "reset", "nsfw"]


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_can_be_ordered_by_its_name(failure: Failure) -> None:
    assert read(f"a cat [[fail:{failure}]]") == Orders(failure)
