"""What is read back from Redis is checked: only what was stored under this very fingerprint counts."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.entry import Entry, encode, read_entry
from gateway.core.reply import Reply, read_answer

PRINT, URL, NOW = "f" * 64, "https://file.302.ai/gpt/imgs/cat.png", 1_000.0
ENTRY = Entry(PRINT, URL, NOW + 1)
DEEP = 200_000

NONSENSE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"null", id="null"),
    pytest.param(b"{}", id="an empty object"),
    pytest.param(b"[1, 2]", id="a list"),
    pytest.param(b"\x80\x04\x95", id="no text"),
    pytest.param(b'{"fingerprint": "\xff"}', id="invalid UTF-8"),
    pytest.param(b'{"x": ' + b"[" * DEEP + b"]" * DEEP + b"}", id="deep lists"),
]


def changed(stored: Entry, **fields: object) -> bytes:
    return orjson.dumps(orjson.loads(encode(stored)) | fields)


@pytest.mark.parametrize("url", [URL, "http://example.com", "HTTPS://EXAMPLE.COM/CAT.PNG"])
def test_whatever_address_302_may_give_is_read_as_it_was_stored(url: str) -> None:
    entry = Entry(PRINT, url, NOW + 1)

    assert read_answer(Reply(200, orjson.dumps({"image_url": url}))) == url
    assert read_entry(encode(entry), PRINT, NOW) == entry


@given(
    fingerprint=st.text(),
    path=st.text("abc/%?=&", max_size=50),
    expires=st.floats(0, 1e12, exclude_min=True, allow_nan=False),
)
def test_every_entry_is_read_as_it_was_stored_until_it_lapses(fingerprint: str, path: str, expires: float) -> None:
    entry = Entry(fingerprint, f"https://example.com/{path}", expires)

    assert read_entry(encode(entry), fingerprint, 0) == entry
    assert read_entry(encode(entry), fingerprint, expires) is None


@pytest.mark.parametrize("data", NONSENSE)
def test_nonsense_is_a_miss(data: bytes) -> None:
    assert read_entry(data, PRINT, NOW) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"fingerprint": "e" * 64},
        {"fingerprint": None},
        {"schema": "0"},
        {"schema": 1},
        {"expires": NOW},
        {"expires": "2000"},
        {"expires": None},
        {"url": ""},
        {"url": "file:///etc/passwd"},
        {"url": "javascript:alert(1)"},
        {"url": None},
    ],
    ids=str,
)
def test_an_entry_that_is_not_sound_is_a_miss(fields: dict[str, object]) -> None:
    assert read_entry(changed(ENTRY, **fields), PRINT, NOW) is None


def test_an_address_in_our_own_store_is_read_as_it_was_stored() -> None:
    entry = Entry(PRINT, "media:0f.png", NOW + 1)

    assert read_entry(encode(entry), PRINT, NOW) == entry
