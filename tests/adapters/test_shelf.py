"""The shelf holds pictures in memory while there is room, else in files without a name, and lets go of every one."""

import asyncio
import io
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.shelf import Shelf, _InFile, _write
from gateway.core.held import Held
from tests.acceptance.pictures import png

PNG = png(20, 10)


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for chunk in given:
        yield chunk


async def whole(held: Held) -> bytes:
    return bytes(await held.read(0, held.size))


def in_files() -> int:
    """How many files without a name this process has open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += str(descriptor.readlink()).endswith(" (deleted)")
        except FileNotFoundError:  # the one that lists the folder
            continue
    return count


def names(folder: Path) -> list[Path]:
    """What can be seen in a folder, if it is there."""
    return list(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not exist yet; no file may be left open in the end."""
    before = in_files()
    yield tmp_path / "data"
    assert in_files() == before


@pytest.mark.parametrize(("budget", "size", "files"), [(len(PNG), len(PNG), 0), (0, len(PNG), 1), (1000, None, 1)])
async def test_a_picture_can_be_read_from_wherever_it_lies(
    folder: Path, budget: int, size: int | None, files: int
) -> None:
    before = in_files()

    with closing(await Shelf(folder, budget).hold(chunks(PNG[:10], PNG[10:]), size)) as held:
        assert (held.size, held.media_type, held.dimensions) == (len(PNG), "image/png", (20, 10))
        assert bytes(await held.read(3, 12)) == PNG[3:12]
        assert bytes(await held.read(3, 10_000)) == PNG[3:]
        assert await whole(held) == PNG
        assert in_files() - before == files

    assert names(folder) == []


@pytest.mark.parametrize("budget", [12, 0])
async def test_every_part_can_be_read_however_the_pieces_came(folder: Path, budget: int) -> None:
    given = (b"a", b"bcd", b"", b"efghi", b"jkl")
    large = [PNG * (size // len(PNG)) for size in (1, 40_000, 100, 70_000, 1000, 200_000, 10)]

    with closing(await Shelf(folder, budget).hold(chunks(*given), 12)) as held:
        for start in range(13):
            for end in range(start, 15):
                assert bytes(await held.read(start, end)) == b"".join(given)[start:end]
    with closing(await Shelf(folder, 10**6 * budget).hold(chunks(*large), 400_000)) as held:
        for start in range(0, held.size + 1000, 9_973):
            assert bytes(await held.read(start, start + 50_000)) == b"".join(large)[start : start + 50_000]


async def test_many_small_pieces_take_little_more_memory_than_the_picture(folder: Path) -> None:
    shelf = Shelf(folder, 200_000)
    tracemalloc.start()
    try:
        with closing(await shelf.hold(chunks(*[b"ab"] * 50_000), 100_000)) as held:
            taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held.size == 0 or taken < 600_000


async def test_memory_that_is_let_go_of_is_free_for_the_next_once(folder: Path) -> None:
    shelf, before = Shelf(folder, 10), in_files()
    first = await shelf.hold(chunks(b"0123456789"), 10)
    with closing(await shelf.hold(chunks(b"in a file"), 9)):
        assert in_files() == before + 1

    first.close()
    first.close()

    with closing(await shelf.hold(chunks(b"0123456789"), 10)):
        assert in_files() == before
        with closing(await shelf.hold(chunks(b"in a file"), 9)) as held:
            assert in_files() == before + 1
            assert await whole(held) == b"in a file"


@pytest.mark.parametrize("budget", [100, 0], ids=["memory", "file"])
async def test_what_breaks_off_is_let_go_of(folder: Path, budget: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    shelf, before = Shelf(folder, budget), in_files()

    with pytest.raises(ZeroDivisionError):
        await shelf.hold(broken(), 100)

    assert in_files() == before
    with closing(await shelf.hold(chunks(b"x" * budget), budget)):
        assert in_files() == before


async def test_a_wait_that_is_cancelled_lets_go_of_what_came(folder: Path) -> None:
    came = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"half"
        came.set()
        await asyncio.Event().wait()

    shelf, before = Shelf(folder, 0), in_files()
    task = asyncio.create_task(shelf.hold(stuck(), 100))
    await came.wait()
    assert in_files() == before + 1

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert in_files() == before


async def test_without_a_place_for_files_memory_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file where the folder should be")

    with closing(await Shelf(tmp_path / "data", 0).hold(chunks(PNG), len(PNG))) as held:
        assert await whole(held) == PNG


async def test_a_file_is_not_closed_under_the_hands_of_a_thread(tmp_path: Path) -> None:
    """Its number could be another file's by then, and the thread would write into that."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(io.FileIO):
        def write(self, data: object) -> int:
            begun.set()
            assert go_on.wait(60)
            return super().write(data)  # type: ignore[arg-type]  # whatever was given

    file = Slow(tmp_path / "slow", "w+")
    with ThreadPoolExecutor(1) as threads:
        held = _InFile(file, threads)
        writing = asyncio.create_task(held.write(b"late"))
        await asyncio.to_thread(begun.wait, 60)
        writing.cancel()
        held.close()
        assert not file.closed
        go_on.set()

    assert file.closed
    assert (tmp_path / "slow").read_bytes() == b"late"


def test_a_file_takes_a_chunk_bit_by_bit_if_it_must() -> None:
    read_end, write_end = os.pipe()
    with io.FileIO(read_end) as reader, io.FileIO(write_end, "w") as writer:
        got = bytearray()

        def read() -> None:
            while len(got) < 500_000:
                got.extend(reader.read(4096) or b"")

        thread = threading.Thread(target=read)
        thread.start()
        _write(writer, b"x" * 500_000)
        thread.join(60)

    assert got == b"x" * 500_000
