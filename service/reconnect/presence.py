"""Shows WhatsApp once a day that this device is in use.

A linked device that never sends its presence may look unused and be unlinked after about two weeks, though
it sends messages every day (asternic/wuzapi#357, go-whatsapp-web-multidevice#644). It is shown as online
only for a moment: while it is, the phone may stay silent about new messages.
"""

import asyncio
from enum import StrEnum
from random import Random
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from service.clock import Clock
from service.errors import EngineError, EngineRefused
from service.reconnect.status import State, Status

log = structlog.get_logger(__name__)

EVERY_S: Final = 86_400.0
RETRY_S: Final = 3_600.0
STABLE_S: Final = 60.0
"""How long a connection must have held before it is used for this."""

SHOWN_S: Final = (5.0, 15.0)
"""For how long it is shown as online: a length in between, drawn anew each time."""

NO_PUSH_NAME: Final = "PushName"
"""In whatsmeow's refusal (ErrNoPushName) until the phone has told the account's name."""


class Shown(StrEnum):
    """How it ended."""

    SHOWN = "shown"
    NO_PUSH_NAME = "no_push_name"  # the phone has not told the account's name yet; that comes by itself
    REFUSED = "refused"
    UNANSWERED = "unanswered"  # the engine ended, or did not answer in time


class PresenceMetrics:
    """When the device was last shown to be in use, and what became of each try."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        tries = Counter(
            "whatsapp_presence_announcements",
            "Times WhatsApp was told that this device is in use, by how that ended.",
            ["account", "result"],
            registry=registry,
        )
        self.tries = {shown: tries.labels(account, shown.value) for shown in Shown}
        self.last_at = Gauge(
            "whatsapp_presence_last_announced_timestamp_seconds",
            "When WhatsApp was last told that this device is in use, Unix time; 0 before the first time.",
            ["account"],
            registry=registry,
        ).labels(account)


class Telling(Protocol):
    """What says to WhatsApp whether this device is in use; the supervisor does. Raises EngineError."""

    async def __call__(self, *, available: bool) -> None: ...


class DailyPresence:
    """Online for a moment after the first connection that holds, and every 24 hours from then on.

    Nothing of it is kept on disk: a process that starts anew shows it anew.
    """

    def __init__(self, *, tell: Telling, clock: Clock, rng: Random, metrics: PresenceMetrics) -> None:
        self._tell = tell
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._connected = asyncio.Event()
        self._losses = 0

    def on_status(self, status: Status) -> None:
        """The connection's status changed."""
        if status.state is State.CONNECTED:
            self._connected.set()
        elif self._connected.is_set():
            self._connected.clear()
            self._losses += 1

    async def run(self) -> None:
        """Do so until cancelled; a try that fails is made again after an hour."""
        while True:
            await self._stable()
            shown = await self._show()
            self._metrics.tries[shown].inc()
            log.info("presence.announced", result=shown.value)
            if shown is Shown.SHOWN:
                self._metrics.last_at.set(self._clock.now())
            await self._clock.sleep(EVERY_S if shown is Shown.SHOWN else RETRY_S)

    async def _stable(self) -> None:
        while True:
            await self._connected.wait()
            losses = self._losses
            await self._clock.sleep(STABLE_S)
            if losses == self._losses:
                return

    async def _show(self) -> Shown:
        try:
            await self._tell(available=True)
            await self._clock.sleep(self._rng.uniform(*SHOWN_S))
            await self._tell(available=False)
        except EngineRefused as error:
            return Shown.NO_PUSH_NAME if NO_PUSH_NAME in error.text else Shown.REFUSED
        except EngineError:
            return Shown.UNANSWERED
        return Shown.SHOWN
