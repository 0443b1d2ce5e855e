"""The shelf: where the bytes of pictures wait for slow readers, so that a thousand of them cannot fill the memory.

What is on it lies in memory while there is little of it; what comes on top lies in files without a name, which are gone
when they are closed, however the process ends. Files are written and read in threads: a disk may be slow.
"""

import io
import tempfile
from asyncio import wrap_future
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.core.held import Held
from gateway.core.picture import media_type, size_of

_THREADS: Final = 4
# A picture's size stands in its first bytes, but a JPEG's may follow a thumbnail and a colour profile.
_HEAD: Final = 256 * 1024
# What is less than half of this is joined to what comes after it: small pieces would take many times the memory of
# their picture.
_PIECE: Final = 64 * 1024

T = TypeVar("T")


class Shelf:
    """Holds pictures: up to `budget` bytes of all together in memory, the others in files of a folder."""

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder: Final = folder
        self._threads: Final = ThreadPoolExecutor(_THREADS, "shelf")
        self._left = budget

    async def hold(self, chunks: AsyncIterator[bytes], size: int | None) -> Held:
        """Take all chunks in; `size` is what they are announced to be together, None where nobody said.

        Raises:
            OSError: the disk does not take them.
        """
        on_shelf = await self._place(size)
        try:
            async for chunk in chunks:
                await on_shelf.write(chunk)
            on_shelf.look_at(bytes(await on_shelf.read(0, _HEAD)))
        except BaseException:  # a cancelled wait too
            on_shelf.close()
            raise
        return on_shelf

    async def _place(self, size: int | None) -> "_InMemory | _InFile":
        if size is not None and size <= self._left:
            return self._in_memory(size)
        try:
            return _InFile(await wrap_future(self._threads.submit(self._open)), self._threads)
        except OSError:
            # No place for files: the picture is paid, and memory is all there is.
            return self._in_memory(0)

    def _in_memory(self, size: int) -> "_InMemory":
        self._left -= size
        return _InMemory(lambda: self._give_back(size))

    def _give_back(self, size: int) -> None:
        self._left += size

    def _open(self) -> io.FileIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by whoever holds it
        assert isinstance(file, io.FileIO)  # noqa: S101 - without a buffer it is one
        return file


class _OnShelf:
    """What is known of a picture on the shelf."""

    def __init__(self) -> None:
        self.size = 0
        self.media_type: str | None = None
        self.dimensions: tuple[int, int] | None = None

    def look_at(self, head: bytes) -> None:
        """Recognise the picture by its beginning."""
        self.media_type, self.dimensions = media_type(head), size_of(head)


class _InMemory(_OnShelf):
    """The pieces of a picture as they came: to join them would copy it twice. Only small ones are joined."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        super().__init__()
        self._pieces: list[bytes | bytearray] = []
        self._ends: list[int] = []
        self._give_back: Callable[[], None] | None = give_back

    async def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        last = self._pieces[-1] if self._pieces else b""
        if isinstance(last, bytearray) and len(last) + len(chunk) <= _PIECE:
            last += chunk
            self._ends[-1] = self.size
            return
        self._pieces.append(bytearray(chunk) if len(chunk) < _PIECE // 2 else chunk)
        self._ends.append(self.size)

    async def read(self, start: int, end: int) -> bytes | memoryview:
        parts: list[memoryview] = []
        for index in range(bisect_right(self._ends, start), len(self._ends)):
            begin = self._ends[index] - len(self._pieces[index])
            if begin >= end:
                break
            parts.append(memoryview(self._pieces[index])[max(0, start - begin) : end - begin])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._pieces, self._ends = [], []
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class _InFile(_OnShelf):
    def __init__(self, file: io.FileIO, threads: ThreadPoolExecutor) -> None:
        super().__init__()
        self._file: Final = file
        self._threads: Final = threads
        self._last: Future[Any] = Future()
        self._last.set_result(None)

    async def write(self, chunk: bytes) -> None:
        await self._run(lambda: _write(self._file, chunk))
        self.size += len(chunk)

    async def read(self, start: int, end: int) -> bytes:
        return await self._run(lambda: _read(self._file, start, end - start))

    def close(self) -> None:
        # A thread may be at it although nobody waits for it any more, and the file's number must not become another's
        # under its hands.
        self._last.add_done_callback(lambda _: self._file.close())

    async def _run(self, work: Callable[[], T]) -> T:
        self._last = future = self._threads.submit(work)
        return await wrap_future(future)


def _write(file: io.FileIO, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) or 0 :]


def _read(file: io.FileIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
