"""A pacer on a store in memory, whose dispatcher does nothing but ask and send."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from itertools import count
from random import Random

from prometheus_client import CollectorRegistry

from service.config import Hours, Seconds
from service.errors import StoreUnavailable
from service.queue.model import Acquaintance, Cooldown, Cooling, Message
from service.queue.pace.limits import Limits
from service.queue.pace.metrics import PaceMetrics, Reason
from service.queue.pace.pacer import Paced
from tests.clock import FakeClock
from tests.unit.queue.messages import message

ANYTHING = Limits(
    send_rate=6000,
    send_burst=1000,
    chat_gap=Seconds(0, 0),
    new_chats_per_day=1000,
    new_chat_gap=Seconds(0, 0),
    quiet_hours=None,
    zone=UTC,
)
"""Limits that hold back nothing that a test sends."""

GROUP = "120363000000000001@g.us"

_number = count(1)


@dataclass
class Notebook:
    """What pacing asks of a store, in memory; `away` makes it unavailable. It outlives pacers."""

    away: bool = False
    questions: int = 0
    writes: list[str] = field(default_factory=list)
    chats: dict[str, Acquaintance] = field(default_factory=dict)
    cooled: dict[Cooling, Cooldown] = field(default_factory=dict)

    def met(self, chat: str, at: float) -> None:
        """What `complete` notes."""
        known = self.chats.get(chat, Acquaintance(None, None))
        if known.first_sent_at is None:
            self.chats[chat] = replace(known, first_sent_at=at)

    async def heard(self, chat: str, *, at: float) -> None:
        self._there()
        self.writes.append(chat)
        known = self.chats.get(chat, Acquaintance(None, None))
        self.chats[chat] = replace(known, heard_at=max(at, known.heard_at or 0.0))

    async def acquaintance(self, chat: str) -> Acquaintance:
        self._there()
        self.questions += 1
        return self.chats.get(chat, Acquaintance(None, None))

    async def strangers_since(self, at: float) -> int:
        self._there()
        return sum(
            known.heard_at is None and known.first_sent_at is not None and known.first_sent_at >= at
            for known in self.chats.values()
        )

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        self._there()
        self.cooled[cooling] = cooldown

    async def cooldowns(self) -> Mapping[Cooling, Cooldown]:
        self._there()
        return dict(self.cooled)

    def _there(self) -> None:
        if self.away:
            raise StoreUnavailable("the test took it away")


class Account:
    """An account that is paced. `begin` starts a process on what the notebook remembers; it rests a while,
    so that its bucket is full."""

    def __init__(self, limits: Limits = ANYTHING, *, seed: int = 1, rests_s: float = 60.0) -> None:
        self.limits = limits
        self.rests_s = rests_s
        self.clock = FakeClock()
        self.notebook = Notebook()
        self.rng = Random(seed)
        self.begin()

    def begin(self) -> None:
        """A new process; `open` it."""
        self.registry = CollectorRegistry()
        self.pacer = Paced(
            limits=self.limits,
            store=self.notebook,
            clock=self.clock,
            rng=self.rng,
            metrics=PaceMetrics(self.registry, "default"),
        )
        self.clock.advance(self.rests_s)

    async def try_to_send(self, to: str) -> float | None:
        """Send a new message to the chat unless it is put off: the seconds by which it is, or None."""
        until = await self.ask(a_message(to))
        return None if until is None else until - self.clock.now()

    async def ask(self, one: Message) -> float | None:
        """Send this message unless it is put off, until a Unix time that is not past."""
        until = await self.pacer.not_before(one)
        if until is None:
            self.pacer.sent(one)
            self.notebook.met(one.chat, self.clock.now())
        else:
            assert until > self.clock.now()
        return until

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a pace metric."""
        return self.registry.get_sample_value(f"whatsapp_pace_{name}", {"account": "default", **labels})

    def postponed(self, reason: Reason) -> float | None:
        """How often something was put off for this reason."""
        return self.metric("postponed_total", reason=reason.value)


def a_message(to: str) -> Message:
    """A new message to the chat."""
    return replace(message(), id=f"m{next(_number)}", chat=to)


def stranger(number: int) -> str:
    """Somebody who never wrote to us."""
    return f"1202555{number:04}@s.whatsapp.net"


def night(text: str, zone: tzinfo = UTC) -> Limits:
    """Nothing but quiet hours."""
    return replace(ANYTHING, quiet_hours=Hours.parse(text), zone=zone)
