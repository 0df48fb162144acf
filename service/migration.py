"""`beacon migrate` and `beacon queue move`: the schema brought up to date, messages carried over."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

import click
from prometheus_client import CollectorRegistry

from service import config
from service.clock import Clock, SystemClock
from service.config import LogLevel, Settings
from service.datadir import DataDir
from service.errors import BeaconError, SettingsError
from service.postgres import TROUBLE
from service.queue import migrations, postgres_migrations
from service.queue.metrics import QueueMetrics
from service.queue.move import Moved
from service.queue.move import move as carry
from service.queue.postgres import PostgresStore
from service.queue.postgres_connection import DEADLINE_S, connect
from service.queue.postgres_connection import translate as postgres_error
from service.queue.sqlite_connection import migrate_file
from service.telemetry import logging

TELL_EVERY_S: Final = 1.0

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line of stdout.")


@dataclass(frozen=True, slots=True)
class Migrated:
    """Which store, its schema now, and what was applied to get there."""

    store: str
    schema: int
    applied: list[int]


T = TypeVar("T", Migrated, Moved)


@click.command()
@as_json
def migrate(*, as_json: bool) -> None:
    """Bring the queue's schema up to this version; `beacon run` does the same at its start.

    In PostgreSQL when DATABASE_URL is set, else in DATA_DIR. Safe to repeat. A schema of a newer version is
    refused.
    """
    migrated = _told(_migrate, as_json=as_json)
    if not as_json:
        applied = ", ".join(map(str, migrated.applied)) or "nothing to do"
        click.echo(f"{migrated.store}: schema {migrated.schema} (applied: {applied})")


@click.command()
@click.option("--to", "target", type=click.Choice(["postgres"]), required=True, help="Where to.")
@as_json
def move(*, target: str, as_json: bool) -> None:
    """Carry the queue in DATA_DIR into the PostgreSQL of DATABASE_URL, in order, nothing lost or doubled.

    The service on that DATA_DIR must be stopped. Killed anywhere, run it again: it goes on. The old file is
    kept beside the others under a new name.
    """
    assert target == "postgres"
    moved = _told(_move, as_json=as_json)
    if moved.other_accounts:
        click.echo(
            f"beacon: the file also holds messages of {', '.join(moved.other_accounts)} and stays; "
            "set ACCOUNT to carry those, too",
            err=True,
        )
    if not as_json:
        kept = f"; the old file is kept as {moved.kept_as}" if moved.kept_as else ""
        click.echo(
            f"{moved.messages} messages carried ({moved.present} were there), {moved.files} files, "
            f"{moved.chats} chats{kept}"
        )


def _told(work: Callable[[Settings], T], *, as_json: bool) -> T:
    """What the work answers; as JSON also on stdout, where an error of ours is told, too, before it is
    raised."""
    settings = config.load()
    logging.configure(settings.log_format, LogLevel.ERROR)
    try:
        answer = work(settings)
    except BeaconError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "error": str(error)}))
        raise
    if as_json:
        click.echo(json.dumps({"ok": True, **asdict(answer)}))
    return answer


def _migrate(settings: Settings) -> Migrated:
    if settings.database_url is not None:
        applied = asyncio.run(_migrate_postgres(settings.database_url.get_secret_value()))
        return Migrated("postgres", max(postgres_migrations.migrations()), applied)
    with DataDir(settings.data_dir) as data:
        return Migrated("sqlite", max(migrations.migrations()), migrate_file(data.queue))


async def _migrate_postgres(url: str) -> list[int]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            connection = await connect(url)
        try:
            return await postgres_migrations.migrate(connection)
        finally:
            connection.terminate()
    except (*TROUBLE, ValueError) as error:
        raise postgres_error(error) from None


def _move(settings: Settings) -> Moved:
    if settings.database_url is None:
        raise SettingsError(["DATABASE_URL: must be set to the PostgreSQL that the queue is moved to"])
    with DataDir(settings.data_dir) as data:
        return asyncio.run(_carry(data.queue, settings.database_url.get_secret_value(), settings.account))


async def _carry(path: Path, url: str, account: str) -> Moved:
    clock = SystemClock()
    metrics = QueueMetrics(CollectorRegistry(), account)  # a store counts; here nobody reads it
    store = PostgresStore(url, account=account, metrics=metrics, clock=clock)
    await store.open()
    try:
        return await carry(path, store, account=account, clock=clock, progress=Told(clock))
    finally:
        await store.close()


class Told:
    """Progress on stderr, once a second: what takes less shows nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """So many of so many messages are carried."""
        if self._clock.monotonic() - self._last >= TELL_EVERY_S:
            self._last = self._clock.monotonic()
            click.echo(f"beacon: {done:,} of {total:,} messages carried", err=True)
