"""Keeps the account connected: one engine at a time, one state at a time, one thing after another.

Whatever happens (an engine's event or end, a watch that elapsed, a login that is due, the operator's
wish) is put into one inbox and handled in order by one task, which never waits for anything else. The
decision table says what is done; this module does it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Final

import structlog
from opentelemetry.trace import Tracer

from service.clock import Clock
from service.engine.exits import ExitReport
from service.engine.protocol import (
    AnyEvent,
    Connected,
    Heartbeat,
    Hello,
    Paired,
    QrCode,
)
from service.errors import EngineRefused
from service.reconnect.announcer import Announcer
from service.reconnect.approach import Approach
from service.reconnect.backoff import Backoff
from service.reconnect.clearing import Clearing, answer
from service.reconnect.deadlines import Deadline, Deadlines
from service.reconnect.hearing import Hearing
from service.reconnect.lease import Lease
from service.reconnect.lease_metrics import Hindrance
from service.reconnect.life import Life, Told, live
from service.reconnect.memory import MemoryGuard
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.pacing import Pacing
from service.reconnect.policy import RULES, decide
from service.reconnect.ports import Session
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    ENGINE_STAYS,
    RESTS,
    STRICTNESS,
    WATCH_S,
    Happened,
    Rule,
    Then,
    Watch,
)
from service.reconnect.standby import Spawn, Standby
from service.reconnect.status import State, Status
from service.reconnect.tally import Tally
from service.reconnect.tenancy import Tenancy
from service.reconnect.trace import LoginTrace
from service.reconnect.watches import Watches

log = structlog.get_logger(__name__)

GENTLE = RESTS | {Then.STOP}
"""After these the engine may take the time to finish what it does; before a new login it may not."""

HINDRANCES: Final = {
    Hindrance.HELD_ELSEWHERE: RULES[Reason.LEASE_HELD_ELSEWHERE],
    Hindrance.UNREACHABLE: RULES[Reason.LEASE_UNREACHABLE],
    Hindrance.REFUSED: RULES[Reason.LEASE_REFUSED],
    Hindrance.DATA_DIR: RULES[Reason.LEASE_UNWRITABLE],
    Hindrance.VAULT_UNREACHABLE: RULES[Reason.VAULT_UNREACHABLE],
    Hindrance.BACKUP_UNREADABLE: RULES[Reason.BACKUP_UNREADABLE],
    Hindrance.BACKUP_KEY_MISSING: RULES[Reason.BACKUP_KEY_MISSING],
}


class Keeper:
    """Starts and ends engines as the decision table says, from `run` to `stop`, and only under the lease.

    `spawn` makes an engine that is not started yet and gives its events to the callable; `probe` says
    whether WhatsApp can be reached at all. Listeners are called on the loop, must not block, and end
    the supervisor with their error if they raise.
    """

    def __init__(
        self,
        *,
        spawn: Spawn,
        session: Session,
        lease: Lease,
        deadlines: Deadlines,
        memory_limit_bytes: int | None,
        device_name: str,
        proxy: str | None,
        probe: Callable[[], Awaitable[bool]],
        backoff: Backoff,
        clock: Clock,
        rng: Random,
        metrics: ReconnectMetrics,
        tracer: Tracer,
    ) -> None:
        self._standby = Standby(spawn, changed=partial(self._post, self._login_if_due))
        self._session = session
        self._device_name = device_name
        self._proxy = proxy
        self._clock = clock
        self._metrics = metrics
        self._tally = Tally(metrics)
        self._trace = LoginTrace(tracer)
        self._inbox: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._tasks: asyncio.TaskGroup | None = None
        self._watches = Watches(clock=clock, elapsed=lambda w, t: self._post(self._elapsed, w, t))
        self._hearing = Hearing(
            watches=self._watches, post=self._post, clock=clock, rng=rng, metrics=metrics, tracer=tracer
        )
        self._approach = Approach(probe=probe, clock=clock, rng=rng, metrics=metrics)
        self._told = Told(
            opened=partial(self._post, self._opened),
            started=partial(self._post, self._started),
            refused=partial(self._post, self._refused),
            gone=partial(self._post, self._gone),
        )
        self._clearing = Clearing(session, done=partial(self._post, self._login_if_due))
        self._tenancy = Tenancy(
            lease,
            hindered=partial(self._post, self._lease_hindered),
            held=partial(self._post, self._lease_held),
            lost=self._lease_lost,
        )
        self._deadlines = deadlines
        self._memory = MemoryGuard(memory_limit_bytes, clock=clock)
        metrics.memory_limit.set(memory_limit_bytes or 0)
        self._unleased = RULES[Reason.STARTING]
        self._resting = False
        self._not_before = 0.0
        self._life: Life | None = None
        self._engines = 0
        self._waits = 0
        self._due = False
        self._pacing = Pacing(backoff, clock=clock, rng=rng)
        self._stopping = False
        self.engine: Hello | None = None
        """What the running engine said of itself; None without one."""
        self._ended = asyncio.Event()
        self._asked: set[asyncio.Future[None]] = set()
        self._listeners: list[Callable[[AnyEvent], None]] = []
        self._announcer = Announcer(
            RULES[Reason.STARTING], clock=clock, metrics=metrics, arrived=self._trace.arrived
        )

    # --- what others call ---------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The state now, with its reason, sentence and advice."""
        return self._announcer.status

    @property
    def connected(self) -> bool:
        """Can messages be sent now."""
        return self.status.state is State.CONNECTED

    async def run(self) -> None:
        """Keep the account connected until `stop`; whatever WhatsApp does, it does not raise."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.to_thread(self._session.prepare)
                self._resume(await asyncio.to_thread(self._deadlines.load))
                tasks.create_task(self._deadlines.run(), name="deadlines")
                tenancy = tasks.create_task(self._tenancy.run(), name="tenancy")
                while not (self._stopping and self._life is None):
                    (await self._inbox.get())()
                self._approach.cancel()
                self._watches.keep_only(None)
                tenancy.cancel()
                self._standby.discard()
                self._deadlines.close()
        finally:
            self._tasks = None
            await self._tenancy.end()
            self._ended.set()
            for asked in tuple(self._asked):
                answer(asked, EngineRefused("the connection has been stopped"))

    async def stop(self) -> None:
        """End the engine, give the lease up, then end `run`; the state is `stopped`."""
        self._post(self._stop)
        if self._tasks is not None:
            await self._ended.wait()

    # --- what happens, in order ---------------------------------------------------------------------

    def _post(self, handle: Callable[..., None], *arguments: object) -> None:
        self._inbox.put_nowait(partial(handle, *arguments))

    def _resume(self, deadline: Deadline | None) -> None:
        remaining = 0.0 if deadline is None else deadline.until - self._clock.now()
        if deadline is not None and remaining > 0:
            self._resting = True
            self._announcer.move(RULES[deadline.reason], attempt=0, next_attempt_in_s=remaining)
            self._begin_wait(remaining, early=False)

    def _event(self, life: Life, event: AnyEvent) -> None:
        if life is self._life:
            self._hearing.event(event)
            if isinstance(event, Heartbeat):
                self._beat(life, event)
            else:
                self._happened(life, event)
        for listener in self._listeners:
            listener(event)

    def _elapsed(self, watch: Watch, token: object) -> None:
        if not self._watches.take(watch, token):
            return
        if watch is Watch.STABLE:
            self._pacing.settle()
            self._announcer.settle()
        elif self._life is not None and not self._hearing.elapsed(watch):
            self._happened(self._life, watch)

    def _opened(self, life: Life, device: bool) -> None:
        if life.leaving is not None:
            return
        life.device = life.attempt_open = device
        self._trace.started(attempt=self._pacing.attempt)
        self._apply(RULES[Reason.LOGGING_IN if device else Reason.WAITING_FOR_QR])

    def _started(self, life: Life, hello: Hello) -> None:
        self.engine = hello
        self._trace.step("engine started")
        log.info("connection.engine_started", engine=life.number, neonize=hello.neonize)

    def _refused(self, life: Life, reason: Reason) -> None:
        if life.leaving is None:
            self._apply(RULES[reason])

    def _gone(self, life: Life, report: ExitReport) -> None:
        self._life = None
        self._tenancy.vacated()
        self.engine = None
        log.info(
            "connection.engine_gone", engine=life.number, cause=report.cause, returncode=report.returncode
        )
        if life.leaving is None:
            rule = decide(report, life.phase)
            assert rule is not None, report.cause
            rule = self._pacing.escalated(rule)
            self._tally.given_up(life, rule, code_shown=self.status.qr is not None)
            self._apply(rule)
        self._clearing.begin(self._group)
        self._login_if_due()

    def _lease_hindered(self, hindrance: Hindrance) -> None:
        self._unleased = HINDRANCES[hindrance]
        if not self._resting and not self._stopping:
            self._announcer.move(self._unleased, attempt=self._pacing.attempt)

    def _lease_held(self) -> None:
        if not self._tenancy.held or self._life is not None:
            return
        if self._resting or self._stopping:
            self._login_if_due()
            return
        wait_s = max(0.0, self._not_before - self._clock.monotonic())
        if self.status.state is State.WAITING_FOR_LEASE:
            self._announcer.move(
                RULES[Reason.LEASE_HELD],
                attempt=self._pacing.attempt,
                state=State.BACKING_OFF if wait_s else None,
                next_attempt_in_s=wait_s or None,
            )
        self._begin_wait(wait_s, early=True)

    def _lease_lost(self) -> None:
        self._unleased = RULES[Reason.LEASE_LOST]
        self._standby.discard()
        life = self._life
        if life is not None and life.ends_gently:
            self._group.create_task(_ending(life.process.kill()))
        if not self._resting:
            self._apply(self._unleased)

    def _stop(self) -> None:
        if not self._stopping:
            self._apply(RULES[Reason.STOPPED])
            self._stopping = True

    def _reach_again(self, number: int) -> None:
        if number == self._waits:
            self._due = True
            self._login_if_due()

    def _unreachable(self, number: int, seconds: float) -> None:
        if number == self._waits:
            rule = RULES[Reason.NETWORK_UNREACHABLE]
            self._announcer.move(rule, attempt=self._pacing.attempt, next_attempt_in_s=seconds)
            if self._life is None and self._tenancy.held:
                self._standby.prepare(self._group)

    # --- what is decided ----------------------------------------------------------------------------

    def _happened(self, life: Life, happened: Happened) -> None:
        rule = decide(happened, life.phase)
        if rule is None:
            return
        if life.leaving is not None and STRICTNESS[rule.then] <= STRICTNESS[life.leaving.then]:
            return
        rule = self._pacing.escalated(rule)
        if not isinstance(happened, Watch):
            self._trace.step(type(happened).__name__)
        if isinstance(happened, Paired):
            self._paired(life)
        elif isinstance(happened, Connected) and life.device:
            self._online(life, rule)
        self._apply(rule, happened)

    def _beat(self, life: Life, beat: Heartbeat) -> None:
        if self.status.state is not State.CONNECTED or life.leaving is not None:
            return
        if beat.connected and beat.logged_in:
            self._watches.disarm(Watch.NOT_READY)
        elif not self._watches.armed(Watch.NOT_READY):
            self._arm(Watch.NOT_READY)
        if self._memory.exceeded(beat.resident_bytes):
            self._apply(RULES[Reason.MEMORY_LIMIT])

    def _paired(self, life: Life) -> None:
        life.paired = True
        self._pacing.settle()
        self._tally.paired(life)

    def _online(self, life: Life, rule: Rule) -> None:
        life.online, life.lost = True, False
        self._tally.online(life)
        self._trace.ended(rule)

    def _apply(self, rule: Rule, happened: Happened | None = None) -> None:
        if self._stopping:
            return
        if not self._tenancy.held and rule.then in {Then.RECYCLE, Then.BACK_OFF}:
            rule = self._unleased
        if rule.then in ENGINE_STAYS:
            self._stay(rule, happened)
        else:
            self._leave(rule, happened)

    def _stay(self, rule: Rule, happened: Happened | None) -> None:
        if rule.then is not Then.STAY and rule.watch is not None and self._watches.armed(rule.watch):
            return
        self._unwatch()
        if rule.watch is not None:
            self._arm(rule.watch)
        if rule.state is State.CONNECTED and self._life is not None:
            self._hearing.begin(self._group, self._life.process)
        if rule.then is Then.WAIT and self._life is not None:
            self._life.lost = True
        qr = happened.code if isinstance(happened, QrCode) else None
        self._announcer.move(rule, attempt=self._pacing.attempt, qr=qr)

    def _leave(self, rule: Rule, happened: Happened | None) -> None:
        self._unwatch()
        self._cancel_wait()
        self._resting = rule.then in RESTS
        if self._resting or rule.then in {Then.YIELD, Then.STOP}:
            self._standby.discard()
        wait_s = self._pacing.wait_s(rule, happened)
        now = self._clock.monotonic()
        if rule.then is Then.YIELD:
            self._not_before = max(self._not_before, now + (wait_s or 0.0))
            wait_s = None
        elif wait_s is not None:
            self._not_before = now + wait_s
        if rule.survives and wait_s is not None:
            self._deadlines.keep(Deadline(rule.reason, self._clock.now() + wait_s))
        if (life := self._life) is not None:
            if life.leaving is None:
                self._tally.given_up(life, rule, code_shown=self.status.qr is not None)
                self._end(life, rule)
            life.leaving = rule
            life.unlinked = life.unlinked or rule.unlinks
        self._trace.ended(rule)
        self._metrics.backoff_seconds.set(wait_s or 0.0)
        again = rule.then in {Then.RECYCLE, Then.BACK_OFF}
        waits_in_place = rule.state is State.CONNECTING and bool(wait_s)
        self._announcer.move(
            rule,
            attempt=self._pacing.attempt,
            state=State.BACKING_OFF if waits_in_place else rule.state,
            next_attempt_in_s=wait_s,
        )
        if wait_s is None:
            return
        if again:
            self._trace.waiting(rule.reason, attempt=self._pacing.attempt, wait_s=wait_s)
        self._begin_wait(wait_s, early=again)

    # --- what is done -------------------------------------------------------------------------------

    @property
    def _group(self) -> asyncio.TaskGroup:
        assert self._tasks is not None, "run() is running"
        return self._tasks

    def _arm(self, watch: Watch) -> None:
        seconds = self._pacing.stable_after_s if watch is Watch.STABLE else WATCH_S[watch]
        self._watches.arm(self._group, watch, seconds=seconds)

    def _unwatch(self) -> None:
        self._hearing.end()
        self._watches.keep_only(None)

    def _begin_wait(self, wait_s: float, *, early: bool) -> None:
        self._cancel_wait()
        self._approach.begin(
            self._group,
            wait_s,
            early=early,
            due=partial(self._post, self._reach_again, self._waits),
            unreachable=partial(self._post, self._unreachable, self._waits),
        )

    def _cancel_wait(self) -> None:
        self._approach.cancel()
        self._waits += 1
        self._due = False

    def _login_if_due(self) -> None:
        if not self._due or self._life is not None or self._stopping:
            return
        if self._clearing.pending or self._standby.busy:
            return
        self._resting = False
        if not self._tenancy.held:
            self._announcer.move(self._unleased, attempt=self._pacing.attempt)
            return
        self._tenancy.occupied()
        self._deadlines.keep(None)
        self._cancel_wait()
        self._engines += 1
        life = Life(self._engines)
        self._metrics.backoff_seconds.set(0.0)
        life.process, life.hello = self._standby.take(partial(self._post, self._event, life))
        life.started = life.hello is not None
        self._life = life
        life.task = self._group.create_task(
            live(
                life, session=self._session, device_name=self._device_name, proxy=self._proxy, told=self._told
            ),
            name=f"engine {life.number}",
        )

    def _end(self, life: Life, rule: Rule) -> None:
        if not life.started:
            assert life.task is not None
            life.task.cancel()
        elif rule.gentle or rule.then in GENTLE:
            life.ends_gently = True
            self._group.create_task(_ending(life.process.stop()))
        else:
            self._group.create_task(_ending(life.process.kill()))


async def _ending(end: Awaitable[ExitReport]) -> None:
    await end
