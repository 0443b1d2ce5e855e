"""The media store: the bytes of pictures in a folder or a bucket, under names that nobody can guess.

A picture is written whole or not at all, and never changed afterwards. What is too old, and what is too much, is swept
away; several processes may sweep one store at the same time. Who may see a picture is not decided here: who knows its
name may.

obstore is called in threads of our own, never through its coroutines: they end in threads that Python does not know,
and a process that exits while one of those wants the interpreter is aborted. It costs no more time.
"""

import asyncio
import contextlib
import heapq
import re
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from gateway.core.held import Held
from gateway.core.picture import size_of
from gateway.ports import Clock, MediaInfo, MediaUnavailableError

LOCAL: Final = "local"
_EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
_MEDIA_TYPES: Final = {extension: media_type for media_type, extension in _EXTENSIONS.items()}
_NAME: Final = re.compile(rf"[0-9a-f]{{32}}\.(?:{'|'.join(_MEDIA_TYPES)})")
# A bucket may hold more than our pictures: what does not look like one is neither counted nor deleted.
_PLACE: Final = re.compile(rf"([0-9a-f]{{2}})/\1[0-9a-f]{{30}}\.(?:{'|'.join(_MEDIA_TYPES)})")
_BUCKET: Final = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}(?:/[A-Za-z0-9!_.*'()/-]*)?")
_NAMES: Final = 2**128
# obstore writes a file beside its place and renames it. Whoever was killed in between leaves `name#1` behind.
_STAGED: Final = "[0-9a-f][0-9a-f]/*#*"
_STAGED_FOR: Final = 3600.0
_FIND_WITHIN: Final = 5.0
_READ_WITHIN: Final = 30.0
_KEEP_WITHIN: Final = 60.0
_THREADS: Final = 16
# A picture's size stands in its first bytes, but a JPEG's may follow a thumbnail and a colour profile.
_HEAD: Final = 256 * 1024
_BATCH: Final = 500
# This many of the oldest are remembered in one pass over the store; if they are too few there is another pass.
_REMEMBERED: Final = 5000
_PASSES: Final = 100

Store = LocalStore | S3Store
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store may hold: nothing older than `max_age` seconds, and no more than `max_bytes`."""

    max_age: float
    max_bytes: int


def open_media(setting: str, data_dir: Path, limits: Limits, clock: Clock) -> "ObjectMedia":
    """The store that a setting names: `local`, a folder in the data folder, or `s3://bucket/prefix`.

    Endpoint, region and credentials of a bucket come from the usual AWS_* variables. Nothing is sent yet.

    Raises:
        ValueError: the setting is neither, or the store cannot be opened.
    """
    random = partial(secrets.randbits, 128)
    if setting == LOCAL:
        folder = data_dir.absolute() / "media"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            return ObjectMedia(LocalStore(folder), random, limits, clock, folder=folder)
        except (BaseError, OSError) as exc:
            raise ValueError(f"the folder {folder} cannot be used: {getattr(exc, 'strerror', None) or exc}") from exc
    if _BUCKET.fullmatch(setting) is None or {".", ".."} & set(setting.split("/")):
        raise ValueError(f"{setting!r} is neither {LOCAL!r} nor s3://bucket/prefix")
    try:
        return ObjectMedia(_bucket(setting), random, limits, clock)
    except (BaseError, ValueError) as exc:
        raise ValueError(f"{setting} cannot be opened: see the AWS_* variables") from exc


def _bucket(url: str) -> S3Store:
    # An endpoint is the operator's word: http:// where it says http://. Left alone, obstore tries for three minutes,
    # and a process that exits waits for its threads.
    return S3Store.from_url(
        url,
        client_options={"allow_http": True, "connect_timeout": "3s", "timeout": "30s"},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=20)},
    )


class ObjectMedia:
    """Pictures in a folder or a bucket, sharded by the first two digits of their names."""

    def __init__(
        self, store: Store, random: Callable[[], int], limits: Limits, clock: Clock, *, folder: Path | None = None
    ) -> None:
        """`random` gives 128 random bits; `folder` is where the store lies, if it lies in a folder."""
        self._store: Final = store
        self._random: Final = random
        self._limits: Final = limits
        self._clock: Final = clock
        self._folder: Final = folder
        self._threads: Final = ThreadPoolExecutor(_THREADS, "media")
        self._closed = False

    async def keep(self, data: bytes, media_type: str) -> str:
        """Store a picture's bytes under a new name, `<32 hex>.<ext>`: whoever knows it may have the picture.

        Raises:
            MediaUnavailableError: they could not be written, or are no picture.
        """
        extension = _EXTENSIONS.get(media_type)
        if extension is None or not data:
            raise MediaUnavailableError
        name = f"{self._random():032x}.{extension}"
        # A folder has no place for attributes: there the name alone tells the type.
        attributes = None if isinstance(self._store, LocalStore) else {"Content-Type": media_type}
        put = partial(obstore.put, self._store, _place(name), data, attributes=attributes, use_multipart=False)
        await self._run(_KEEP_WITHIN, put)
        return name

    async def find(self, name: str) -> MediaInfo | None:
        """What is kept under a name; None where there is nothing, or the name is none of ours.

        Raises:
            MediaUnavailableError: the store cannot say.
        """
        if _NAME.fullmatch(name) is None:
            return None
        return await self._run(_FIND_WITHIN, partial(self._find, name))

    async def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes [start, end) of a picture, fewer where it ends before.

        Raises:
            MediaUnavailableError: there are none, or the store did not give them.
        """
        if _NAME.fullmatch(name) is None:
            raise MediaUnavailableError
        get = partial(obstore.get_range, self._store, _place(name), start=start, end=end)
        return await self._run(_READ_WITHIN, lambda: get().to_bytes())

    async def hold(self, name: str) -> Held:
        """A picture to be read piece by piece; nothing is kept of it meanwhile.

        Raises:
            MediaUnavailableError: there is none, or the store did not give its beginning.
        """
        if (info := await self.find(name)) is None:
            raise MediaUnavailableError
        head = await self.read(name, 0, _HEAD)
        return _InStore(partial(self.read, name), info.size, info.media_type, size_of(head))

    async def sweep(self) -> int:
        """Delete what is too old, then, oldest first, what is too much; how many were deleted.

        Raises:
            MediaUnavailableError: not everything could be listed or deleted.
        """
        return await self._run(None, self._sweep)

    async def sweep_forever(self, interval: float, on_error: Callable[[Exception], None]) -> None:
        """Sweep about every `interval` seconds, until cancelled; nothing that goes wrong ends it."""
        while True:
            # Workers that started together must not sweep together.
            await asyncio.sleep(interval * (0.5 + self._random() / _NAMES))
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the next sweep may do better
                on_error(error)

    def close(self) -> None:
        """Begin nothing new, and end a sweep at its next step."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, seconds: float | None, work: Callable[[], T]) -> T:
        if self._closed:
            raise MediaUnavailableError
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (BaseError, OSError) as exc:
            raise MediaUnavailableError from exc

    def _find(self, name: str) -> MediaInfo | None:
        try:
            found = obstore.head(self._store, _place(name))
        except FileNotFoundError:
            return None
        if not found["size"]:
            # A machine that lost its power may have kept a file's name and not its bytes.
            return None
        stem, _, extension = name.partition(".")
        return MediaInfo(found["size"], _MEDIA_TYPES[extension], stem, found["last_modified"].timestamp())

    def _sweep(self) -> int:
        deleted = 0
        if self._folder is not None:
            deleted += _delete_staged(self._folder, self._clock.now() - _STAGED_FOR)
        for _ in range(_PASSES):
            count, enough = self._pass()
            deleted += count
            if enough or self._closed:
                break
        return deleted

    def _pass(self) -> tuple[int, bool]:
        """One walk over the store: how many were deleted, and whether what is left is little enough.

        The total and the oldest come from the same listing. So a picture that another process deletes meanwhile is
        missing in both or counted in both, and nobody deletes another one in its stead.
        """
        before = self._clock.now() - self._limits.max_age
        deleted, total = 0, 0
        oldest: list[tuple[float, str, int]] = []
        for batch in obstore.list(self._store, chunk_size=_BATCH):
            expired = []
            for found in batch:
                place, size, modified = found["path"], found["size"], found["last_modified"].timestamp()
                if _PLACE.fullmatch(place) is None:
                    continue
                if modified < before:
                    expired.append(place)
                    continue
                total += size
                # Times are negative in this heap, so that the youngest of the oldest is the first to fall out.
                if len(oldest) < _REMEMBERED:
                    heapq.heappush(oldest, (-modified, place, size))
                else:
                    heapq.heappushpop(oldest, (-modified, place, size))
            deleted += self._delete(expired)
            if self._closed:
                return deleted, True
        doomed = []
        for _, place, size in sorted(oldest, reverse=True):
            if total <= self._limits.max_bytes:
                break
            total -= size
            doomed.append(place)
        return deleted + self._delete(doomed), total <= self._limits.max_bytes

    def _delete(self, places: Sequence[str]) -> int:
        for batch in _batches(places):
            try:
                obstore.delete(self._store, batch)
            except FileNotFoundError:
                # Another process was quicker with one of them: a folder gives up there, so each is tried alone.
                for place in batch:
                    with contextlib.suppress(FileNotFoundError):
                        obstore.delete(self._store, place)
        return len(places)


@dataclass(frozen=True, slots=True)
class _InStore:
    """A picture that stays where it is, and is read from there by its reader's pace."""

    read: Callable[[int, int], Coroutine[Any, Any, bytes]]
    size: int
    media_type: str
    dimensions: tuple[int, int] | None

    def close(self) -> None:
        """Nothing is open between two readings."""


def _place(name: str) -> str:
    return f"{name[:2]}/{name}"


def _batches(places: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(places), _BATCH):
        yield list(places[start : start + _BATCH])


def _delete_staged(folder: Path, before: float) -> int:
    deleted = 0
    for path in folder.glob(_STAGED):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_mtime < before:
                path.unlink()
                deleted += 1
    return deleted
