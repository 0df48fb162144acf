"""The service, which SIGKILLs itself at a point: `python -m tests.chaos.killable demo --external`.

It is the service's own program with its own code. KILL_AT, an Order, says at which point and at which passage
of it; without KILL_AT nothing is different. The engine dies with its parent, as it does everywhere.
"""

import asyncio
import os
import signal
import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, Self

import asyncpg

from service.cli import main as beacon
from service.engine.protocol import Receipt, Refused, Sent
from service.queue.receipts import Receipts, proves
from service.reconnect.supervisor import Supervisor

VARIABLE: Final = "KILL_AT"


class Point(StrEnum):
    """Where the service is killed."""

    RANDOM = "random"  # from outside, at any moment
    BEFORE_COMMIT = "before_commit"  # written, not committed: a message handed in, a claim, what came of one
    AFTER_COMMIT = "after_commit"  # on disk, nobody was told
    SENDING = "sending"  # the engine has it
    ACKED_NOT_RECORDED = "acked_not_recorded"  # WhatsApp has it, the store does not know
    RECEIPT_NOT_RECORDED = "receipt_not_recorded"  # WhatsApp will not tell again, the store does not know


@dataclass(frozen=True, slots=True)
class Order:
    """Die at this passage of the point (1 is the first); `delay_s` later where the point lasts a while."""

    point: Point
    passage: int
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.point}/{self.passage}/{self.delay_s}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The order that was made this text."""
        point, passage, delay_s = text.split("/")
        return cls(Point(point), int(passage), float(delay_s))


class Trigger:
    """Counts passages, and ends the process at the one that was ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._passages = 0

    def passed(self, point: Point) -> bool:
        """Count a passage; whether it is the one."""
        if point is not self._order.point:
            return False
        self._passages += 1
        return self._passages == self._order.passage

    def at(self, point: Point) -> None:
        """Die here, if this is the passage."""
        if self.passed(point):
            self.pull()

    def pull(self) -> None:
        """Die. Nothing of this process does anything more."""
        os.kill(os.getpid(), signal.SIGKILL)

    def pull_soon(self) -> None:
        """Die in a moment, whatever happens until then."""
        asyncio.get_running_loop().call_later(self._order.delay_s, self.pull)


def arm(trigger: Trigger) -> None:
    """Lay the points into the program."""
    _commits_of_sqlite(trigger)
    _commits_of_postgres(trigger)
    _sends(trigger)
    _receipts(trigger)


def _commits_of_sqlite(trigger: Trigger) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            trigger.at(Point.BEFORE_COMMIT)
            cursor = super().execute(sql)
            trigger.at(Point.AFTER_COMMIT)
            return cursor

    sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]


def _commits_of_postgres(trigger: Trigger) -> None:
    original = asyncpg.Connection.execute

    async def execute(
        self: asyncpg.Connection, query: str, *arguments: object, timeout: float | None = None
    ) -> str:
        commits = query.rstrip(";") == "COMMIT"
        if commits:
            trigger.at(Point.BEFORE_COMMIT)
        answer: str = await original(self, query, *arguments, timeout=timeout)
        if commits:
            trigger.at(Point.AFTER_COMMIT)
        return answer

    asyncpg.Connection.execute = execute  # type: ignore[method-assign, assignment]


def _sends(trigger: Trigger) -> None:
    original = Supervisor.send

    async def send(self: Supervisor, **message: Any) -> Sent | Refused:
        mine = trigger.passed(Point.SENDING)
        if mine:
            trigger.pull_soon()
        answer = await original(self, **message)
        if mine:
            trigger.pull()
        if isinstance(answer, Sent):
            trigger.at(Point.ACKED_NOT_RECORDED)
        return answer

    Supervisor.send = send  # type: ignore[method-assign]


def _receipts(trigger: Trigger) -> None:
    original = Receipts.put

    def put(self: Receipts, receipt: Receipt) -> None:
        if proves(receipt) is not None:
            trigger.at(Point.RECEIPT_NOT_RECORDED)
        original(self, receipt)

    Receipts.put = put  # type: ignore[method-assign]


def main() -> None:
    """Run `beacon` with the arguments given, until it ends or dies."""
    order = os.environ.pop(VARIABLE, None)
    if order is not None:
        arm(Trigger(Order.parse(order)))
    beacon()


if __name__ == "__main__":
    main()
