"""`beacon backup now | list | verify | restore | prune | rotate-key`: the session's backups, by hand.

Who does the work: `now` and `prune` the running service alone; `list` and `verify` the running service, or
this process when none answers, and so for `rotate-key`; `restore` always this process. What this process does
it does with the service's settings.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from pydantic import BaseModel

from service import config
from service.backup.assembly import WORK, home_of, session_of
from service.backup.by_hand import listed, opened, restore_in_place
from service.backup.progress import Doings
from service.backup.shelf import Shelf
from service.backup.views import KeptOut, RestoredOut, RotatedOut, VerifiedOut
from service.cli_options import aligned, as_json, at_url, with_token
from service.clock import OutsideClock, SystemClock
from service.config import LogLevel, SessionStore, Settings
from service.datadir import DataDir
from service.errors import (
    ApiDenied,
    ApiRefused,
    ApiUnreachable,
    BackupError,
    BackupKeyMissing,
    BackupMissing,
    BackupUnreadable,
    DataDirInUse,
    VaultFull,
    VaultUnavailable,
)
from service.reconnect.lease_beside import held_beside
from service.remote import Remote
from service.telemetry import logging
from service.waiting import Waiting

EXIT_CODES: Final[dict[str, int]] = {
    "no-backup": BackupMissing.exit_code,
    "backup-key-missing": BackupKeyMissing.exit_code,
    "backup-unreadable": BackupUnreadable.exit_code,
    "vault-unavailable": VaultUnavailable.exit_code,
    "vault-full": VaultFull.exit_code,
}
"""What a problem that the service answers means for the exit code: the same as if it had been met here."""

ASK_IT: Final = "a service is running on it and does not answer there; name it with --url"

T = TypeVar("T")
Answer = dict[str, Any]

numbered = click.argument("sequence", type=click.IntRange(min=1), required=False)


@click.group()
def backup() -> None:
    """See, make and check backups of the session, and bring one back.

    Exit codes: 65 a backup is damaged, 66 there is none of that number, 69 no service answers, 73 a session
    is in the way, 75 a service has DATA_DIR or the account, or what is needed does not answer now, 78 a key
    or a setting is missing.
    """


@backup.command()
@at_url
@with_token
@as_json
@click.pass_context
def now(ctx: click.Context, *, url: str, token: str | None, as_json: bool) -> None:
    """Have the running service keep the session as it is now. A service that stops keeps it by itself."""
    remote = Remote(url, token)
    with _codes(ctx), _waiting("the session is being backed up", remote):
        report = remote.back_up()
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(f"{report['sentence']} ({_size(report['stored_bytes'])} added, {report['took_s']:.1f} s)")


@backup.command("list")
@at_url
@with_token
@as_json
@click.pass_context
def list_(ctx: click.Context, *, url: str, token: str | None, as_json: bool) -> None:
    """List the backups, the latest first: as the service sees them, or where they are when none answers."""
    with Waiting("the backups are being listed"):
        backups = _asked(ctx, lambda: Remote(url, token).backups(), _listed)
    if as_json:
        click.echo(json.dumps({"backups": backups}))
    else:
        click.echo(_table(backups) if backups else "No backups.")


@backup.command()
@numbered
@at_url
@with_token
@as_json
@click.pass_context
def verify(ctx: click.Context, *, sequence: int | None, url: str, token: str | None, as_json: bool) -> None:
    """Fetch a backup, the newest unless told, and check it as a restore would.

    Done by the service, or by this process when none answers.
    """

    async def check(shelf: Shelf) -> Answer:
        return _plain(VerifiedOut.of(await shelf.verify(sequence)))

    remote = Remote(url, token)
    with _waiting("the backup is being checked", remote):
        verified = _asked(ctx, lambda: remote.verify_backup(sequence), lambda: _in_passing(check))
    if as_json:
        click.echo(json.dumps(verified))
    else:
        cost = f"{_size(verified['size_bytes'])}, checked in {verified['took_s']:.1f} s"
        click.echo(f"backup {verified['sequence']} of {verified['taken_at']} is good: {cost}")


@backup.command()
@numbered
@click.option("--to", "target", type=click.Path(path_type=Path), help="A file to be made, instead.")
@click.option("--force", is_flag=True, help="Even if a session that can be used is there; it is moved aside.")
@as_json
def restore(*, sequence: int | None, target: Path | None, force: bool, as_json: bool) -> None:
    """Bring a backup, the newest unless told, back to where SESSION_STORE says, or with --to into a new file.

    Seldom needed: a service that starts without its session brings it back by itself. Only while no service
    runs on DATA_DIR or, with SESSION_STORE=postgres, on the account; with --to at any time. Keys for the talk
    with each peer are agreed upon anew, because those that were used since the backup must not be used again;
    they stay where the database proves that none were.
    """
    if target is not None and force:
        raise click.UsageError("--force is for a restore in place: with --to nothing is ever overwritten")
    settings = _settings()
    with _waiting("the session is being restored"):
        restored, where = (
            _into_file(settings, target, sequence) if target else _in_place(settings, sequence, force=force)
        )
    if as_json:
        click.echo(json.dumps(restored))
    else:
        click.echo(
            f"backup {restored['sequence']} of {restored['taken_at']} is in {where}; "
            f"{restored['sessions_dropped']} sessions with peers begin anew"
        )


@backup.command()
@at_url
@with_token
@as_json
@click.pass_context
def prune(ctx: click.Context, *, url: str, token: str | None, as_json: bool) -> None:
    """Have the running service forget old backups: the last 24 stay, then one a day for 14 days.

    It does that by itself after each backup.
    """
    with _codes(ctx), Waiting("old backups are being removed"):
        pruned = Remote(url, token).prune_backups()
    if as_json:
        click.echo(json.dumps(pruned))
    else:
        click.echo(f"{len(pruned['forgotten'])} backups forgotten, {_size(pruned['freed_bytes'])} freed")


@backup.command("rotate-key")
@at_url
@with_token
@as_json
@click.pass_context
def rotate_key(ctx: click.Context, *, url: str, token: str | None, as_json: bool) -> None:
    """Seal the newest backup with the first key of BACKUP_KEYS, and say which old keys are still needed.

    Done by the service, with the keys that it was started with, or by this process when none answers.
    """
    remote = Remote(url, token)
    with _waiting("the newest backup is being sealed anew", remote):
        rotated = _asked(ctx, remote.rotate_backup_key, lambda: _rotate(_settings()))
    if as_json:
        click.echo(json.dumps(rotated))
        return
    done = "is now" if rotated["changed"] else "was already"
    click.echo(f"backup {rotated['sequence']} {done} sealed with key {rotated['key_id']}")
    for key_id, number in rotated["others"].items():
        click.echo(f"{number} older ones need key {key_id}: keep it in BACKUP_KEYS until they are forgotten")


@contextmanager
def _waiting(what: str, remote: Remote | None = None) -> Iterator[None]:
    """Say that it is being done, and how far it is: in this process, or else in the service."""
    doings = Doings(SystemClock())

    def far() -> str:
        here = doings.now
        if remote is None or (here is not None and here.words):
            return "" if here is None else here.words
        try:
            return remote.backup_progress()
        except (ApiUnreachable, ApiRefused, ApiDenied):
            return ""  # what is waited for says what is wrong

    with Waiting(what, far=far), doings.begin(what):
        yield


# --- by the service -------------------------------------------------------------------------------------


@contextmanager
def _codes(ctx: click.Context) -> Iterator[None]:
    """End with the exit code that the service's problem has here, and its sentence."""
    try:
        yield
    except ApiRefused as refused:
        if refused.kind not in EXIT_CODES:
            raise
        click.echo(f"beacon: {refused}", err=True)
        ctx.exit(EXIT_CODES[refused.kind])


