"""What can be asked about the service's health, and what the answers mean.

liveness    the event loop answers and the dispatcher's loop turns; nothing outside can fail it, since a
            restart would not mend WhatsApp or the disk
readiness   messages can be accepted and kept; not connected to WhatsApp is fine, since the queue keeps them
health      everything, for people and monitors: draft-inadarei-api-health-check-06
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import service
from service.backup.assembly import OFF
from service.backup.report import BackupStatus
from service.clock import Clock, rfc3339
from service.engine.protocol import Hello
from service.queue.model import LIVE
from service.queue.model import State as MessageState
from service.reconnect.status import State, Status
from service.reconnect.words import ADVICES
from service.web.backup_health import Seen, warning

HEARTBEAT_LIMIT_S: Final = 60.0
"""When the dispatcher counts as stuck. It beats every second, whatever it waits for."""


class Verdict(StrEnum):
    """The draft's three words, worst last."""

    PASS = "pass"  # noqa: S105 - a word of the draft
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict and, when it is not `pass`, why."""

    verdict: Verdict
    why: str | None = None


@dataclass(kw_only=True)
class Health:
    """Gathers the facts through small callables; each must answer at once, from memory.

    heartbeat_age_s     seconds since the dispatcher's loop last turned, None before it has started
    store_trouble       why messages cannot be kept now, None when they can; shown to anybody
    engine              the first frame of the running engine, None without one
    held_back           what pacing keeps from going out now, and until when; None when nothing
    backup              the backups at a glance; `backup_interval_s` is how often one is made at least
    notes               remarks for the operator; shown to anybody
    shutting_down       set it when a stop was asked for
    """

    clock: Clock
    started_at: float
    heartbeat_age_s: Callable[[], float | None]
    store_trouble: Callable[[], str | None]
    status: Callable[[], Status]
    engine: Callable[[], Hello | None]
    counts: Callable[[], Mapping[MessageState, int]]
    oldest_queued_at: Callable[[], float | None]
    held_back: Callable[[], str | None]
    backup: Callable[[], BackupStatus] = lambda: OFF
    backup_interval_s: float = 1800.0
    notes: tuple[str, ...] = ()
    heartbeat_limit_s: float = HEARTBEAT_LIMIT_S
    shutting_down: bool = False

    def live(self) -> Answer:
        """Whether the process should be left alive."""
        age = self.heartbeat_age_s()
        if age is not None and age > self.heartbeat_limit_s:
            return Answer(
                Verdict.FAIL,
                f"The dispatcher stands still for {age:.0f} s; {self.heartbeat_limit_s:.0f} s are allowed.",
            )
        return Answer(Verdict.PASS)

    def ready(self) -> Answer:
        """Whether messages can be accepted and kept."""
        if self.shutting_down:
            return Answer(Verdict.FAIL, "The service is shutting down.")
        if (trouble := self.store_trouble()) is not None:
            return Answer(Verdict.FAIL, trouble)
        return Answer(Verdict.PASS)

    def report(self) -> dict[str, Any]:
        """The health document; its status is the worst of its checks."""
        now = self.clock.now()
        checks = {
            "whatsapp:connection": self._connection(),
            "engine": self._engine(),
            "dispatcher": _check("component", self.live()),
            "store": _check("datastore", self.ready()),
            "queue:depth": self._depth(),
            "queue:oldest": self._oldest(now),
            "queue:pacing": self._pacing(),
            "backup:age": self._backup(now),
            "uptime": _check("system", Answer(Verdict.PASS), value=round(now - self.started_at, 3), unit="s"),
        }
        verdicts = {check["status"] for check in checks.values()}
        return {
            "status": max(verdicts, key=list(Verdict).index),
            "serviceId": "beacon",
            "version": service.__version__,
            "notes": list(self.notes),
            "checks": {name: [check | {"time": rfc3339(now)}] for name, check in checks.items()},
        }

    def _connection(self) -> dict[str, Any]:
        status = self.status()
        connected = status.state is State.CONNECTED
        answer = Answer(Verdict.PASS) if connected else Answer(Verdict.WARN, status.sentence)
        return _check("component", answer, value=status.state) | {
            "reason": status.reason,
            "sentence": status.sentence,
            "advice": status.advice,
            "adviceSentence": ADVICES[status.advice],
            "since": rfc3339(status.since),
        }

    def _engine(self) -> dict[str, Any]:
        hello = self.engine()
        if hello is None:
            return _check("component", Answer(Verdict.WARN, "No engine is running."))
        return _check("component", Answer(Verdict.PASS), value=f"neonize {hello.neonize}")

    def _depth(self) -> dict[str, Any]:
        counts = self.counts()
        waiting = sum(counts.get(state, 0) for state in LIVE)
        return _check("component", Answer(Verdict.PASS), value=waiting, unit="messages")

    def _pacing(self) -> dict[str, Any]:
        held = self.held_back()
        return _check("component", Answer(Verdict.PASS) if held is None else Answer(Verdict.WARN, held))

    def _oldest(self, now: float) -> dict[str, Any]:
        oldest = self.oldest_queued_at()
        age = 0.0 if oldest is None else max(0.0, now - oldest)
        return _check("component", Answer(Verdict.PASS), value=round(age, 3), unit="s")

    def _backup(self, now: float) -> dict[str, Any]:
        status = self.backup()
        why = warning(
            Seen(
                status=status,
                connected=self.status().state is State.CONNECTED,
                interval_s=self.backup_interval_s,
                started_at=self.started_at,
                now=now,
            )
        )
        answer = Answer(Verdict.PASS) if why is None else Answer(Verdict.WARN, why)
        if (last := status.last_success_at) is None:
            return _check("datastore", answer)
        return _check("datastore", answer, value=round(max(0.0, now - last), 3), unit="s")


def _check(
    kind: str, answer: Answer, *, value: str | float | None = None, unit: str | None = None
) -> dict[str, Any]:
    check: dict[str, Any] = {"componentType": kind, "status": answer.verdict}
    if value is not None:
        check["observedValue"] = value
    if unit is not None:
        check["observedUnit"] = unit
    if answer.why is not None:
        check["output"] = answer.why
    return check
