"""An empty session in place of the one there is, once no engine has it open."""

import asyncio
from collections.abc import Callable

import structlog

from service.errors import BeaconError, DataDirUnusable, StoreError, StoreUnavailable
from service.reconnect.ports import Session

log = structlog.get_logger(__name__)


def answer(asked: "asyncio.Future[None]", error: BeaconError | None = None) -> None:
    """Tell whoever asked how it ended."""
    if asked.done():  # whoever asked did not wait for the answer
        return
    if error is None:
        asked.set_result(None)
    else:
        asked.set_exception(error)


class Clearing:
    """Remembers that the session is to be removed. `done` is called on the loop after each removal."""

    def __init__(self, session: Session, *, done: Callable[[], None]) -> None:
        self._session = session
        self._done = done
        self._asked: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> bool:
        """No engine may be started now."""
        return bool(self._asked)

    def ask(self, asked: "asyncio.Future[None]") -> None:
        """Have the session removed; the future is told when that is done, or gets StoreUnavailable."""
        self._asked.append(asked)

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """No engine runs: do what was asked for, if anything was."""
        if self._asked and self._task is None:
            self._task = tasks.create_task(self._run(), name="clearing")

    async def _run(self) -> None:
        failed: StoreUnavailable | None = None
        try:
            await asyncio.to_thread(self._renew)
        except (OSError, DataDirUnusable, StoreError) as error:
            log.exception("connection.session_not_cleared")
            failed = StoreUnavailable(f"the session cannot be removed: {error}")
        self._task = None
        asked, self._asked = self._asked, []
        for waiting in asked:
            answer(waiting, failed)
        self._done()

    def _renew(self) -> None:
        self._session.remove()
        self._session.prepare()
