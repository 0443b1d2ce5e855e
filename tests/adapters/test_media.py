"""The media store on what it really stands on: a folder, and an S3 server spoken to over HTTP."""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest
from obstore.exceptions import BaseError

from gateway.adapters.media import Limits, ObjectMedia, open_media
from gateway.ports import MediaInfo, MediaUnavailableError
from tests.acceptance.pictures import png

PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
NAME: Final = f"{0xABC:032x}.png"
DAY: Final = 86_400.0
ROOMY: Final = Limits(max_age=7 * DAY, max_bytes=2**40)


@dataclass
class Clock:
    """The real time, and what a test adds to it: files and buckets stamp what they hold by the real one."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Opened:
    """A way to the same store with any limits."""

    setting: str
    data_dir: Path
    clock: Clock = field(default_factory=Clock)

    def __call__(self, limits: Limits = ROOMY) -> ObjectMedia:
        return open_media(self.setting, self.data_dir, limits, self.clock)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server with the bucket `pictures`."""
    pytest.importorskip("moto", reason="needs moto, an S3 server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], stdout=output, stderr=output
        )
    try:
        yield _ready(f"http://127.0.0.1:{port}", log)
    finally:
        server.terminate()
        server.wait(10)


def _ready(endpoint: str, log: Path) -> str:
    for _ in range(300):
        with contextlib.suppress(httpx.TransportError):
            _make_bucket(endpoint, "pictures")
            return endpoint
        time.sleep(0.1)
    pytest.fail(f"the S3 server does not answer: {log.read_text()}")


def _make_bucket(endpoint: str, name: str) -> None:
    httpx.put(f"{endpoint}/{name}", trust_env=False).raise_for_status()


