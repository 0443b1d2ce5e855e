"""How paid calls ended, written for all of a transaction at once, each with its money."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Text, bindparam, case, func, select, update

from gateway.adapters.money import moves_of
from gateway.adapters.prepared import prepared
from gateway.adapters.tables import GENERATIONS, now
from gateway.adapters.writer import ApartError, Transaction
from gateway.core.ledger import Ending, Generation, State

_G: Final = GENERATIONS.c
# Not by its version: a move that nobody heard of, for the database was slow to say so, was our own.
_OURS: Final = (_G.owner == bindparam("by")) & _G.finished.is_(None)
# What 302 said is taken from anybody who brings it while nobody has, and when nobody hoped for it any more.
_SAID: Final = bindparam("is_known", type_=Boolean) & (_G.finished.is_(None) | (_G.state == State.UNKNOWN.value))
_REQUEST_ID: Final = func.coalesce(bindparam("request_id", type_=Text), _G.request_id)


def _kept(drawn: Any) -> Any:  # noqa: ANN401 - an address, or a parameter for one
    """Where a picture lies: its ending may have waited for the database until it was copied into our store."""
    return func.coalesce(_G.url, drawn)


_DRAWN: Final = bindparam("url", type_=Text)
_END: Final = prepared(
    update(GENERATIONS)
    .where(_G.id == bindparam("row"), _OURS | _SAID)
    .values(
        state=bindparam("state"),
        version=_G.version + 1,
        finished=now(),
        actual=bindparam("actual"),
        url=case((_DRAWN.is_not(None), _kept(_DRAWN))),  # what ended without a picture has no address
        error_code=bindparam("error_code"),
        error_message=bindparam("error_message"),
        request_id=_REQUEST_ID,
    )
)


def end_each(transaction: Transaction, ended: Sequence[tuple[Generation, Ending]]) -> list[bool]:
    """Note how each of them ended, and settle its money; whether that was news.

    Raises:
        ApartError: it was not news for some of many.
    """
    if _END.change(transaction, [_values(row, ending) for row, ending in ended]) < len(ended):
        if len(ended) > 1:
            raise ApartError
        row, ending = ended[0]
        return [ending.url is not None and _came_late(transaction, row, ending)]
    moves = moves_of(transaction)
    for row, ending in ended:
        if ending.actual is not None:
            moves.settle(row, held=-row.reserved, spent=ending.actual, images=int(ending.url is not None))
    return [True] * len(ended)


def _values(row: Generation, ending: Ending) -> dict[str, Any]:
    return {
        "row": row.id,
        "by": row.owner,
        "is_known": ending.actual is not None,
        "state": ending.state.value,
        "actual": ending.actual,
        "url": ending.url,
        "error_code": ending.error.kind.row.code if ending.error else None,
        "error_message": ending.error.message if ending.error else None,
        "request_id": ending.request_id or None,
    }


def _came_late(transaction: Transaction, row: Generation, ending: Ending) -> bool:
    """Take in a picture when nobody hoped for it any more, whether its cost was settled already or believed to be none.

    What was billed stays; what was thought to cost nothing costs what is known now, until 302's bill says otherwise.
    """
    gone = (_G.id == row.id) & (_G.state == State.FAILED.value)
    before = transaction.connection.execute(select(_G.actual, _G.billed).where(gone)).first()
    if before is None:
        return False
    actual, billed = (before.actual, before.billed) if before.actual else (ending.actual, False)
    values = {"state": State.SUCCEEDED.value, "version": _G.version + 1, "actual": actual, "billed": billed}
    values |= {"url": _kept(ending.url), "error_code": None, "error_message": None}
    if ending.request_id:
        values["request_id"] = ending.request_id
    transaction.connection.execute(update(GENERATIONS).where(gone).values(values))
    spent = (actual or 0) - (before.actual or 0)
    moves_of(transaction).settle(row, held=0, spent=spent, images=1)
    return True
