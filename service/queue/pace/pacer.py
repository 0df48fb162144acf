"""Decides for every message whether it may go out now.

First comes what stands still for the whole account (quiet hours, then cool-downs), then what concerns the
chat (its pause, strangers), and the rate last, so that only a message that goes out takes from it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final

import structlog

from service.bucket import TokenBucket
from service.clock import Clock
from service.queue.address import is_group
from service.queue.model import Acquaintance, Cooling, Message
from service.queue.pace.contract import Pacer, Remembers, Unpaced
from service.queue.pace.cooldowns import REPLY_WITHIN_S
from service.queue.pace.cooling import CoolDowns
from service.queue.pace.gaps import ChatGaps
from service.queue.pace.holds import Holds
from service.queue.pace.limits import Limits
from service.queue.pace.memory import Memory
from service.queue.pace.metrics import PaceMetrics, Reason
from service.queue.pace.quiet import quiet_for_s, quiet_within_s
from service.queue.pace.strangers import Strangers, meetings

__all__ = ["Paced", "Pacer", "Unpaced"]

log = structlog.get_logger(__name__)

LOOK_AGAIN_S: Final = 60.0
"""How long the account rests at most before the question is asked again: the machine's clock may be set,
and summer time may begin."""

RECHECK_S: Final = 120.0
"""How long a stranger's message, or one that is no reply, is put off at most at a time: a chat that writes
to us meanwhile makes its messages replies, and the store cannot be told to hurry."""

ASK_EVERY_S: Final = 0.25
"""Of many messages that wait for one cause, how far apart they are asked about again: thousands that came
due in the same moment would stand in the way of all others."""

SHORTEST_S: Final = 0.001
"""Less is rounding, and would be asked about again at once."""

_LET_GO: Final = 256

_COOLING: Final = {
    Reason.COOLDOWN_STRANGERS: Cooling.STRANGERS,
    Reason.COOLDOWN_UNASKED: Cooling.UNASKED,
}

_HELD: Final = {
    Reason.COOLDOWN_UNASKED: "WhatsApp says that this account asks too much: until {until} only chats that "
    "wrote within the last 24 hours are answered.",
    Reason.COOLDOWN_STRANGERS: "WhatsApp refused a message to somebody new: until {until} nothing is sent to "
    "people who never wrote to this account.",
    Reason.QUIET_HOURS: "Quiet hours: nothing is sent until {until}.",
    Reason.STRANGERS_BUDGET: "As many new people were written to as NEW_CHATS_PER_DAY allows: the next one "
    "waits until {until}.",
}


@dataclass(frozen=True, slots=True)
class _Hindrance:
    reason: Reason
    until: float  # Unix seconds


class Paced:
    """The pacer that keeps to limits."""

    def __init__(
        self, *, limits: Limits, store: Remembers, clock: Clock, rng: Random, metrics: PaceMetrics
    ) -> None:
        self._limits = limits
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._memory = Memory(store)
        self._bucket = TokenBucket(
            rate_per_s=limits.send_rate / 60.0,
            burst=limits.send_burst,
            tokens=1.0,  # a process that is started again and again sends no faster for it
            at=clock.monotonic(),
        )
        self._gaps = ChatGaps(limits.chat_gap, rng)
        self._strangers = Strangers(per_day=limits.new_chats_per_day, gap=limits.new_chat_gap, rng=rng)
        self._cooldowns = CoolDowns(rng=rng, metrics=metrics)
        self._held = Holds()
        self._let_go: OrderedDict[str, int] = OrderedDict()
        self._told: dict[Reason, float] = {}
        self._ask_every_s = min(ASK_EVERY_S, 30.0 / limits.send_rate)
        metrics.watch(
            tokens=lambda: self._bucket.level(clock.monotonic()),
            strangers_left=lambda: float(self._strangers.left(now=clock.now())),
            held=lambda reason: float(self._holds(reason, now=clock.now()) is not None),
        )

    async def open(self) -> None:
        await self._memory.reset()
        now = self._clock.now()
        self._cooldowns.load(await self._store.cooldowns(), now=now)
        self._strangers.load(await meetings(self._store.strangers_since, now=now), now=now)
        log.info("pace.opened", strangers_left=self._strangers.left(now=now))

    def ready_in_s(self) -> float:
        now = self._clock.now()
        for cooling in Cooling:
            self._cooldowns.until(cooling, now=now)  # says in the log when one has ended
        rate_s = self._bucket.ready_in_s(self._clock.monotonic())
        if rate_s > 0:
            self._held.note(now, now + rate_s)
        return min(max(self._quiet_for_s(now), rate_s), LOOK_AGAIN_S)

    def room(self) -> int:
        return self._bucket.ready(self._clock.monotonic())

    async def not_before(self, message: Message) -> float | None:
        self._take_back(message)
        known = None
        if not is_group(message.chat) or self._cooldowns.until(Cooling.UNASKED, now=self._clock.now()):
            known = await self._memory.acquaintance(message.chat)
        # from here on nothing is awaited: what is found free is taken in the same turn
        now, at = self._clock.now(), self._clock.monotonic()
        hindrance = self._hindrance(message, known, now=now, at=at)
        if hindrance is not None:
            self._metrics.postponed(hindrance.reason)
            return max(hindrance.until, now + SHORTEST_S)
        self._bucket.take(at)
        self._gaps.begin(message.chat, message.id, at)
        if self._is_new(message.chat, known, now=now):
            self._strangers.meet(message.chat, now=now)
        self._let_go[message.id] = message.attempts
        if len(self._let_go) > _LET_GO:
            self._let_go.popitem(last=False)
        return None

    def held_s(self, since: float, until: float) -> float:
        hours, zone = self._limits.quiet_hours, self._limits.zone
        quiet_s = quiet_within_s(hours, zone=zone, since=since, until=until) if hours is not None else 0.0
        return min(quiet_s + self._held.within_s(since, until), max(0.0, until - since))

    def sent(self, message: Message) -> None:
        self._let_go.pop(message.id, None)
        self._gaps.left(message.chat, message.id, self._clock.monotonic())

    async def refused(self, message: Message, rule: str) -> None:
        self.sent(message)
        begun = self._cooldowns.refused(rule, now=self._clock.now())
        if begun is not None:
            await self._memory.cool(*begun)

    async def heard(self, chat: str, alternatives: tuple[str, ...], at: float) -> None:
        chats = (chat,) if is_group(chat) else (chat, *(one for one in alternatives if not is_group(one)))
        for one in chats:
            self._strangers.heard(one)
        await self._memory.heard(dict.fromkeys(chats), at=min(at, self._clock.now()))

    def sentence(self) -> str | None:
        now = self._clock.now()
        sentences = [
            words.format(until=self._time(until))
            for reason, words in _HELD.items()
            if (until := self._holds(reason, now=now)) is not None and self._matters(reason, now=now)
        ]
        return " ".join(sentences) or None

    # --- whether it may go ------------------------------------------------------------------------

    def _hindrance(
        self, message: Message, known: Acquaintance | None, *, now: float, at: float
    ) -> _Hindrance | None:
        """What keeps the message from going out now."""
        return (
            self._quiet(now=now)
            or self._cooled(message.chat, known, now=now)
            or self._too_soon(message, now=now, at=at)
            or self._too_strange(message.chat, known, now=now)
            or self._too_fast(now=now, at=at)
        )

    def _quiet(self, *, now: float) -> _Hindrance | None:
        quiet_s = self._quiet_for_s(now)
        return _Hindrance(Reason.QUIET_HOURS, now + quiet_s) if quiet_s > 0 else None

    def _too_soon(self, message: Message, *, now: float, at: float) -> _Hindrance | None:
        gap_s = self._gaps.wait_s(message.chat, message.id, at)
        return _Hindrance(Reason.CHAT_GAP, now + gap_s) if gap_s > 0 else None

    def _too_strange(self, chat: str, known: Acquaintance | None, *, now: float) -> _Hindrance | None:
        if not self._is_new(chat, known, now=now):
            return None
        if (room_at := self._strangers.room_at(now=now)) > now:
            return self._in_turn(Reason.STRANGERS_BUDGET, room_at, now=now)
        if (pause_ends_at := self._strangers.pause_ends_at(now=now)) > now:
            return self._in_turn(Reason.STRANGERS_GAP, pause_ends_at, now=now)
        return None

    def _too_fast(self, *, now: float, at: float) -> _Hindrance | None:
        wait_s = self._bucket.ready_in_s(at)
        return self._in_turn(Reason.RATE, now + wait_s, now=now) if wait_s > 0 else None

    def _cooled(self, chat: str, known: Acquaintance | None, *, now: float) -> _Hindrance | None:
        if known is None:  # a group, and no cool-down concerns it
            return None
        heard_at = known.heard_at
        reply = heard_at is not None and now < heard_at + REPLY_WITHIN_S
        until = self._cooldowns.until(Cooling.UNASKED, now=now)
        if until is not None and not reply:
            return self._in_turn(Reason.COOLDOWN_UNASKED, until, now=now)
        until = self._cooldowns.until(Cooling.STRANGERS, now=now)
        if until is not None and heard_at is None and not is_group(chat):
            return self._in_turn(Reason.COOLDOWN_STRANGERS, until, now=now)
        return None

    def _is_new(self, chat: str, known: Acquaintance | None, *, now: float) -> bool:
        """Whether this would be the first message to somebody who never wrote to us."""
        if known is None or is_group(chat):
            return False
        strange = known.first_sent_at is None and known.heard_at is None
        return strange and not self._strangers.met(chat, now=now)

    def _in_turn(self, reason: Reason, until: float, *, now: float) -> _Hindrance:
        """Put off until then, or until it is looked at again, and not together with others."""
        turn = max(min(until, now + RECHECK_S), self._told.get(reason, 0.0) + self._ask_every_s)
        self._told[reason] = turn
        return _Hindrance(reason, turn)

    def _take_back(self, message: Message) -> None:
        """It was let go and is here again with as many attempts as before: it never left."""
        if self._let_go.pop(message.id, None) == message.attempts:
            self._bucket.put_back(self._clock.monotonic())

    # --- what stands still ------------------------------------------------------------------------

    def _holds(self, reason: Reason, *, now: float) -> float | None:
        """Until when something is held for this reason, Unix seconds; None when nothing is."""
        match reason:
            case Reason.COOLDOWN_STRANGERS | Reason.COOLDOWN_UNASKED:
                return self._cooldowns.until(_COOLING[reason], now=now)
            case Reason.QUIET_HOURS:
                until = now + self._quiet_for_s(now)
            case Reason.STRANGERS_BUDGET:
                until = self._strangers.room_at(now=now)
            case Reason.STRANGERS_GAP:
                until = self._strangers.pause_ends_at(now=now)
            case _:
                until = now + self._bucket.ready_in_s(self._clock.monotonic())
        return until if until > now else None

    def _matters(self, reason: Reason, *, now: float) -> bool:
        """Whether people should be told: a budget that is used up is no news while nobody waits for it."""
        return reason is not Reason.STRANGERS_BUDGET or self._told.get(reason, 0.0) > now - LOOK_AGAIN_S

    def _quiet_for_s(self, now: float) -> float:
        hours = self._limits.quiet_hours
        return quiet_for_s(hours, zone=self._limits.zone, now=now) if hours is not None else 0.0

    def _time(self, at: float) -> str:
        return datetime.fromtimestamp(at, self._limits.zone).strftime("%Y-%m-%d %H:%M %Z")
