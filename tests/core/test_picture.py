"""How a source picture may be handed in, and in which form it goes upstream."""

from base64 import b64encode, encodebytes
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.core.errors import GatewayError, Kind
from gateway.core.picture import MAX_URL, is_http_url, media_type, size_of, source_picture, to_data_uri

REST = bytes(range(256))
SIGNED = {
    "image/png": b"\x89PNG\r\n\x1a\n" + REST,
    "image/jpeg": b"\xff\xd8\xff" + REST,
    "image/webp": b"RIFF\x10\x00\x00\x00WEBP" + REST,
    "image/gif": b"GIF89a" + REST,
}
PNG = b64encode(SIGNED["image/png"]).decode()
URI = f"data:image/png;base64,{PNG}"

GOOD_URLS = [
    "https://example.com/cat.png",
    "http://example.com/cat.png",
    "HTTPS://Example.com",
    "https://example.com:8443/a/b?c=d&e=f#g",
    "https://example.com?x",
    "https://[2001:db8::1]/cat.png",
    "https://example.com/" + "a" * (MAX_URL - len("https://example.com/")),
    "https://example.com/users/me@example.com/cat.png",
    "https://example.com/cat.png?mail=me@example.com",
]
BAD_URLS = [
    "https://",
    "https:///cat.png",
    "https://?x",
    "https://:443/cat.png",
    "https://me:secret@example.com/cat.png",
    "https://me@example.com/cat.png",
    "https://@example.com/cat.png",
    "https://example.com\\@evil.example/cat.png",
    "https://example.com/a cat.png",
    "https://example.com/cat.png\nx-evil: 1",
    "https://example.com/\x00",
    "https://example.com/\u200bcat.png",
    "https://exa mple.com/cat.png",
    "https://example.com/" + "a" * MAX_URL,
]


@pytest.mark.parametrize("url", GOOD_URLS, ids=lambda url: url[:60])
def test_a_url_is_handed_on_as_it_is(url: str) -> None:
    assert is_http_url(url)
    assert source_picture("image", f" {url}\n") == url


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: ascii(url)[:60])
def test_a_url_that_could_lead_astray_is_refused(url: str) -> None:
    assert not is_http_url(url)
    with pytest.raises(GatewayError, match="image cannot be used: a URL must have a host") as refusal:
        source_picture("image", url)
    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_IMAGE, "image")


@pytest.mark.parametrize("text", ["", "/cat.png", "example.com/cat.png", "ftp://example.com/cat.png", URI])
def test_what_is_no_http_url_is_none(text: str) -> None:
    assert not is_http_url(text)


