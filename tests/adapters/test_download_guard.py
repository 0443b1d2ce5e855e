"""No URL, redirect, name or spelling of an address leads the fetcher to where it must not look."""

import pytest

from gateway.adapters.download import PublicResolver, is_public
from gateway.core.errors import GatewayError, Kind
from tests.adapters.fetching import ORIGIN, Names, fetching
from tests.adapters.servers import Conversation, Scripted, answer, scripted

# {port} is the canary's: a server on the loopback that must never be asked.
HOSTILE = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "https://127.0.0.1/",
    "https://localhost/",
    "https://localhost:{port}/",
    "http://localhost:{port}/",
    "https://localhost.localdomain/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.1:{port}/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://127.000.000.001/",
    "https://0/",
    "https://0.0.0.0/",
    "https://[::1]/",
    "https://[::1]:{port}/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25lo]/",
    "https://[fe80::1%lo]/",
    "https://[fc00::1]/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://8.8.8.8/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://loopback.example/",
    "https://mixed.example/",
    "https://mapped.example/",
    "https://link-local.example/",
    "https://nothing.example/",
    "https://LOOPBACK.EXAMPLE/",
    "https://loopback.example./",
    "https://loopback.example:{port}/",
    "http://loopback.example/",
    "https://user@loopback.example/",
    "https://user:pass@127.0.0.1:{port}/",
    "https://api.302.ai@127.0.0.1:{port}/",
    "https://api.302.ai:443@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}#@api.302.ai/",
    "https://127.0.0.1:{port}?@api.302.ai/",
    "https://127.0.0.1:{port}\\@api.302.ai/",
    "https://api.302.ai\\@127.0.0.1:{port}/",
    "http://api.302.ai/",
    "http://api.302.ai:443/",
    "https://api.302.ai:8443/",
    "https://api.302.ai.loopback.example/",
    "https:127.0.0.1:{port}/",
    "https:///127.0.0.1:{port}/",
    "https:/\\127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "/etc/passwd",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "data:image/png;base64,iVBORw0KGgo=",
    "dict://127.0.0.1:{port}/",
    "unix:///tmp/socket",
    "http+unix://%2Ftmp%2Fsocket/",
    "javascript:alert(1)",
    "https://127.0.0.1:{port}/\r\nHost: api.302.ai",
    "https://127.0.0.1 :{port}/",
    " https://127.0.0.1:{port}/",
    "https://127.0.0.1:99999/",
    "https://127.0.0.1:-1/",
    "https://127.0.0.1:{port}:443/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://%31%32%37.0.0.1:{port}/",
    "https://%6c%6f%63%61lhost:{port}/",
    "https://xn--/",
    "https://.../",
    "https://-/",
    "https://" + "a" * 300 + ".example/",
    "https://a.example/" + "a" * 9_000,
    "",
    "https://",
    "\x00https://127.0.0.1:{port}/",
]
NAMES = {
    "localhost": [["127.0.0.1"]],
    "localhost.localdomain": [["127.0.0.1"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "loopback.example": [["127.0.0.1"]],
    "api.302.ai.loopback.example": [["127.0.0.1"]],
    "mixed.example": [["8.8.8.8", "127.0.0.1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "link-local.example": [["fe80::1%lo"]],
}


async def _secret(_request: bytes, peer: Conversation) -> None:
    await peer.say(answer(b"\x89PNG\r\n\x1a\nsecret"))


def names() -> Names:
    return Names({name: [list(turn) for turn in turns] for name, turns in NAMES.items()})


def test_there_are_sixty_and_more() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 60


@pytest.mark.parametrize("url", HOSTILE, ids=[f"{number}" for number in range(len(HOSTILE))])
async def test_a_hostile_url_reaches_nobody(url: str) -> None:
    # 302.AI's own origin is trusted, and its name must not be looked up in the world: it leads to a dead port.
    async with scripted(_secret) as canary, fetching("http://127.0.0.1:1", names=names()) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(url.replace("{port}", str(canary.port)))

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
    assert canary.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{canary}/",
        "//127.0.0.1:{canary}/",
        "https://127.0.0.1:{canary}/",
        "https://localhost:{canary}/",
        "https://loopback.example/",
        "http://127.0.0.1:{origin}@127.0.0.1:{canary}/",
        "file:///etc/passwd",
        "https://[::ffff:127.0.0.1]:{canary}/",
    ],
    ids=["http", "scheme-relative", "https", "name", "resolved", "userinfo", "file", "mapped"],
)
async def test_a_redirect_of_the_upstream_leads_nowhere_it_may_not(location: str, status: int) -> None:
    async def elsewhere(_request: bytes, peer: Conversation) -> None:
        target = location.replace("{canary}", str(canary.port)).replace("{origin}", str(origin.port))
        await peer.say(answer(b"", f"Location: {target}", status=f"{status} Moved"))

    canary: Scripted
    async with scripted(_secret) as canary, scripted(elsewhere) as origin, fetching(origin.url, names=names()) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(f"{origin.url}/1.png")

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
    assert canary.connections == 0
    assert origin.connections >= 1


@pytest.mark.parametrize(
    "location",
    ["http://[::1/", "https://xn--/", "http://127.0.0.1:99999/", "http://a:b:c/", "\xff\xfe", "https://", "?#"],
)
async def test_a_redirect_to_what_is_no_url_is_refused(location: str) -> None:
    async def elsewhere(_request: bytes, peer: Conversation) -> None:
        await peer.say(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n"
        )

    async with scripted(elsewhere) as origin, fetching(origin.url, names=names()) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(f"{origin.url}/1.png")

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE


async def test_every_refusal_has_the_same_words() -> None:
    # Otherwise the words would tell which hosts and ports there are.
    async with scripted(_secret) as canary, fetching(ORIGIN, names=names()) as fetch:
        messages = set()
        for url in (f"http://127.0.0.1:{canary.port}/", "https://loopback.example/", "https://nothing.example/"):
            with pytest.raises(GatewayError) as caught:
                await fetch(url)
            messages.add(caught.value.message)

    assert len(messages) == 1


async def test_a_name_that_changes_its_mind_is_checked_each_time() -> None:
    rebinding = Names({"rebind.example": [["93.184.216.34"], ["127.0.0.1"]]})
    resolver = PublicResolver(rebinding)

    first = await resolver.resolve("rebind.example", 443)
    with pytest.raises(OSError, match="public"):
        await resolver.resolve("rebind.example", 443)
    await resolver.close()

    assert [entry["host"] for entry in first] == ["93.184.216.34"]


async def test_a_name_is_looked_up_through_the_guard_and_only_there() -> None:
    seen = names()
    async with fetching(ORIGIN, names=seen) as fetch:
        with pytest.raises(GatewayError):
            await fetch("https://loopback.example/1.png")

    assert set(seen.asked) == {"loopback.example"}


PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
NOT_PUBLIC = [
    "", "example.com", "127.0.0.1", "10.0.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1",  # noqa: S104
    "198.18.0.1", "192.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00::1", "ff02::1",
    "2001:db8::1", "100::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2130706433", "0x7f000001", "127.1", "0177.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_every_other_address_is_not(address: str) -> None:
    assert not is_public(address)