def _asked(ctx: click.Context, ask: Callable[[], T], look: Callable[[], T]) -> T:
    """The service's answer, or ours when none answers where it would be by default."""
    try:
        with _codes(ctx):
            return ask()
    except ApiUnreachable:
        if ctx.get_parameter_source("url") is not ParameterSource.DEFAULT:
            raise
    return look()


# --- by this process --------------------------------------------------------------------------------------


def _settings() -> Settings:
    settings = config.load()
    logging.configure(settings.log_format, LogLevel.ERROR)
    return settings


def _listed() -> list[Answer]:
    return [_plain(KeptOut.of(kept)) for kept in asyncio.run(listed(_settings()))]


def _in_passing(work: Callable[[Shelf], Awaitable[T]]) -> T:
    with tempfile.TemporaryDirectory(prefix="beacon-") as scratch:
        return _beside(_settings(), Path(scratch), work)


def _beside(settings: Settings, scratch: Path, work: Callable[[Shelf], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened(settings, scratch=scratch, clock=SystemClock()) as shelf:
            return await work(shelf)

    return asyncio.run(run())


def _into_file(settings: Settings, target: Path, sequence: int | None) -> tuple[Answer, str]:
    async def bring(shelf: Shelf) -> tuple[Answer, str]:
        return _plain(RestoredOut.of(await shelf.restore_to(target, sequence))), str(target)

    return _beside(settings, target.parent, bring)


def _in_place(settings: Settings, sequence: int | None, *, force: bool) -> tuple[Answer, str]:
    with _held(settings, otherwise="stop it first, or give --to FILE") as data:
        home = home_of(settings, session_of(settings, data.session))

        async def bring(shelf: Shelf) -> tuple[Answer, str]:
            try:
                async with _owned(settings) as fence:
                    restored = await restore_in_place(
                        shelf, home, sequence, fence=fence, force=force, clock=SystemClock()
                    )
            finally:
                await home.close()
                await shelf.scratch.clear()  # a home may leave a copy there, for backups that follow
            return _plain(RestoredOut.of(restored)), home.place

        return _beside(settings, data.path / WORK, bring)


def _owned(settings: Settings) -> AbstractAsyncContextManager[int]:
    """The lease, where other machines reach the session."""
    if settings.session_store is SessionStore.FILE or settings.database_url is None:
        return nullcontext(0)
    url = settings.database_url.get_secret_value()
    return held_beside(url, account=settings.account, clock=OutsideClock())


def _rotate(settings: Settings) -> Answer:
    async def rotate(shelf: Shelf) -> Answer:
        try:
            return _plain(RotatedOut.of(await shelf.rotate_key()))
        except ValueError as error:
            raise BackupError(f"a backup was made at the same moment ({error}); try again") from error

    with _held(settings, otherwise=ASK_IT) as data:
        return _beside(settings, data.path / WORK, rotate)


@contextmanager
def _held(settings: Settings, *, otherwise: str) -> Iterator[DataDir]:
    try:
        with DataDir(settings.data_dir) as data:
            yield data
    except DataDirInUse as error:
        raise DataDirInUse(f"DATA_DIR={settings.data_dir}: {otherwise}") from error


# --- as text ----------------------------------------------------------------------------------------------


def _plain(view: BaseModel) -> Answer:
    return view.model_dump(mode="json")


def _table(backups: list[Answer]) -> str:
    rows = [("SEQUENCE", "TAKEN", "SESSION", "ADDED", "MADE", "CHECKED", "KEY")]
    rows += [
        (
            str(kept["sequence"]),
            str(kept["taken_at"]),
            _size(kept["size_bytes"]),
            _size(kept["stored_bytes"]),
            "at the stop" if kept["clean"] else "running",
            kept["verified_at"] or "never",
            str(kept["key_id"]),
        )
        for kept in backups
    ]
    return aligned(rows)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:.1f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1000:.1f} kB"
