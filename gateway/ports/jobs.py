"""What is asked of the world for requests whose callers come back."""

from typing import Protocol

from gateway.core.jobs import Ended, Job, Receipt, Wanted


class Jobs(Protocol):
    """The durable record of jobs. Its methods raise `DatabaseUnavailableError`."""

    async def add(self, id_: str, key: str, wanted: Wanted, webhook: str | None) -> tuple[Job, bool]:
        """Take a job of a key; the one of this id, and whether it is new."""

    async def remove(self, id_: str) -> None:
        """Forget a job that nobody was promised."""

    async def find(self, id_: str) -> Job | None:
        """A job, without what is needed to do it; None where there is none any more."""

    async def begin(self, job: Job) -> None:
        """Note that it is being worked on."""

    async def end(self, job: Job, ended: Ended) -> Job | None:
        """Note how it ended; None where it was taken from us."""

    async def orphans(self) -> list[Job]:
        """Jobs of dead workers: not done, or with a webhook that is still to be told."""

    async def adopt(self, job: Job) -> Job | None:
        """Make an orphan ours; None where somebody else was first."""

    async def tried(self, job: Job, tries: int, *, over: bool) -> bool:
        """Note that the webhook was called, and whether it is not to be again; False where it was taken from us."""

    async def forget(self) -> None:
        """Remove what is no longer kept."""


class Webhooks(Protocol):
    """Sends signed messages."""

    async def post(self, url: str, id_: str, body: bytes) -> Receipt:
        """Send a message once; `id_` is by what its receiver knows it when it comes again. Never raises."""
