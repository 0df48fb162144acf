"""What can be made to go wrong, in one place, with the names that tests, demo and benchmark use.

A fault for `phone=None` is for everybody. `heal()` ends all of them. Faults of the network (`refuse`,
`half_open`, `delay`, `cut`) act on bytes; the others on what the server answers.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from service.simulator.endings import Ending, ending
from service.simulator.link import Link

T = TypeVar("T")


class Network(Protocol):
    """What the faults act on."""

    def links(self) -> Iterable[Link]:
        """Connections that have come as far as the websocket."""

    def hang_up(self, link: Link, how: Ending) -> None:
        """Say why, then hang up, and forget the device when the ending says so."""

    def cut_all(self) -> int:
        """Break every connection, also those that are only beginning; how many there were."""

    def listen(self) -> None:
        """Accept connections."""

    def refuse(self) -> None:
        """Let nobody connect."""


@dataclass(slots=True)
class _Rule(Generic[T]):
    value: T
    phone: str | None
    times: int | None


class _Script(Generic[T]):
    """Rules for one kind of fault: the first that fits is used, as often as it says."""

    def __init__(self) -> None:
        self._rules: list[_Rule[T]] = []

    def add(self, value: T, *, phone: str | None, times: int | None) -> None:
        self._rules.append(_Rule(value, phone, times))

    def peek(self, phone: str | None) -> T | None:
        rule = self._find(phone)
        return rule.value if rule else None

    def take(self, phone: str | None) -> T | None:
        rule = self._find(phone)
        if rule is None:
            return None
        if rule.times is not None:
            rule.times -= 1
            if rule.times <= 0:
                self._rules.remove(rule)
        return rule.value

    def drop(self, phone: str | None) -> None:
        self._rules = [rule for rule in self._rules if rule.phone != phone]

    def clear(self) -> None:
        self._rules.clear()

    def _find(self, phone: str | None) -> _Rule[T] | None:
        return next((rule for rule in self._rules if rule.phone in (None, phone)), None)


class Faults:
    """The fault script of one simulator."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._silent: set[str | None] = set()
        self._healed = asyncio.Event()
        self._delays = _Script[float]()
        self._swallowed_acks = _Script[bool]()
        self._swallowed_messages = _Script[bool]()
        self._nacks = _Script[int]()
        self._swallowed_queries = _Script[bool]()
        self._refusals = _Script[int]()
        self._upload_refusals = _Script[int]()
        self._upload_rates = _Script[float]()
        self._endings = _Script[Ending]()
        self.refusing = False
        self.close_behind_515 = False
        """Hang up right behind the 515 that follows pairing: the client may then stay away for ever."""

    def cut(self, phone: str | None = None) -> int:
        """Break open links now, once, without a word; how many there were."""
        if phone is None:
            return self._network.cut_all()
        links = [link for link in self._network.links() if link.phone == phone]
        for link in links:
            link.cut()
        return len(links)

    def refuse(self) -> None:
        """Let nobody connect any more; open links stay."""
        self.refusing = True
        self._network.refuse()

    def half_open(self, phone: str | None = None) -> None:
        """Accept and say nothing: open links and new ones stay open, and nothing passes in either direction.

        What the clients wrote meanwhile arrives after `heal()`, as after a stalled network.
        """
        self._silent.add(phone)
        self._healed.clear()

    def deaf(self, phone: str | None = None) -> int:
        """Answer the pings of open links and lose everything else, in both directions; how many there were.

        A login made afterwards is heard. What was relayed to a deaf link comes again at the next login.
        """
        links = [link for link in self._network.links() if phone in (None, link.phone)]
        for link in links:
            link.deaf = True
        return len(links)

    def delay(self, seconds: float, phone: str | None = None) -> None:
        """Let everything that the server says come this much later, in order; 0 ends it."""
        self._delays.drop(phone)
        if seconds > 0:
            self._delays.add(seconds, phone=phone, times=None)

    def swallow_acks(self, phone: str | None = None, *, times: int | None = None) -> None:
        """Relay what this account sends, but never acknowledge it."""
        self._swallowed_acks.add(True, phone=phone, times=times)

    def swallow_messages(self, phone: str | None = None, *, times: int | None = None) -> None:
        """Lose what this account sends, without an acknowledgement."""
        self._swallowed_messages.add(True, phone=phone, times=times)

    def nack(self, code: int, phone: str | None = None, *, times: int | None = 1) -> None:
        """Refuse the next messages of this account with an error code (463, 429, 479 ...); None: all."""
        self._nacks.add(code, phone=phone, times=times)

    def swallow_queries(self, phone: str | None = None, *, times: int | None = None) -> None:
        """Never answer what this account asks, pings apart."""
        self._swallowed_queries.add(True, phone=phone, times=times)

    def refuse_queries(self, code: int, phone: str | None = None, *, times: int | None = 1) -> None:
        """Answer the next queries of this account, but for pings, with an error code; None: all."""
        self._refusals.add(code, phone=phone, times=times)

    def refuse_uploads(self, code: int, phone: str | None = None, *, times: int | None = 1) -> None:
        """Answer the next uploads of this account with an HTTP status; None: all."""
        self._upload_refusals.add(code, phone=phone, times=times)

    def slow_uploads(self, rate_bytes_s: float, phone: str | None = None) -> None:
        """Answer an upload no sooner than a link of this rate would allow."""
        self._upload_rates.add(rate_bytes_s, phone=phone, times=None)

    def end(self, how: Ending | str, phone: str | None = None) -> int:
        """End open links now, by a name from `endings.ENDINGS`; how many there were."""
        links = [link for link in self._network.links() if phone in (None, link.phone)]
        for link in links:
            self._network.hang_up(link, ending(how))
        return len(links)

    def end_login(self, how: Ending | str, phone: str | None = None, *, times: int | None = 1) -> None:
        """Answer the next logins with this ending; None: all. For `phone=None` pairing is refused too."""
        self._endings.add(ending(how), phone=phone, times=times)

    def heal(self) -> None:
        """End every fault."""
        self._silent.clear()
        self._healed.set()
        for link in self._network.links():
            link.deaf = False
        for script in (
            self._delays,
            self._swallowed_acks,
            self._swallowed_messages,
            self._nacks,
            self._swallowed_queries,
            self._refusals,
            self._upload_refusals,
            self._upload_rates,
            self._endings,
        ):
            script.clear()
        self.close_behind_515 = False
        if self.refusing:
            self.refusing = False
            self._network.listen()

    # what the server asks

    async def passage(self, phone: str | None) -> None:
        """Return when bytes may pass."""
        while self._silent and (None in self._silent or phone in self._silent):
            await self._healed.wait()

    def delay_s(self, phone: str | None) -> float:
        """How much later a stanza goes out."""
        return self._delays.peek(phone) or 0.0

    def takes_ack(self, phone: str) -> bool:
        """Whether to lose this acknowledgement."""
        return self._swallowed_acks.take(phone) is not None

    def takes_message(self, phone: str) -> bool:
        """Whether to lose this message."""
        return self._swallowed_messages.take(phone) is not None

    def next_nack(self, phone: str) -> int | None:
        """The code to refuse this message with."""
        return self._nacks.take(phone)

    def takes_query(self, phone: str) -> bool:
        """Whether to leave this query without an answer."""
        return self._swallowed_queries.take(phone) is not None

    def next_refusal(self, phone: str) -> int | None:
        """The error code to answer this query with."""
        return self._refusals.take(phone)

    def next_upload_refusal(self, phone: str) -> int | None:
        """The HTTP status to refuse this upload with."""
        return self._upload_refusals.take(phone)

    def upload_rate(self, phone: str) -> float | None:
        """Bytes a second at which an upload passes, None for as fast as it comes."""
        return self._upload_rates.peek(phone)

    def next_ending(self, phone: str | None) -> Ending | None:
        """What to end this login with; `phone` is None for a new device."""
        return self._endings.take(phone)
