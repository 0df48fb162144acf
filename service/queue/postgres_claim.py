"""Claims: many at once, and exactly those that one after the other would have got.

Which these are is found out at the server (`beacon_turn` in sql/postgres/0004_turn.sql). Where what it reads
does not suffice to say which message is next (a line is used up, a head has expired), it gives what is
certain, and the rest is asked for again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import itemgetter
from typing import Final

import asyncpg

from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Claim
from service.queue.postgres_transaction import Transaction

LATE: Final = f"{rows.SELECT} WHERE m.account || '' = $1 AND m.seq = $2"


@dataclass(slots=True)
class Take:
    """One call of QueueStore.claim, or what is left of it."""

    worker: str
    fair: bool
    now: float
    limit: int


@dataclass(slots=True)
class Taken:
    """The answer to a Take: what is certain to be claimed. Unless this is `all`, there was too much to look
    at for one transaction, and the rest is to be asked for again."""

    found: list[asyncpg.Record] = field(default_factory=list)
    all: bool = False
    _claims: list[Claim] = field(default_factory=list, init=False)

    def claims(self) -> list[Claim]:
        """They are put together when first asked for, which is while the server commits them."""
        if not self._claims:
            self._claims = [Claim(rows.message(row), row["token"], row["behind"]) for row in self.found]
        return self._claims


class Handout:
    """Takes of one `fair`, and what they have got."""

    def __init__(self, asked: Sequence[Take]) -> None:
        self.answers = [Taken() for _ in asked]
        self._asked = asked
        self._left = [one.limit for one in asked]
        self._alone = False
        """Serve one only: with others, of other times, it is uncertain what it gets."""

    def next(self) -> list[int]:
        """The places of the Takes whose claims can be asked for together: those of one worker, each as often
        as it wants a claim."""
        waiting = [at for at, claims in enumerate(self._left) if claims]
        if not waiting or self._alone:
            return waiting[:1]
        worker = self._asked[waiting[0]].worker
        together = takewhile(lambda at: self._asked[at].worker == worker, waiting)
        return [at for at in together for _ in range(self._left[at])]

    def call(self, places: Sequence[int]) -> tuple[str, str, bool]:
        """The worker, the times and whether to be fair, as the server takes them."""
        if not places:
            return "", "{}", False
        first = self._asked[places[0]]
        return first.worker, rows.numbers(self._asked[at].now for at in places), first.fair

    def give(self, places: Sequence[int], given: Sequence[asyncpg.Record]) -> None:
        """These were claimed for the first of these places."""
        for at, row in zip(places, sorted(given, key=itemgetter("token")), strict=False):
            self.answers[at].found.append(row)
            self._left[at] -= 1
        self._alone = not given

    async def follow(
        self, transaction: Transaction, places: Sequence[int], given: int, last: asyncpg.Record
    ) -> None:
        """What the server told of those that were not: there is nothing, or a message that has expired."""
        if last["ended"]:
            for at in places:
                self._left[at] = 0
        for answer, claims in zip(self.answers, self._left, strict=True):
            answer.all = not claims
        if last["late"] is not None:
            now = self._asked[places[given]].now
            for message in await transaction.messages(LATE, last["late"]):
                transaction.save(transitions.expired(message, now=now), message)
