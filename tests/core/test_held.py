"""What is held for a request is let go of when it is over, whenever it comes."""

from gateway.core.held import Holding
from tests.fakes import FakeHeld


def test_all_is_let_go_of_together_and_at_once_what_comes_late() -> None:
    holding, early, late = Holding(), [FakeHeld(b"1"), FakeHeld(b"2")], FakeHeld(b"3")
    for held in early:
        assert holding.add(held) is held

    assert [held.closed for held in early] == [False, False]
    holding.close()
    holding.close()
    assert [held.closed for held in early] == [True, True]
    assert holding.add(late).size == 1
    assert late.closed
