"""Watches over silence: armed, disarmed, and heard of once when they elapse."""

import asyncio
from collections.abc import Callable

from service.clock import Clock
from service.reconnect.rule import Watch


class Watches:
    """Timers by name.

    `elapsed` is called on the loop with the watch and a token; whoever handles it later asks `take`
    whether that arming still counts.
    """

    def __init__(self, *, clock: Clock, elapsed: Callable[[Watch, object], None]) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._armed: dict[Watch, asyncio.Task[None]] = {}

    def arm(self, tasks: asyncio.TaskGroup, watch: Watch, *, seconds: float) -> None:
        """Elapse after that many seconds; an arming before this one is forgotten."""
        self.disarm(watch)
        self._armed[watch] = tasks.create_task(self._run(watch, seconds), name=f"watch {watch}")

    def armed(self, watch: Watch) -> bool:
        """Is it watched."""
        return watch in self._armed

    def take(self, watch: Watch, token: object) -> bool:
        """Did that arming elapse without having been disarmed since; it is spent then."""
        if self._armed.get(watch) is not token:
            return False
        del self._armed[watch]
        return True

    def disarm(self, watch: Watch) -> None:
        """Forget it."""
        if task := self._armed.pop(watch, None):
            task.cancel()

    def keep_only(self, kept: Watch | None) -> None:
        """Disarm all but that one."""
        for watch in list(self._armed):
            if watch is not kept:
                self.disarm(watch)

    async def _run(self, watch: Watch, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._elapsed(watch, asyncio.current_task())
