"""The driver's own connection, for what runs with every paid call."""

from typing import cast

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection


def dbapi_connection(connection: Connection) -> DBAPIConnection:
    """The DBAPI connection under one of Core's: the pool's own hands on each attribute in Python."""
    return cast("DBAPIConnection", connection.connection.dbapi_connection)  # None only where it was invalidated
