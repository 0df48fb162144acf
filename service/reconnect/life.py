"""One engine's life: looked up, started, told to connect, and how far it came."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from service.engine.exits import ExitCause, ExitReport
from service.engine.protocol import Hello
from service.errors import EngineGone, EngineRefused, EngineStartFailed, EngineTimeout, StoreError
from service.reconnect.ports import Engine, Session
from service.reconnect.reason import Reason
from service.reconnect.rule import Phase, Rule

log = structlog.get_logger(__name__)

NEVER_STARTED: Final = ExitReport(cause=ExitCause.STOPPED, returncode=None, detail="")


@dataclass(slots=True)
class Life:
    """What the supervisor knows of the engine it has. `leaving` is the rule that ends it."""

    number: int
    process: Engine = field(init=False, repr=False)
    device: bool | None = None  # None: not looked yet
    paired: bool = False
    online: bool = False
    lost: bool = False
    code_asked: bool = False
    attempt_open: bool = False
    hello: Hello | None = None
    started: bool = False
    unlinked: bool = False
    ends_gently: bool = False
    leaving: Rule | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        if not self.device:
            return Phase.PAIRED if self.paired else Phase.PAIRING
        if not self.online:
            return Phase.LOGIN
        return Phase.LOST if self.lost else Phase.ONLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Who is told of the steps of a life; each is called on the loop and must not block."""

    opened: Callable[[Life, bool], None]  # there is a device (or not)
    started: Callable[[Life, Hello], None]
    refused: Callable[[Life, Reason], None]  # it could not even begin to connect
    gone: Callable[[Life, ExitReport], None]  # the last one, always


async def live(life: Life, *, session: Session, device_name: str, proxy: str | None, told: Told) -> None:
    """Run an engine to its end. Cancelled, it kills the engine before it returns."""
    report = NEVER_STARTED
    try:
        told.opened(life, await session.device_jid() is not None)
        if life.hello is None:
            life.hello = await life.process.start()
        told.started(life, life.hello)
        life.started = True
        try:
            await life.process.connect(database=session.path, device_name=device_name, proxy=proxy)
        except EngineRefused as refused:
            log.warning("connection.refused", engine=life.number, error=refused.text)
            told.refused(life, Reason.ENGINE_REFUSED)
        report = await life.process.wait()
        if life.unlinked:
            await session.forget_device()
    except StoreError:
        log.exception("connection.session_unreadable")
        told.refused(life, Reason.SESSION_UNREADABLE)
    except (EngineStartFailed, EngineGone, EngineTimeout):
        report = await life.process.wait()
    except asyncio.CancelledError:
        if life.started:
            report = await life.process.kill()
        raise
    finally:
        told.gone(life, report)
