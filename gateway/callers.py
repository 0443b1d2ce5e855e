"""Who holds a key: one of the settings, else one of the database."""

from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Keyring, unknown_key, well_formed
from gateway.ports import DatabaseUnavailableError, Directory


def caller_of(keyring: Keyring, directory: Directory | None, secret: bytes | str | None) -> Caller | None:
    """Who holds a key, as far as this process knows; None too for what is no secret."""
    if not isinstance(secret, bytes):
        return None
    caller = keyring.find(secret)
    return directory.find(secret) if caller is None and directory is not None else caller


async def identify(keyring: Keyring, directory: Directory | None, secret: bytes | str | None) -> Caller:
    """Find who holds a key; a well-formed one that this process does not know may have been made just now.

    A str is the id of a key whose secret was told before: work goes on in its name.

    Raises:
        GatewayError: `invalid_api_key`, the same words for every wrong key; `store_unavailable` where only the
            database could tell whether it is one, and is away; `key_disabled` for an id that is gone.
    """
    if isinstance(secret, str):
        return await _named(keyring, directory, secret)
    if not secret:
        raise unknown_key(secret)
    caller = caller_of(keyring, directory, secret)
    if caller is None and directory is not None and well_formed(secret):
        await _refresh(directory)
        caller = directory.find(secret)
    if caller is None:
        raise unknown_key(secret)
    return caller


async def _named(keyring: Keyring, directory: Directory | None, id_: str) -> Caller:
    caller = keyring.named(id_)
    if caller is None and directory is not None:
        caller = directory.named(id_)
        if caller is None:
            await _refresh(directory)
            caller = directory.named(id_)
    if caller is None:
        raise GatewayError(Kind.KEY_DISABLED, "The API key that asked for this is no more.")
    return caller


async def _refresh(directory: Directory) -> None:
    try:
        await directory.refresh()
    except DatabaseUnavailableError:
        message = "The gateway's database is away, and this key is not known here; ask again."
        raise GatewayError(Kind.STORE_UNAVAILABLE, message) from None
