"""Who holds a key: the settings' own first, then those of the database, and a new one is looked for once."""

from dataclasses import dataclass, field

import pytest

from gateway.callers import identify
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Keyring, mint
from gateway.ports import DatabaseUnavailableError

KEYRING = Keyring({"web": "s3cret"})
KNOWN, NEW, UNKNOWN = (mint(number).encode() for number in (1, 2, 3))


@dataclass
class FakeDirectory:
    """Keys in a dict; what is in the database is learned when it is refreshed."""

    known: dict[bytes, Caller] = field(default_factory=lambda: {KNOWN: Caller("key_1", "design")})
    written: dict[bytes, Caller] = field(default_factory=lambda: {NEW: Caller("key_2", "design")})
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def find(self, secret: bytes) -> Caller | None:
        self.asked.append("find")
        return self.known.get(secret)

    def named(self, id_: str) -> Caller | None:
        self.asked.append("named")
        return next((caller for caller in self.known.values() if caller.key == id_), None)

    async def refresh(self) -> None:
        self.asked.append("refresh")
        if self.away:
            raise DatabaseUnavailableError
        self.known |= self.written


@pytest.mark.parametrize(
    ("secret", "key", "asked"),
    [
        (b"s3cret", "web", []),
        (KNOWN, "key_1", ["find"]),
        (NEW, "key_2", ["find", "refresh", "find"]),
    ],
)
async def test_a_key_is_found_with_as_little_as_it_takes(secret: bytes, key: str, asked: list[str]) -> None:
    directory = FakeDirectory()

    assert (await identify(KEYRING, directory, secret)).key == key
    assert directory.asked == asked


@pytest.mark.parametrize(
    ("secret", "asked"),
    [
        (b"", []),
        (None, []),
        (b"garbage", ["find"]),
        (UNKNOWN[:-1] + b"!", ["find"]),
        (UNKNOWN, ["find", "refresh", "find"]),
    ],
)
async def test_a_wrong_key_is_refused_and_garbage_asks_no_database(secret: bytes | None, asked: list[str]) -> None:
    directory = FakeDirectory()

    with pytest.raises(GatewayError) as refusal:
        await identify(KEYRING, directory, secret)

    assert refusal.value.kind is Kind.INVALID_API_KEY
    assert directory.asked == asked


async def test_without_the_database_those_that_are_known_still_are() -> None:
    directory = FakeDirectory(away=True)

    assert (await identify(KEYRING, directory, KNOWN)).key == "key_1"
    assert (await identify(KEYRING, None, b"s3cret")).key == "web"
    for one, kind in ((directory, Kind.STORE_UNAVAILABLE), (None, Kind.INVALID_API_KEY)):
        with pytest.raises(GatewayError) as refusal:
            await identify(KEYRING, one, NEW)
        assert refusal.value.kind is kind


@pytest.mark.parametrize(
    ("id_", "asked"),
    [("web", []), ("key_1", ["named"]), ("key_2", ["named", "refresh", "named"])],
)
async def test_work_goes_on_in_the_name_of_a_key(id_: str, asked: list[str]) -> None:
    directory = FakeDirectory()

    assert (await identify(KEYRING, directory, id_)).key == id_
    assert directory.asked == asked


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        (None, Kind.KEY_DISABLED),
        (FakeDirectory(), Kind.KEY_DISABLED),
        (FakeDirectory(away=True), Kind.STORE_UNAVAILABLE),
    ],
)
async def test_a_key_that_is_gone_is_only_said_to_be_when_it_is(directory: FakeDirectory | None, kind: Kind) -> None:
    with pytest.raises(GatewayError) as refusal:
        await identify(KEYRING, directory, "key_9")

    assert refusal.value.kind is kind
