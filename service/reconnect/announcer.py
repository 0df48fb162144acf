"""Tells the state to everybody: metrics, log, subscribers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from service.clock import Clock
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.reason import Reason
from service.reconnect.rule import Rule
from service.reconnect.status import Advice, State, Status

log = structlog.get_logger(__name__)


class Announcer:
    """Holds the one status there is. A change is logged once, when state or reason differ."""

    def __init__(
        self,
        rule: Rule,
        *,
        clock: Clock,
        metrics: ReconnectMetrics,
        arrived: Callable[[], dict[str, str] | None],
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._arrived = arrived
        self._lost_at: float | None = None
        self._subscribers: list[Callable[[Status], None]] = []
        self.status = Status(
            state=rule.state,
            reason=rule.reason,
            sentence=rule.sentence,
            advice=rule.advice,
            since=clock.now(),
        )
        metrics.moved(self.status)

    def subscribe(self, listener: Callable[[Status], None]) -> Callable[[], None]:
        """Be told of every change; the answer ends that."""
        self._subscribers.append(listener)
        return partial(self._subscribers.remove, listener)

    def move(
        self,
        rule: Rule,
        *,
        attempt: int,
        state: State | None = None,
        next_attempt_in_s: float | None = None,
        qr: str | None = None,
    ) -> None:
        """Come into a rule's state, or into `state` with the rule's words."""
        old, new, now = self.status, state or rule.state, self._clock.now()
        self._publish(
            Status(
                state=new,
                reason=rule.reason,
                sentence=rule.sentence,
                advice=rule.advice,
                since=old.since if new is old.state else now,
                attempt=attempt,
                next_attempt_at=None if next_attempt_in_s is None else now + next_attempt_in_s,
                qr=qr,
                pair_code=old.pair_code if new is old.state is State.PAIRING else None,
            )
        )

    def settle(self) -> None:
        """The connection is stable: the attempts are forgotten."""
        self._publish(replace(self.status, attempt=0))

    def show_code(self, code: str) -> None:
        """A pairing code can be typed into the phone now."""
        self._publish(replace(self.status, pair_code=code))

    def _publish(self, status: Status) -> None:
        old, self.status = self.status, status
        if status == old:
            return
        self._metrics.waiting(status)
        if status.state is not old.state:
            self._metrics.moved(status)
            self._measure_outage(old, status)
        if (status.state, status.reason) != (old.state, old.reason):
            level = "info" if status.advice in {Advice.NOTHING, Advice.SCAN_QR} else "warning"
            getattr(log, level)(
                "connection.state",
                state=status.state,
                reason=status.reason,
                advice=status.advice,
                attempt=status.attempt,
                before=old.state,
            )
        for listener in tuple(self._subscribers):
            listener(status)

    def _measure_outage(self, old: Status, new: Status) -> None:
        if old.state is State.CONNECTED:
            self._lost_at = self._clock.monotonic()
            self._metrics.lost(Reason(new.reason))
        elif new.state is State.CONNECTED:
            arrived = self._arrived()  # by a login, or by whatsmeow's own way back, which is no span
            if self._lost_at is not None:
                self._metrics.outage_seconds.observe(self._clock.monotonic() - self._lost_at, arrived)
                self._lost_at = None