@pytest.fixture
def aws(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment that a bucket's operator sets."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return s3


@pytest.fixture(params=["local", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Each kind of store, empty."""
    if request.param == "local":
        return Opened("local", tmp_path)
    request.getfixturevalue("aws")
    return Opened(f"s3://pictures/{secrets.token_hex(4)}/deep", tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Opened:
    return Opened("local", tmp_path)


class TestKeepFindRead:
    @pytest.mark.parametrize(
        ("media_type", "extension"),
        [("image/png", "png"), ("image/jpeg", "jpg"), ("image/webp", "webp"), ("image/gif", "gif")],
    )
    async def test_what_is_kept_is_found_and_read(self, opened: Opened, media_type: str, extension: str) -> None:
        media = opened()

        name = await media.keep(PNG, media_type)

        stem, _, told = name.partition(".")
        found = await media.find(name)
        assert found is not None
        assert (len(stem), told, int(stem, 16) > 0) == (32, extension, True)
        assert found == MediaInfo(len(PNG), media_type, stem, found.modified)
        assert abs(found.modified - time.time()) < 60
        assert await media.read(name, 0, found.size) == PNG
        assert await media.read(name, 10, 20) == PNG[10:20]
        assert await media.read(name, 1000, 5000) == PNG[1000:]
        assert type(await media.read(name, 0, 1)) is bytes

    async def test_what_is_kept_can_be_held_and_is_read_where_it_is(self, opened: Opened) -> None:
        media, data = opened(), png(20, 10)
        name = await media.keep(data, "image/png")

        with contextlib.closing(await media.hold(name)) as held:
            assert (held.size, held.media_type, held.dimensions) == (len(data), "image/png", (20, 10))
            assert bytes(await held.read(0, held.size)) == data
            assert bytes(await held.read(3, 12)) == data[3:12]
            assert bytes(await held.read(3, 10_000)) == data[3:]

    async def test_what_is_not_there_cannot_be_held(self, opened: Opened) -> None:
        with pytest.raises(MediaUnavailableError):
            await opened().hold(NAME)

    async def test_the_same_bytes_twice_are_two_names(self, opened: Opened) -> None:
        media = opened()

        names = {await media.keep(PNG, "image/png") for _ in range(3)}

        assert len(names) == 3

    async def test_a_large_picture_is_one_whole_object(self, opened: Opened) -> None:
        media, data = opened(), os.urandom(12_000_000)

        name = await media.keep(data, "image/png")

        assert await media.read(name, 0, len(data)) == data

    async def test_another_process_sees_what_one_kept(self, opened: Opened) -> None:
        name = await opened().keep(PNG, "image/png")

        found = await opened().find(name)

        assert found is not None

    @pytest.mark.parametrize(("data", "media_type"), [(PNG, "image/svg+xml"), (PNG, ""), (b"", "image/png")])
    async def test_what_is_no_picture_is_not_kept(self, opened: Opened, data: bytes, media_type: str) -> None:
        with pytest.raises(MediaUnavailableError):
            await opened().keep(data, media_type)

    async def test_what_is_not_there_is_not_found(self, opened: Opened) -> None:
        media = opened()

        assert await media.find(NAME) is None
        with pytest.raises(MediaUnavailableError):
            await media.read(NAME, 0, 10)

    async def test_bytes_beyond_the_end_are_unavailable(self, opened: Opened) -> None:
        media = opened()
        name = await media.keep(PNG, "image/png")

        with pytest.raises(MediaUnavailableError):
            await media.read(name, len(PNG), len(PNG) + 10)

    async def test_a_bucket_knows_the_type_too(self, aws: str) -> None:
        name = await open_media("s3://pictures/typed/", Path(), ROOMY, Clock()).keep(PNG, "image/webp")

        found = await open_media("s3://pictures", Path(), ROOMY, Clock())._store.get_async(f"typed/{name[:2]}/{name}")

        assert found.attributes["Content-Type"] == "image/webp"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "../secret",
            "../../../../etc/passwd",
            "/etc/passwd",
            "..%2f..%2fsecret",
            f"../media/{NAME[:2]}/{NAME}",
            f"{NAME[:2]}/{NAME}",
            f"./{NAME}",
            f"{NAME}\n",
            f"{NAME}\0",
            f"{NAME}/",
            f"{NAME}#1",
            f" {NAME}",
            NAME.upper(),
            NAME.replace("png", "svg"),
            NAME.replace("png", "jpeg"),
            NAME.replace(".png", ""),
            NAME.replace("png", "png.png"),
            NAME[1:],
            f"0{NAME}",
            NAME.replace("0", "\u0660"),
            NAME.replace("0", "\uff10"),
            "g" * 32 + ".png",
            "a" * 100_000,
        ],
    )
    async def test_what_is_no_name_of_ours_is_never_looked_up(self, local: Opened, name: str) -> None:
        media = local()
        (local.data_dir / "secret").write_bytes(b"secret")

        assert await media.find(name) is None
        with pytest.raises(MediaUnavailableError):
            await media.read(name, 0, 6)

    async def test_names_come_from_the_given_randomness(self, local: Opened) -> None:
        media = ObjectMedia(local()._store, iter([0, 2**128 - 1]).__next__, ROOMY, local.clock)

        names = [await media.keep(PNG, "image/png") for _ in range(2)]

        assert names == ["0" * 32 + ".png", "f" * 32 + ".png"]


class TestOpen:
    @pytest.mark.parametrize(
        "setting",
        [
            "",
            "Local",
            "/var/media",
            "s3://",
            "s3:///prefix",
            "s3://b",
            "s3://bucket/../other",
            "s3://bucket/./a",
            "s3://bucket?x=y",
            "s3://key:secret@bucket/a",
            "s3://bucket:80/a",
            "gs://bucket/a",
            "file:///tmp",
            "https://bucket.s3.amazonaws.com",
        ],
    )
    def test_a_wrong_setting_is_refused(self, tmp_path: Path, setting: str) -> None:
        with pytest.raises(ValueError, match="neither 'local' nor s3://bucket/prefix"):
            open_media(setting, tmp_path, ROOMY, Clock())

    def test_the_folder_is_for_its_owner_alone(self, local: Opened) -> None:
        local()
        local()

        assert (local.data_dir / "media").stat().st_mode & 0o777 == 0o700

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "media").write_bytes(b"a file")

        with pytest.raises(ValueError, match="media cannot be used: File exists"):
            open_media("local", tmp_path, ROOMY, Clock())

    def test_a_wrong_variable_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "nonsense")

        with pytest.raises(ValueError, match="see the AWS_"):
            open_media("s3://bucket", tmp_path, ROOMY, Clock())


class TestUnavailable:
    async def test_a_server_that_is_gone(self, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

        await _all_fail(open_media("s3://pictures", Path(), ROOMY, Clock()))

    async def test_a_server_that_never_answers(self, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
            media = open_media("s3://pictures", Path(), ROOMY, Clock())
            for name in ("_KEEP_WITHIN", "_FIND_WITHIN", "_READ_WITHIN"):
                monkeypatch.setattr(f"gateway.adapters.media.{name}", 0.3)

            with pytest.raises(MediaUnavailableError) as caught:
                await media.keep(PNG, "image/png")

            assert isinstance(caught.value.__cause__, TimeoutError)
            with pytest.raises(MediaUnavailableError):
                await media.find(NAME)
            with pytest.raises(MediaUnavailableError):
                await media.read(NAME, 0, 1)

    async def test_a_bucket_that_does_not_exist(self, aws: str) -> None:
        media = open_media("s3://elsewhere", Path(), ROOMY, Clock())

        with pytest.raises(MediaUnavailableError):
            await media.keep(PNG, "image/png")
        with pytest.raises(MediaUnavailableError) as caught:
            await media.sweep()

        assert isinstance(caught.value.__cause__, BaseError)
        assert await media.find(NAME) is None

    async def test_a_folder_in_which_something_is_in_the_way(self, local: Opened) -> None:
        media = local()
        (local.data_dir / "media" / NAME[:2]).write_bytes(b"no folder")

        with pytest.raises(MediaUnavailableError):
            await ObjectMedia(media._store, lambda: 0xABC, ROOMY, local.clock).keep(PNG, "image/png")
        with pytest.raises(MediaUnavailableError):
            await media.find(NAME)


async def _all_fail(media: ObjectMedia) -> None:
    with pytest.raises(MediaUnavailableError):
        await media.keep(PNG, "image/png")
    with pytest.raises(MediaUnavailableError):
        await media.find(NAME)
    with pytest.raises(MediaUnavailableError):
        await media.read(NAME, 0, 10)
    with pytest.raises(MediaUnavailableError):
        await media.sweep()


class TestBrokenWrites:
    """A process that dies while it writes: at exactly so many bytes, by the kernel's hand."""

    def test_a_writer_that_was_killed_leaves_nothing_to_serve(self, local: Opened) -> None:
        local()

        killed = _write_until(local.data_dir, 500_000, signal.SIG_DFL)

        (left,) = _files(local.data_dir)
        assert killed == -signal.SIGXFSZ
        assert (left.name, left.stat().st_size) == (f"{NAME}#1", 500_000)
        assert asyncio.run(local().find(NAME)) is None
        assert asyncio.run(local().find(left.name)) is None

    def test_what_a_killed_writer_left_is_swept_later(self, local: Opened) -> None:
        local()
        _write_until(local.data_dir, 500_000, signal.SIG_DFL)

        soon = asyncio.run(local().sweep())
        local.clock.ahead = 2 * 3600
        later = asyncio.run(local().sweep())

        assert (soon, later, _files(local.data_dir)) == (0, 1, [])

    def test_the_name_of_a_killed_writer_can_be_written_again(self, local: Opened) -> None:
        local()
        _write_until(local.data_dir, 500_000, signal.SIG_DFL)

        written = _write_until(local.data_dir, resource.RLIM_INFINITY, signal.SIG_DFL)

        found = asyncio.run(local().find(NAME))
        assert (written, found and found.size) == (0, 1_000_000)

    def test_a_full_disk_is_told_and_leaves_nothing(self, local: Opened) -> None:
        local()

        failed = _write_until(local.data_dir, 500_000, signal.SIG_IGN)

        assert (failed, _files(local.data_dir)) == (3, [])

    async def test_a_file_whose_bytes_were_lost_is_not_found(self, local: Opened) -> None:
        media = local()
        name = await media.keep(PNG, "image/png")
        _path(local, name).write_bytes(b"")

        assert await media.find(name) is None


_WRITER: Final = """
import asyncio, resource, signal, sys
from pathlib import Path
from gateway.adapters.clock import SystemClock
from gateway.adapters.media import Limits, ObjectMedia, open_media
from gateway.ports import MediaUnavailableError

_, data_dir, most, action = sys.argv
store = open_media("local", Path(data_dir), Limits(1e6, 2**40), SystemClock())._store
media = ObjectMedia(store, lambda: 0xABC, Limits(1e6, 2**40), SystemClock())
signal.signal(signal.SIGXFSZ, signal.Handlers(int(action)))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
try:
    asyncio.run(media.keep(bytes(1_000_000), "image/png"))
except MediaUnavailableError:
    sys.exit(3)
"""


def _write_until(data_dir: Path, most: int, action: signal.Handlers) -> int:
    """Write 1 MB as `NAME` in a process that may write `most` bytes to a file; how it ended."""
    arguments = [str(data_dir), str(most), str(int(action))]
    return subprocess.run([sys.executable, "-c", _WRITER, *arguments], env=_environ(), check=False).returncode


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _files(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.rglob("*") if path.is_file()]


def _path(local: Opened, name: str) -> Path:
    return local.data_dir / "media" / name[:2] / name


async def _kept(local: Opened, ages: list[float], size: int = 1000) -> list[str]:
    """Pictures of these ages in seconds."""
    media, names = local(), []
    for age in ages:
        name = await media.keep(b"x" * size, "image/png")
        then = time.time() - age
        os.utime(_path(local, name), (then, then))
        names.append(name)
    return names


async def _left(media: ObjectMedia, names: list[str]) -> list[bool]:
    return [await media.find(name) is not None for name in names]


class TestSweep:
    async def test_an_empty_store_is_clean(self, opened: Opened) -> None:
        assert await opened().sweep() == 0

    async def test_what_is_older_than_the_limit_goes(self, opened: Opened) -> None:
        media = opened(Limits(max_age=100, max_bytes=2**40))
        name = await media.keep(PNG, "image/png")

        young = await media.sweep()
        opened.clock.ahead = 200
        old = await media.sweep()

        assert (young, old, await media.find(name)) == (0, 1, None)

    async def test_only_what_is_older_than_the_limit_goes(self, local: Opened) -> None:
        names = await _kept(local, [6.9 * DAY, 7.1 * DAY, 1, 70 * DAY])

        deleted = await local().sweep()

        assert (deleted, await _left(local(), names)) == (2, [True, False, True, False])

    async def test_too_much_goes_oldest_first(self, local: Opened) -> None:
        names = await _kept(local, [10, 50, 20, 40, 30])
        media = local(Limits(max_age=DAY, max_bytes=2999))

        deleted = await media.sweep()

        assert (deleted, await _left(media, names)) == (3, [True, False, True, False, False])

    async def test_just_enough_stays(self, local: Opened) -> None:
        names = await _kept(local, [10, 50, 20])
        media = local(Limits(max_age=DAY, max_bytes=3000))

        assert (await media.sweep(), await _left(media, names)) == (0, [True, True, True])

    async def test_too_much_in_a_bucket_goes_oldest_first(self, aws: str) -> None:
        way = Opened(f"s3://pictures/{secrets.token_hex(4)}", Path())
        names = []
        for _ in range(3):
            names.append(await way().keep(b"x" * 1000, "image/png"))
            await asyncio.sleep(1.1)  # a bucket stamps whole seconds
        media = way(Limits(max_age=DAY, max_bytes=1500))

        assert (await media.sweep(), await _left(media, names)) == (2, [False, False, True])

    async def test_expired_pictures_do_not_count_as_too_much(self, local: Opened) -> None:
        names = await _kept(local, [10, 20, 8 * DAY])
        media = local(Limits(max_age=7 * DAY, max_bytes=2000))

        assert (await media.sweep(), await _left(media, names)) == (1, [True, True, False])

    async def test_a_cap_of_nothing_empties_the_store(self, opened: Opened) -> None:
        media = opened(Limits(max_age=DAY, max_bytes=0))
        names = [await media.keep(PNG, "image/png") for _ in range(5)]

        assert (await media.sweep(), await _left(media, names)) == (5, [False] * 5)

    async def test_few_are_remembered_at_a_time(self, local: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        names = await _kept(local, [float(age) for age in range(1, 31)])
        media = local(Limits(max_age=DAY, max_bytes=10_000))
        monkeypatch.setattr("gateway.adapters.media._REMEMBERED", 3)
        monkeypatch.setattr("gateway.adapters.media._BATCH", 2)

        deleted = await media.sweep()

        assert (deleted, await _left(media, names)) == (20, [True] * 10 + [False] * 20)

    async def test_a_sweep_ends_even_if_it_never_gets_done(
        self, local: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = await _kept(local, [float(age) for age in range(1, 11)])
        media = local(Limits(max_age=DAY, max_bytes=0))
        monkeypatch.setattr("gateway.adapters.media._REMEMBERED", 1)
        monkeypatch.setattr("gateway.adapters.media._PASSES", 4)

        assert (await media.sweep(), await _left(media, names)) == (4, [True] * 6 + [False] * 4)

    async def test_what_is_not_ours_stays(self, opened: Opened) -> None:
        media = opened(Limits(max_age=1, max_bytes=0))
        foreign = ["readme.txt", f"zz/{NAME}", f"ff/{NAME}", f"{NAME[:2]}/{NAME}.bak", f"deep/{NAME[:2]}/{NAME}", NAME]
        for place in foreign:
            await media._store.put_async(place, b"x")
        opened.clock.ahead = DAY

        deleted = await media.sweep()

        left = {found["path"] for found in await media._store.list().collect_async()}
        assert (deleted, left) == (0, set(foreign))

    async def test_two_sweeps_of_one_process_delete_no_more_than_one(self, opened: Opened) -> None:
        names = [await opened().keep(b"x" * 1000, "image/png") for _ in range(40)]
        one, other = (opened(Limits(max_age=DAY, max_bytes=20_000)) for _ in range(2))

        await asyncio.gather(one.sweep(), other.sweep(), one.sweep())

        assert sum(await _left(one, names)) == 20

    async def test_sweeps_of_several_processes_delete_no_more_than_one(self, local: Opened) -> None:
        names = await _kept(local, [float(age) for age in range(1, 601)])
        command = [sys.executable, "-c", _SWEEPER, str(local.data_dir), str(300_000)]

        sweepers = [await asyncio.create_subprocess_exec(*command, env=_environ()) for _ in range(3)]
        ended = [await asyncio.wait_for(sweeper.wait(), 60) for sweeper in sweepers]

        assert (ended, await _left(local(), names)) == ([0, 0, 0], [True] * 300 + [False] * 300)


_SWEEPER: Final = """
import asyncio, sys
from pathlib import Path
from gateway.adapters.clock import SystemClock
from gateway.adapters.media import Limits, open_media

asyncio.run(open_media("local", Path(sys.argv[1]), Limits(86400, int(sys.argv[2])), SystemClock()).sweep())
"""


class TestSweepForever:
    async def test_it_sweeps_again_and_again(self, local: Opened) -> None:
        media = local(Limits(max_age=DAY, max_bytes=0))
        errors: list[Exception] = []
        sweeping = asyncio.create_task(media.sweep_forever(0.02, errors.append))

        for _ in range(3):
            name = await media.keep(PNG, "image/png")
            await _until_gone(media, name)

        sweeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sweeping
        assert errors == []

    async def test_what_goes_wrong_is_told_and_does_not_end_it(self, aws: str) -> None:
        bucket = f"late-{secrets.token_hex(4)}"
        media = open_media(f"s3://{bucket}", Path(), Limits(max_age=DAY, max_bytes=0), Clock())
        errors: list[Exception] = []
        sweeping = asyncio.create_task(media.sweep_forever(0.02, errors.append))

        await _until(lambda: len(errors) > 1)
        await asyncio.to_thread(_make_bucket, aws, bucket)
        await _until_gone(media, await media.keep(PNG, "image/png"))

        sweeping.cancel()
        assert {type(error) for error in errors} == {MediaUnavailableError}


class TestClose:
    async def test_a_closed_store_begins_nothing_new(self, opened: Opened) -> None:
        media = opened()
        media.close()

        with pytest.raises(MediaUnavailableError):
            await media.keep(PNG, "image/png")

    async def test_what_has_begun_is_finished(self, opened: Opened) -> None:
        media = opened()
        keeping = asyncio.create_task(media.keep(PNG, "image/png"))
        await asyncio.sleep(0)
        media.close()

        assert await opened().find(await keeping) is not None

    async def test_a_sweep_ends_at_its_next_step(self, local: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        names = await _kept(local, [2 * DAY] * 600)
        media = local(Limits(max_age=DAY, max_bytes=0))
        monkeypatch.setattr(media, "_closed", True)

        deleted = await asyncio.to_thread(media._sweep)

        assert (deleted, sum(await _left(local(), names))) == (500, 100)

    @pytest.mark.parametrize("what", ["keep", "find", "sweep"])
    def test_a_process_may_end_right_after_its_last_call(self, local: Opened, what: str) -> None:
        """obstore's coroutines would abort it, more often than not."""
        ended = [
            subprocess.run([sys.executable, "-c", _HASTY, str(local.data_dir), what], env=_environ(), check=False)
            for _ in range(5)
        ]

        assert [process.returncode for process in ended] == [0] * 5


_HASTY: Final = """
import asyncio, sys
from pathlib import Path
from gateway.adapters.clock import SystemClock
from gateway.adapters.media import Limits, open_media

async def main():
    media = open_media("local", Path(sys.argv[1]), Limits(86400, 2**40), SystemClock())
    works = {
        "keep": lambda: media.keep(b"x", "image/png"),
        "find": lambda: media.find("a" * 32 + ".png"),
        "sweep": lambda: media.sweep(),
    }
    for _ in range(20):
        await works[sys.argv[2]]()

asyncio.run(main())
"""


async def _until_gone(media: ObjectMedia, name: str) -> None:
    for _ in range(1000):
        if await media.find(name) is None:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the picture is still there")


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to pass")
