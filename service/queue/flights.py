"""Which claims are at hand, and what those behind them have to know of them."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from service.queue.model import Claim, SendResult
from service.queue.outcome import Outcome, Postponed

_REMEMBERED: Final = 64


@dataclass(eq=False, slots=True)
class Flight:
    """A claimed message on its way.

    `handed`: the engine has it, or it ended; then the one behind it may follow. `sent` says how it ended,
    None until then. `settled`: the store knows.
    """

    claim: Claim
    handed: asyncio.Event = field(default_factory=asyncio.Event)
    sent: bool | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Flights:
    """Flights under way, and the last few that are over, for claims behind them that begin late."""

    def __init__(self) -> None:
        self._under_way: dict[int, Flight] = {}
        self._over: OrderedDict[int, Flight] = OrderedDict()
        self.at_hand = 0
        """How many the engine has or will have."""

    def __contains__(self, token: int) -> bool:
        """Whether the claim with this token is under way."""
        return token in self._under_way

    def begin(self, claim: Claim) -> Flight:
        """A claim was taken."""
        flight = self._under_way[claim.token] = Flight(claim)
        self.at_hand += 1
        return flight

    def before(self, flight: Flight) -> Flight | None:
        """The one that this one may only follow if it was sent; None when nothing is known of it."""
        behind = flight.claim.behind
        if behind is None:
            return None
        return self._under_way.get(behind) or self._over.get(behind)

    async def end(self, flight: Flight, outcome: Outcome | Postponed) -> None:
        """What came of it is known, and it needs the engine no more.

        A skipped one stays at hand until the store knows what holds its chat back: claimed again sooner, it
        would be skipped again and again.
        """
        flight.sent = isinstance(outcome, Outcome) and outcome.result is SendResult.SENT
        flight.handed.set()
        before = self.before(flight)
        if isinstance(outcome, Outcome) and outcome.skipped and before is not None:
            await before.settled.wait()
        self.at_hand -= 1

    def settle(self, flight: Flight) -> None:
        """The store knows what came of it."""
        del self._under_way[flight.claim.token]
        self._over[flight.claim.token] = flight
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)
        flight.settled.set()
