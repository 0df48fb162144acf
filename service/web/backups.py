"""`/api/v1/backups`: the copies of the session that are kept, one more of them, and whether they are good."""

import re
from collections.abc import Callable
from typing import Final

from aiohttp import web

from service.backup.assembly import OFF
from service.backup.report import Outcome
from service.backup.views import (
    BackupsOut,
    BackupStatusOut,
    KeptOut,
    PrunedOut,
    ReportOut,
    RotatedOut,
    VerifiedOut,
)
from service.web import ports, problem
from service.web.problem import BackupTrouble, FieldError

BACKUPS: Final = "/api/v1/backups"
NEWEST: Final = "newest"
SEQUENCE: Final = rf"^([1-9][0-9]{{0,17}}|{NEWEST})$"

TROUBLES: Final[dict[Outcome, BackupTrouble]] = {
    Outcome.REFUSED: BackupTrouble.SESSION_UNFIT,
    Outcome.UNREACHABLE: BackupTrouble.UNREACHABLE,
    Outcome.FULL: BackupTrouble.FULL,
    Outcome.FENCED: BackupTrouble.NOT_OWNER,
    Outcome.NOT_OWNER: BackupTrouble.NOT_OWNER,
    Outcome.FAILED: BackupTrouble.FAILED,
}
"""What is answered when a backup that was asked for was not made."""


class Backups:
    """The handlers. `backups` is None when none are made; `changed` is called when there is news."""

    def __init__(self, *, backups: ports.Backups | None, changed: Callable[[], None]) -> None:
        self._backups = backups
        self._changed = changed

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [
            web.get(BACKUPS, self.get),
            web.post(BACKUPS, self.back_up),
            web.post(f"{BACKUPS}/prune", self.prune),
            web.post(f"{BACKUPS}/rotate-key", self.rotate_key),
            web.post(f"{BACKUPS}/{{sequence}}/verify", self.verify),
        ]

    async def get(self, _: web.Request) -> web.Response:
        """200 with all of them, the latest first; an empty list where none are made."""
        kept = [] if self._backups is None else await self._backups.listed()
        answer = BackupsOut(status=status_out(self._backups), backups=[KeptOut.of(backup) for backup in kept])
        return web.json_response(text=answer.model_dump_json())

    async def back_up(self, _: web.Request) -> web.Response:
        """200: the session as it is now is kept. A problem says why it is not."""
        report = await self._there().back_up()
        self._changed()
        if not report.outcome.success:
            raise problem.of_backup(TROUBLES[report.outcome], report.sentence)
        return web.json_response(text=ReportOut.of(report).model_dump_json())

    async def verify(self, request: web.Request) -> web.Response:
        """200: it was fetched, unsealed and checked as a restore would. A problem says why it is not good."""
        given = request.match_info["sequence"]
        if not re.fullmatch(SEQUENCE, given):
            rule = f"must be the number of a backup, or {NEWEST}"
            raise problem.invalid([FieldError("sequence", rule)])
        try:
            verified = await self._there().verify(None if given == NEWEST else int(given))
        finally:
            self._changed()
        return web.json_response(text=VerifiedOut.of(verified).model_dump_json())

    async def prune(self, _: web.Request) -> web.Response:
        """200 with what the rule of retention did not keep."""
        pruned = await self._there().prune()
        self._changed()
        return web.json_response(text=PrunedOut.of(pruned).model_dump_json())

    async def rotate_key(self, _: web.Request) -> web.Response:
        """200: the newest is sealed with the first key that the service was started with."""
        try:
            rotated = await self._there().rotate_key()
        except ValueError as error:  # another process kept one in between
            raise problem.of_backup(BackupTrouble.FAILED, str(error)) from error
        self._changed()
        return web.json_response(text=RotatedOut.of(rotated).model_dump_json())

    def _there(self) -> ports.Backups:
        if self._backups is None:
            why = "None are made: BACKUP_ENABLED=false."
            raise problem.of_backup(BackupTrouble.OFF, why)
        return self._backups


def status_out(backups: ports.Backups | None) -> BackupStatusOut:
    """The backups at a glance, as the API and the live stream show them."""
    return BackupStatusOut.of(OFF if backups is None else backups.status())
