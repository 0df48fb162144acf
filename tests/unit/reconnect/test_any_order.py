"""In any order: one state, one engine, never a login too early, never one without the lease."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.exits import ExitCause
from service.engine.protocol import (
    AnyEvent,
    ClientOutdated,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Disconnected,
    EventsDropped,
    Heartbeat,
    KeepAliveRestored,
    KeepAliveTimeout,
    LoggedOut,
    OfflineSynced,
    Paired,
    PairingEnded,
    QrCode,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from service.reconnect.backoff import Backoff
from service.reconnect.lease_metrics import Hindrance
from service.reconnect.policy import RULES
from service.reconnect.reason import Reason
from service.reconnect.status import State, Status
from tests.unit.reconnect.fakes import DEVICE, World


@dataclass(frozen=True)
class Dies:
    cause: ExitCause


@dataclass(frozen=True)
class Passes:
    seconds: float


@dataclass(frozen=True)
class Network:
    reachable: bool


@dataclass(frozen=True)
class Session:
    device: str | None


@dataclass(frozen=True)
class Ending:
    takes_s: float


@dataclass(frozen=True)
class Lease:
    lost: bool
    away: Hindrance | None


@dataclass(frozen=True)
class Hearing:
    deaf: bool


@dataclass(frozen=True)
class Restart:
    pass


@dataclass(frozen=True)
class Clear:
    pass


Step = AnyEvent | Dies | Passes | Network | Session | Ending | Lease | Hearing | Restart | Clear

BEATS = [
    Heartbeat(
        connected=connected,
        logged_in=connected,
        events_queued=0,
        sends_at_hand=0,
        resident_bytes=0,
        threads=0,
        open_fds=0,
        unraisable=0,
    )
    for connected in (True, False)
]
EVENTS: list[AnyEvent] = [
    QrCode(code="2@a"),
    Paired(jid=DEVICE),
    PairingEnded(text="timeout"),
    PairingEnded(text="err-client-outdated"),
    Connected(jid=DEVICE),
    Disconnected(),
    KeepAliveTimeout(failures=1, last_success=0.0),
    KeepAliveTimeout(failures=2, last_success=0.0),
    KeepAliveRestored(),
    *(LoggedOut(on_connect=True, reason=reason) for reason in (401, 403, 406)),
    StreamReplaced(),
    TemporaryBan(code=101, expire_s=600.0),
    TemporaryBan(code=105, expire_s=0.0),
    *(ConnectFailure(reason=reason, text="") for reason in (400, 409, 418, 501, 503)),
    ClientOutdated(),
    StreamError(code="400"),
    ConnectEnded(text=""),
    ConnectEnded(text="dial tcp: connection refused"),
    ConnectEnded(text="TemporaryBan.Code"),
    OfflineSynced(count=1),
    EventsDropped(count=1),
    *BEATS,
]

STEPS = st.one_of(
    st.sampled_from(EVENTS),
    st.just(Connected(jid=DEVICE)),  # more often than the rest, so that there is something to lose
    st.builds(Dies, st.sampled_from(ExitCause)),
    st.builds(Passes, st.sampled_from([0.5, 2.0, 5.0, 21.0, 61.0, 301.0, 4000.0])),
    st.builds(Network, st.booleans()),
    st.builds(Session, st.sampled_from([None, DEVICE])),
    st.builds(Ending, st.sampled_from([0.0, 3.0])),
    st.builds(Lease, st.booleans(), st.none() | st.sampled_from(Hindrance)),
    st.builds(Hearing, deaf=st.booleans()),
    st.just(Restart()),
    st.just(Clear()),
)


LADDERS_THAT_BEGIN_AT_ONCE = 2  # the common one and pairing's


@dataclass
class Witness:
    """Watches the logins from outside, and knows what may make the next one free."""

    world: World
    attempts: int = 0
    quick: int = 0
    apart: bool = False
    last_login: float | None = None
    connected_since: float | None = None
    forgiven: bool = True
    probe_failed: bool = False
    problems: list[str] = field(default_factory=list)
    fence: int = 0

    def __post_init__(self) -> None:
        self.world.on_login = self._login
        self.world.supervisor.subscribe(self._status)

    def _login(self) -> None:
        now = self.world.clock.monotonic()
        if (fence := self.world.lease.fence) is None:
            self.problems.append("a login without the lease")
        elif fence < self.fence:
            self.problems.append("a login under an older lease")
        else:
            self.fence = fence
        if self.forgiven or self.last_login is None:
            self.attempts, self.quick, self.apart = 0, 0, False
        else:
            self.attempts += 1
            waited = now - self.last_login
            if waited < self._least() and not self.probe_failed:
                self.problems.append(f"retry {self.attempts} came after {waited} s")
        if len(self.world.running) != 1:
            self.problems.append(f"{len(self.world.running)} engines at once")
        self.last_login, self.forgiven, self.probe_failed = now, False, False

    def _least(self) -> float:
        """The n-th retry has its place on the ladder. Where ladders of their own took part, too,
        every retry but the first of either waits as long as the lowest rung says."""
        if not self.apart:
            return 0.0 if self.attempts == 1 else Backoff().ceiling(self.attempts)
        if self.quick < LADDERS_THAT_BEGIN_AT_ONCE:  # whichever it was
            self.quick += 1
            return 0.0
        return Backoff().ceiling(1)

    def _status(self, status: Status) -> None:
        self.apart = self.apart or RULES[Reason(status.reason)].cap_s is not None
        self.probe_failed = self.probe_failed or status.reason == "network_unreachable"
        now = self.world.clock.monotonic()
        if status.state is not State.CONNECTED:
            self.connected_since = None
        elif self.connected_since is None:
            self.connected_since = now
        elif status.attempt == 0 and now - self.connected_since >= 60:
            self.forgiven = True

    def check(self) -> None:
        status = self.world.status
        assert self.world.states() == {status.state.value}
        assert self.world.metric("whatsapp_connected") == (status.state is State.CONNECTED)
        assert len(self.world.running) <= 1
        if self.world.lease.fence is None:
            dying = all(engine.kills for engine in self.world.running)
            assert dying, "an engine lives without the lease"
            assert status.state is not State.CONNECTED
        assert (status.qr is not None) <= (status.state is State.PAIRING)
        assert not self.problems, self.problems


async def play(steps: list[Step], device: str | None) -> None:
    world = World(device=device)
    async with world.lives():
        witness = Witness(world)
        witness.last_login = world.logins[-1]
        witness.forgiven = False
        for step in steps:
            match step:
                case Dies(cause):
                    await world.dies(cause)
                case Passes(seconds):
                    await world.passes(seconds)
                case Network(reachable):
                    world.reachable = reachable
                case Session(device):
                    world.device = device
                case Ending(takes_s):
                    world.end_takes_s = takes_s
                case Lease(lost, away):
                    if away is not None:
                        world.lease.keep_away(away)
                    elif lost or world.lease.away is not None:
                        world.lease.lose()
                    await world.settle()
                case Hearing(deaf):
                    world.deaf = deaf
                case Clear():
                    witness.forgiven = True
                    clearing = asyncio.create_task(world.supervisor.clear())
                    while not clearing.done():
                        await world.passes(world.end_takes_s or 0.001)
                        await asyncio.sleep(0)
                    await clearing
                    await world.settle()
                case Restart():
                    witness.forgiven = True
                    await world.supervisor.restart()
                    await world.settle()
                case _:
                    if isinstance(step, Paired):
                        witness.forgiven = True
                    await world.happens(step)
            witness.check()
    assert world.status.state is State.STOPPED
    assert not world.running


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), device=st.sampled_from([None, DEVICE]))
def test_one_state_one_engine_no_login_too_early_or_without_the_lease(
    steps: list[Step], device: str | None
) -> None:
    asyncio.run(play(steps, device))
