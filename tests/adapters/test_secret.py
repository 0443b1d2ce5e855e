"""The secret of a data folder: made once, for its owner alone, and never replaced."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.adapters.secret import SecretError, read_or_make
from gateway.core.secrets import weakness


def test_it_is_made_once_and_read_from_then_on(tmp_path: Path) -> None:
    made = read_or_make(tmp_path / "data")

    assert weakness(made) is None
    assert read_or_make(tmp_path / "data") == made
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


def test_those_who_make_it_together_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: read_or_make(tmp_path), range(8)))) == 1


@pytest.mark.parametrize("content", [b"", b"changeme", b"\xff" * 40])
def test_what_is_no_secret_stops_the_start_and_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)

    with pytest.raises(SecretError, match="secret"):
        read_or_make(tmp_path)

    assert (tmp_path / "secret").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy() -> None:
    with pytest.raises(SecretError, match=r"/proc/none.*GATEWAY_SECRET"):
        read_or_make(Path("/proc/none"))
