"""Where a webhook may be: https hosts that the operator named, and http where a port was named too."""

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from gateway.core.errors import invalid_value

_LONGEST: Final = 2048
# Closed, so that no two readers of URLs can disagree on its host: neither user names nor backslashes nor spaces.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?P<port>:[0-9]{1,5})?"
    r"(?P<rest>[/?][A-Za-z0-9/?:@!$&'()*+,;=._~%-]*)?"
)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class _Body(msgspec.Struct, gc=False):
    webhook: Any = None


_DECODER: Final = msgspec.json.Decoder(_Body)


def webhook_in(body: bytes, hosts: Collection[str]) -> str | None:
    """The webhook that a request's body names, which was read as JSON before; None where it names none.

    Raises:
        GatewayError: `invalid_value`, for what is no URL of one of the hosts.
    """
    said = _DECODER.decode(body).webhook
    if said is None or said == "":
        return None
    if not hosts:
        raise invalid_value("webhook", "This gateway calls no webhooks: its setting webhook_hosts names no host.")
    if not isinstance(said, str) or not _URL.fullmatch(said) or len(said) > _LONGEST:
        raise invalid_value("webhook", f"webhook must be a URL like https://example.com/path, up to {_LONGEST} long.")
    if not is_allowed(said, hosts):
        message = "webhook must be https, at one of the hosts that the gateway's setting webhook_hosts names."
        raise invalid_value("webhook", message)
    return said


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether an operator named the host of this URL: with its port, unless it is https on its own port."""
    match = _URL.fullmatch(url)
    if match is None:
        return False
    host, scheme = match["host"].lower(), match["scheme"]
    default = _DEFAULT_PORTS[scheme]
    port = match["port"] or default
    named = {known.lower() for known in hosts}
    return host + port in named or (scheme == "https" and port == default and host in named)