@pytest.mark.parametrize("type_", SIGNED)
def test_a_picture_is_recognised_by_its_first_bytes(type_: str) -> None:
    assert media_type(SIGNED[type_]) == type_
    assert media_type(b"GIF87a") == "image/gif"
    assert source_picture("image", b64encode(SIGNED[type_]).decode()).startswith(f"data:{type_};base64,")
    assert to_data_uri("image", SIGNED[type_]) == f"data:{type_};base64,{b64encode(SIGNED[type_]).decode()}"


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"<svg/>", b"RIFF\x10\x00\x00\x00WAVE", b"BM" + REST, b"GIF88a", b"%PDF-1.7", b"\xff\xd8"]
)
def test_other_bytes_are_no_picture(data: bytes) -> None:
    assert media_type(data) is None
    with pytest.raises(GatewayError, match="no PNG, JPEG, WebP or GIF"):
        source_picture("image", f"data:image/png;base64,{b64encode(data).decode()}")
    with pytest.raises(GatewayError, match=r"^mask cannot be used: the bytes are no PNG") as refusal:
        to_data_uri("mask", data)
    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_IMAGE, "mask")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PNG, id="bare"),
        pytest.param(f" {PNG}\n", id="spaces around"),
        pytest.param(encodebytes(SIGNED["image/png"]).decode(), id="wrapped in lines"),
        pytest.param(encodebytes(SIGNED["image/png"]).decode().replace("\n", "\r\n\t"), id="wrapped and indented"),
        pytest.param(URI, id="a data URI"),
        pytest.param(URI.replace("data:", "DATA:").replace("base64", "BASE64"), id="a data URI in upper case"),
        pytest.param(f"data:image/png;name=cat.png;base64,{PNG}", id="a data URI with a parameter"),
        pytest.param(f"data:;base64,{PNG}", id="a data URI of no type"),
        pytest.param(f"data:text/html;base64,{PNG}", id="a data URI of a false type"),
    ],
)
def test_bytes_become_a_data_uri_of_their_true_type(text: str) -> None:
    assert source_picture("image", text) == URI


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("a cat!", "neither a URL nor a data URI nor valid base64", id="words"),
        pytest.param(PNG[:-1], "nor valid base64", id="cut short"),
        pytest.param(PNG.replace("R", "-", 1), "nor valid base64", id="the alphabet of URLs"),
        pytest.param(PNG + "\u00e9", "nor valid base64", id="not ASCII"),
        pytest.param(f"{URI}#cat", "nor valid base64", id="a data URI with a fragment"),
        pytest.param(f"data:image/png,{PNG}", "a data URI must be base64", id="a data URI in plain text"),
        pytest.param("data:", "a data URI must be base64", id="an empty data URI"),
        pytest.param(f"data:image/png;{'a' * 300};base64,{PNG}", "a data URI must be base64", id="an endless head"),
        pytest.param("data:image/png;base64,", "no PNG", id="a data URI of nothing"),
        pytest.param("file:///etc/passwd", "only http and https", id="a file"),
        pytest.param("ftp://example.com/cat.png", "only http and https", id="ftp"),
        pytest.param("javascript:alert(1)", "only http and https", id="a script"),
        pytest.param("http:/example.com", "only http and https", id="half a URL"),
        pytest.param("/etc/passwd", "nor valid base64", id="a path"),
    ],
)
def test_anything_else_is_refused_by_its_field_and_not_echoed(text: str, why: str) -> None:
    with pytest.raises(GatewayError, match=why) as refusal:
        source_picture("mask_image", text)

    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_IMAGE, "mask_image")
    assert refusal.value.message.startswith("mask_image cannot be used: ")
    assert len(refusal.value.message) < 120


@given(text=st.text() | st.text().map("https://".__add__) | st.text().map("data:image/png;base64,".__add__))
def test_whatever_is_handed_in_is_a_url_a_data_uri_or_refused(text: str) -> None:
    try:
        picture = source_picture("image", text)
    except GatewayError as error:
        picture = error.kind.name

    assert picture == Kind.INVALID_IMAGE.name or is_http_url(picture) or picture.startswith("data:image/")


def drawn(size: tuple[int, int], options: dict[str, Any]) -> bytes:
    file = BytesIO()
    Image.new("RGB", size).save(file, **options)
    return file.getvalue()


DRAWN: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG"},
    "GIF": {"format": "GIF"},
    "JPEG": {"format": "JPEG"},
    "JPEG, progressive, with a long head": {"format": "JPEG", "progressive": True, "comment": b"x" * 9000},
    "WebP": {"format": "WEBP"},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "WebP, extended": {"format": "WEBP", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"},
}


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("size", [(1, 1), (77, 330), (1536, 1024)], ids=str)
def test_a_pictures_size_is_read_from_its_head(options: dict[str, Any], size: tuple[int, int]) -> None:
    assert size_of(drawn(size, options)) == size


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN)
def test_a_head_cut_short_tells_nothing(options: dict[str, Any]) -> None:
    data = drawn((770, 330), options)

    assert {size_of(data[:length]) for length in range(len(data))} <= {None, (770, 330)}


@given(head=st.sampled_from([b"", b"\xff\xd8", *(data[:12] for data in SIGNED.values())]), rest=st.binary())
def test_a_broken_head_tells_nothing_or_something_but_never_fails(head: bytes, rest: bytes) -> None:
    size = size_of(head + rest)

    assert size is None or min(size) >= 0
