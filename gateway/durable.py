"""The database and all that stands on it, wired: who may ask, what is used, and the tasks that keep both up to date."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.adapters.database import Database
from gateway.adapters.declared import Declarations
from gateway.adapters.migrations import WrongDatabaseError, is_current, upgrade
from gateway.adapters.records import Records
from gateway.adapters.roster import Roster
from gateway.adapters.secret import read_or_make
from gateway.adapters.teams import TeamDirectory
from gateway.adapters.usage import UsageCounter, UsageReport
from gateway.core.declared import DeclaredError, DeclaredTeam
from gateway.core.keys import parse_static
from gateway.ports import Clock, DatabaseUnavailableError, Observer
from gateway.settings import Settings

_MIGRATE_EVERY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Durable:
    """What stands on the database."""

    url: str
    database: Database
    directory: TeamDirectory
    counter: UsageCounter
    roster: Roster
    records: Records
    report: UsageReport
    declarations: Declarations
    declared: dict[str, DeclaredTeam] | None

    @classmethod
    def of(
        cls, settings: Settings, database: Database, clock: Clock, declared: dict[str, DeclaredTeam] | None
    ) -> "Durable":
        """Wire it for these settings; `declared` is what the teams file says."""
        secret = settings.secret or read_or_make(Path(settings.data_dir))
        return cls(
            url=settings.durable_url,
            database=database,
            directory=TeamDirectory(database, secret, clock),
            counter=UsageCounter(database, clock),
            roster=Roster(database, secret, clock, parse_static(settings.keys)),
            records=Records(database, clock),
            report=UsageReport(database),
            declarations=Declarations(database, clock, parse_static(settings.keys)),
            declared=declared,
        )

    async def run(self, observer: Observer) -> None:
        """Migrate as soon as there is a database; then, for ever, learn what changes in it and tell what is used."""
        while not await self.prepare(observer):  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(_MIGRATE_EVERY)
        await asyncio.gather(self.directory.keep_fresh(), self.counter.keep_flushing())

    async def aclose(self) -> None:
        """Tell what was used at last, and let go."""
        with contextlib.suppress(DatabaseUnavailableError):
            await self.counter.flush()
        await self.database.aclose()

    async def prepare(self, observer: Observer) -> bool:
        """Bring the database to the newest schema and the declared teams into it; False where it is away, or wrong."""
        try:
            if not await self.database.read(is_current):
                await asyncio.to_thread(upgrade, self.url)
            if self.declared is not None:
                await self.declarations.apply(self.declared)
        except DatabaseUnavailableError:
            return False
        except (WrongDatabaseError, DeclaredError) as error:
            observer.fault("database", error)
            return False
        return True
