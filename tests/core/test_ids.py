"""The ids of generations: in the order of their time, as long as ever, and each another."""

from gateway.core.ledger import id_of


def test_ids_are_in_the_order_of_their_time_and_otherwise_chance() -> None:
    early, late = id_of(1_795_312_800.0, b"\xff" * 10), id_of(1_795_312_800.0011, b"\x00" * 10)

    assert early == "01a200fb5100" + "f" * 20
    assert early < late
    assert len(late) == len(early) == 32
    assert id_of(1_795_312_800.0, b"\x00" * 10) != early
