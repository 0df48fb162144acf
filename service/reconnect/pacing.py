"""How long to wait before the next login, and when repetition makes a rule a stricter one."""

from collections import Counter, defaultdict, deque
from dataclasses import replace
from random import Random

from service.clock import Clock
from service.engine.protocol import TemporaryBan
from service.reconnect.backoff import Backoff
from service.reconnect.policy import RULES
from service.reconnect.reason import Reason
from service.reconnect.rule import BAN_MARGIN, Happened, Rule, Side, Then


class Pacing:
    """Counts what went wrong since the connection was last stable."""

    def __init__(self, backoff: Backoff, *, clock: Clock, rng: Random) -> None:
        self._backoff = backoff
        self._clock = clock
        self._rng = rng
        self._repeats: Counter[Reason] = Counter()
        self._ladders: Counter[Side | None] = Counter()
        self._families: defaultdict[str, deque[float]] = defaultdict(deque)
        self.attempt = 0
        """Logins that are due to something that went wrong."""

    @property
    def stable_after_s(self) -> float:
        """A connection that lasted so long makes all attempts before it forgotten."""
        return self._backoff.stable_after

    def settle(self) -> None:
        """The connection is stable."""
        self.attempt = 0
        self._repeats.clear()
        self._ladders.clear()

    def forget(self) -> None:
        """The operator begins anew: what was rare enough to escalate does not count either."""
        self.settle()
        self._families.clear()

    def escalated(self, rule: Rule) -> Rule:
        """The rule itself, or the one that stands for so many of its family."""
        if (escalation := rule.escalation) is None:
            return rule
        now = self._clock.monotonic()
        times = self._families[escalation.family]
        times.append(now)
        while times[0] < now - escalation.within_s:
            times.popleft()
        if len(times) < escalation.limit:
            return rule
        times.clear()
        return RULES[escalation.to]

    def wait_s(self, rule: Rule, happened: Happened | None) -> float | None:
        """Seconds until the next login, which is counted as an attempt; None when there will be none.

        A login under another lease is due then at the earliest."""
        match rule.then:
            case Then.RECYCLE | Then.BACK_OFF | Then.YIELD:
                times = self._counted(rule)
                if rule.then is not Then.BACK_OFF and times == 1:
                    return 0.0
                return self._capped(rule).wait(times, self._rng)
            case Then.PAUSE | Then.UNTIL:
                assert rule.delay is not None, rule.reason
                self._counted(rule)
                self._repeats[rule.reason] += 1
                if isinstance(happened, TemporaryBan) and happened.expire_s > 0:
                    return happened.expire_s * BAN_MARGIN.draw(times=1, rng=self._rng)
                return rule.delay.draw(times=self._repeats[rule.reason], rng=self._rng)
        return None

    def _counted(self, rule: Rule) -> int:
        """How many times in a row; rules with a cap of their own count apart from the others, by side:
        that an engine is killed says nothing of how WhatsApp takes our logins."""
        self.attempt += 1
        ladder = None if rule.cap_s is None else rule.side
        self._ladders[ladder] += 1
        return self._ladders[ladder]

    def _capped(self, rule: Rule) -> Backoff:
        return self._backoff if rule.cap_s is None else replace(self._backoff, cap=rule.cap_s)
