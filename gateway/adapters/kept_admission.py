"""Lets in requests whose pictures are all kept: one command, which is written once, and no task that waits for it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from gateway.adapters.limit_books import Books, note_of
from gateway.adapters.redis_connection import PackedCommand
from gateway.core.limits import Admission, OnAdmission
from gateway.ports import Observer

# Of a request that wants no image nothing is noted: any name will do in the place of its id.
_NO_ID: Final = "-"


class Asking(Protocol):
    """A store that is asked the same again and again."""

    def pack_look_up(self, *keys: str) -> PackedCommand:
        """Pack the reading of keys."""

    def pack_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> PackedCommand:
        """Pack a script, for a server that knows it."""

    def ask(self, command: PackedCommand, tell: Callable[[Any], None]) -> None:
        """Run what was packed; `tell` hears the reply, None where there is none."""


class KeptAdmission:
    """Lets in, each time it is called, a request of this caller with these pictures."""

    def __init__(self, store: Asking, observer: Observer, script: str, books: Books, lookups: Sequence[str]) -> None:
        self._store: Final = store
        self._observer: Final = observer
        self._books: Final = books
        if books.limits:
            keys = (*books.keys, note_of(books.caller, _NO_ID), *lookups)
            self._command = store.pack_script(script, keys, "admit_kept", books.packed, _NO_ID, 0)
        else:
            self._command = store.pack_look_up(*lookups)

    def __call__(self, tell: OnAdmission) -> None:
        """Let one in; `tell` hears None where nothing was taken.

        That is where a picture is not there, a limit refuses, or Redis is away or has to be told the script.
        """
        self._store.ask(self._command, partial(self._answered, tell))

    def _answered(self, tell: OnAdmission, answer: list[Any] | None) -> None:
        try:
            admission = self._admission(answer)
        except Exception as error:  # noqa: BLE001 - nobody else hears it, and the caller waits
            self._observer.fault("limiter", error)
            admission = None
        tell(admission)

    def _admission(self, answer: list[Any] | None) -> Admission | None:
        if not answer:
            return None
        if not self._books.limits:
            return None if None in answer else Admission(found=answer)
        verdict, found = self._books.read(answer)
        return None if verdict.refusal is not None else Admission(verdict.standings, found)
