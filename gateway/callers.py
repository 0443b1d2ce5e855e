"""Who holds a key: one of the settings, else one of the database."""

import contextlib

from gateway.core.keys import Caller, Keyring, unknown_key, well_formed
from gateway.ports import DatabaseUnavailableError, Directory


async def identify(keyring: Keyring, directory: Directory | None, secret: bytes | None) -> Caller:
    """Find who holds a key; a well-formed one that this process does not know may have been made just now.

    Raises:
        GatewayError: `invalid_api_key`; the same words for every wrong key.
    """
    if not secret:
        raise unknown_key(secret)
    caller = keyring.find(secret)
    if caller is None and directory is not None:
        caller = directory.find(secret)
        if caller is None and well_formed(secret):
            with contextlib.suppress(DatabaseUnavailableError):
                await directory.refresh()
            caller = directory.find(secret)
    if caller is None:
        raise unknown_key(secret)
    return caller
