"""Our own store of pictures, seen from the pipeline: what is taken in, what is still there, and its bytes.

Whatever it does, nothing is paid again for it: a store that cannot say has lost nothing.
"""

import contextlib
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import GatewayError, Kind
from gateway.core.held import Held
from gateway.core.order import media_name
from gateway.flights.deadline import Deadline
from gateway.ports import Clock, Downloader, MediaStore, MediaUnavailableError, Observer

_TAKE_IN_WITHIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Gallery:
    """The media store, if there is one, and the fetcher of 302's pictures.

    `url_ttl` in seconds: so long 302's own addresses may stand in the cache.
    """

    media: MediaStore | None
    downloader: Downloader
    observer: Observer
    clock: Clock
    url_ttl: int

    @property
    def lag(self) -> float:
        """Within how many seconds after it was drawn a picture is taken in, and kept once more.

        Till then the ledger has to answer for it, too: the cache may have been away the first time, and whoever wanted
        to join may be held up until it has landed.
        """
        return 0.0 if self.media is None else _TAKE_IN_WITHIN

    def ttl(self, wanted: int, url: str) -> int:
        """How long an address may stand in the cache: 302 promises no lifetime of its own ones."""
        return min(wanted, self.url_ttl) if media_name(url) is None else wanted

    def takes_in(self, url: str) -> bool:
        """Whether what lies there is to be copied into our store."""
        return self.media is not None and media_name(url) is None

    async def take_in(self, url: str) -> str | None:
        """Copy a picture into our store, and return its name there; where that fails 302's own address still serves."""
        if self.media is None:
            return None
        try:
            with Deadline(_TAKE_IN_WITHIN):
                held = await self.downloader.fetch(url, self.clock.monotonic() + _TAKE_IN_WITHIN)
                with contextlib.closing(held):
                    data = bytes(await held.read(0, held.size))
                    return await self.media.keep(data, held.media_type or "")
        except (GatewayError, MediaUnavailableError, OSError):
            self.observer.dependency_error("media")
            return None

    async def has(self, url: str) -> bool:
        """Whether an address still leads to its picture, as far as we can know."""
        name = media_name(url)
        try:
            return name is None or (self.media is not None and await self.media.find(name) is not None)
        except MediaUnavailableError:
            self.observer.dependency_error("media")
            return True

    async def bytes_of(self, url: str, deadline: float) -> Held:
        """The bytes of a picture, wherever it lies; raises `GatewayError`."""
        name = media_name(url)
        if name is None or self.media is None:
            return await self.downloader.fetch(url, deadline)
        try:
            return await self.media.hold(name)
        except MediaUnavailableError:
            self.observer.dependency_error("media")
        raise GatewayError(Kind.IMAGE_UNAVAILABLE, "The kept picture cannot be read now; ask again for it.")
