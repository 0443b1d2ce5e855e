"""The memory that forgets its oldest."""

from gateway.simulator.bounded import Bounded


def test_of_too_many_the_oldest_is_forgotten() -> None:
    memory: Bounded[str] = Bounded(2, 100, len)

    for word in ("one", "two", "three"):
        memory.put(word, word)

    assert [memory.get(word) for word in ("one", "two", "three")] == [None, "two", "three"]


def test_of_too_much_as_many_of_the_oldest_are_forgotten_as_it_takes() -> None:
    memory: Bounded[str] = Bounded(10, 10, len)

    for word in ("four", "five", "sixteen"):
        memory.put(word, word)

    assert [memory.get(word) for word in ("four", "five", "sixteen")] == [None, None, "sixteen"]


def test_what_is_too_much_by_itself_is_not_kept() -> None:
    memory: Bounded[str] = Bounded(10, 3, len)

    memory.put("word", "word")

    assert len(memory) == 0


def test_a_value_put_again_replaces_the_old_one_and_is_the_newest() -> None:
    memory: Bounded[str] = Bounded(2, 10, len)

    for id_, value in (("a", "1"), ("b", "2"), ("a", "333"), ("c", "4444444")):
        memory.put(id_, value)

    assert [memory.get(id_) for id_ in "abc"] == ["333", None, "4444444"]
