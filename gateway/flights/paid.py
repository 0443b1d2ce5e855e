"""One paid call as the ledger sees it, and the wait for one that somebody else pays."""

import asyncio
from typing import Final

from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import Draft, Generation
from gateway.flights.audience import Audience
from gateway.flights.errands import Errands
from gateway.flights.settling import Flown
from gateway.ports import DatabaseUnavailableError, Ledger, Wakeups

# In seconds. V1 sends the head of its answer together with the answer, so the end usually comes before this and its
# commit serves both.
_NOTE_AFTER: Final = 0.2
# Seconds between two looks at a row, for a word between workers may be lost.
_POLL_EVERY: Final = 0.5
# What a row ends with that was let go of before anything was sent: who had asked was gone, or the database was away.
_NOT_SENT: Final = frozenset({Kind.CLIENT_CLOSED_REQUEST, Kind.STORE_UNAVAILABLE})


class PaidCall:
    """The upstream tells it how far the call is; it makes sure that the ledger knows before anything is paid."""

    def __init__(self, ledger: Ledger, errands: Errands, draft: Draft, audience: Audience) -> None:
        self._ledger: Final = ledger
        self._errands: Final = errands
        self._draft: Final = draft
        self._audience: Final = audience
        self._note: asyncio.TimerHandle | None = None
        self.row: Generation | None = None
        """The ledger's row; None while nothing is held or sent."""

    async def sending(self, upstream_key_id: str) -> None:
        """Commit that the call is being sent on this key; returns before the first byte may leave.

        Raises:
            EarlierError: it was made already, or is in flight; nothing may be sent.
            GatewayError: `insufficient_quota`, `store_unavailable`, `client_closed_request`; nothing may be sent.
        """
        try:
            if self.row is None:
                await self._reserve(upstream_key_id)
            elif (moved := await self._ledger.move(self.row, upstream_key_id)) is not None:
                self.row = moved
            else:
                raise GatewayError(Kind.UPSTREAM_UNKNOWN, "Another worker took this call over; its outcome is unknown.")
        except asyncio.CancelledError:
            self._let_go()
            raise
        except DatabaseUnavailableError:
            self._let_go()
            message = "The gateway's database is away, so that nothing new is paid for; nothing was sent."
            raise GatewayError(Kind.STORE_UNAVAILABLE, message) from None

    async def accepted(self, _upstream_key_id: str, request_id: str, task_id: str) -> None:
        """Note 302's ids while its answer is out: with a task id, at once, for anybody can go on with the call."""
        row = self.row
        if row is None:
            return
        if not task_id:
            self._note = asyncio.get_running_loop().call_later(
                _NOTE_AFTER, self._errands.insist, lambda: self._ledger.accept(row, request_id, "")
            )
            return
        try:
            self.row = await self._ledger.accept(row, request_id, task_id) or row
        except DatabaseUnavailableError:
            # The end does without: it needs no version where it brings a picture.
            self._errands.insist(lambda: self._ledger.accept(row, request_id, task_id))

    async def _reserve(self, upstream_key_id: str) -> None:
        self._audience.check()
        self.row = await self._ledger.reserve(self._draft, upstream_key_id)
        # Who hangs up and asks again from now on finds the row. Who did so before may have been answered by another
        # worker, while this one stood still: but for this look its picture would be paid a second time.
        self._audience.check()

    def _let_go(self) -> None:
        """What was begun in the database may still be committed there, though nobody waits for it any more."""
        if self.row is None:
            self._errands.insist(lambda: self._ledger.cancel(self._draft))

    def end(self) -> Generation | None:
        """The row, at the end of the call: what is still to be noted is noted with it."""
        if self._note is not None:
            self._note.cancel()
        return self.row


class Adopted:
    """A call of a worker that died."""

    def __init__(self, row: Generation) -> None:
        self._row: Final = row

    def end(self) -> Generation:
        """The row as we adopted it."""
        return self._row


async def follow(ledger: Ledger, wakeups: Wakeups, row: Generation) -> Flown | None:
    """Wait for the picture that another worker pays for; a dead worker's row is ended by the recovery.

    None where that worker let go of it before anything was sent.

    Raises:
        GatewayError: the one that it ended with; `upstream_unknown` where its row is lost.
    """
    while row.finished is None:
        await wakeups.wait(row.id, _POLL_EVERY)
        try:
            found = await ledger.find([row.id])
        except DatabaseUnavailableError:
            continue
        if not found:
            raise GatewayError(Kind.UPSTREAM_UNKNOWN, "The ledger has lost this call; its outcome is unknown.")
        row = found[0]
    if row.url is not None:
        return Flown(row.url, joined=True)
    if row.error.kind in _NOT_SENT:
        return None
    raise row.error
