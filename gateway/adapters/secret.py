"""The gateway's own secret, where none is set: made once, and kept in the data folder for its owner alone."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from gateway.core.secrets import weakness

_NAME: Final = "secret"


class SecretError(Exception):
    """The secret cannot be read or kept; the message says what to do."""


def read_or_make(data_dir: Path) -> str:
    """The secret of a data folder.

    Raises:
        SecretError: the folder cannot be written, or what it holds is no secret.
    """
    path = data_dir / _NAME
    try:
        if not path.exists():
            _make(path)
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SecretError(f"{path}: {reason}; set GATEWAY_SECRET instead") from error
    if why := weakness(secret):
        raise SecretError(f"{path} is no secret: {why}. Put back what it held; with another, no key is known any more")
    return secret


def _make(path: Path) -> None:
    """Whole or not at all, and whoever comes second takes what the first has made."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{_NAME}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        os.close(descriptor)
        draft.unlink()
