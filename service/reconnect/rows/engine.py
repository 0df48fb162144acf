"""The engine's own ends."""

from typing import Final

from service.engine import protocol as engine
from service.engine.exits import ExitCause, ExitReport
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    MINUTE,
    PAUSE,
    Escalation,
    On,
    Phase,
    Rule,
    Side,
    Then,
)
from service.reconnect.status import Advice, State

KILLED_CAP_S: Final = 5.0
"""Nothing was wrong with the login, so the next comes soon; KILL_LOOP bounds how many there are."""

KILL_LOOP: Final = Escalation("engine_kill", 40, 10 * MINUTE, Reason.ENGINE_CRASH_LOOP)
CRASH_LOOP: Final = Escalation("engine_death", 5, 10 * MINUTE, Reason.ENGINE_CRASH_LOOP)


def _engine_died(
    cause: ExitCause,
    *,
    reason: Reason,
    sentence: str,
    cap_s: float | None = None,
    escalation: Escalation = CRASH_LOOP,
) -> Rule:
    return Rule(
        reason=reason,
        rows=("25",),
        on=(On(ExitReport, {"cause": {cause}}),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.ENGINE,
        sentence=f"The engine that runs WhatsApp {sentence} It is being started again.",
        cap_s=cap_s,
        escalation=escalation,
    )


ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.EVENT_LOOP_DIED,
        rows=("23",),
        on=(On(engine.ConnectEnded, phases=frozenset({Phase.ONLINE, Phase.LOST, Phase.PAIRED})),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.ENGINE,
        sentence="The WhatsApp library stopped reporting. It is being started again; messages are kept.",
    ),
    Rule(
        reason=Reason.CONNECT_FAILED,
        rows=("21",),
        on=(On(engine.ConnectEnded),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.NETWORK,
        advice=Advice.CHECK_NETWORK,
        sentence="The connection to WhatsApp could not be made. Beacon keeps trying; messages are kept.",
    ),
    Rule(
        reason=Reason.SESSION_UNREADABLE,
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.ENGINE,
        advice=Advice.READ_LOG,
        sentence="The session cannot be read; the log says why. Beacon tries again; messages are kept.",
    ),
    Rule(
        reason=Reason.ENGINE_REFUSED,
        rows=("21",),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.ENGINE,
        advice=Advice.READ_LOG,
        sentence="The WhatsApp library cannot work with the session. Beacon tries again.",
    ),
    _engine_died(ExitCause.START_FAILED, reason=Reason.ENGINE_START_FAILED, sentence="did not start."),
    _engine_died(
        ExitCause.KILLED,
        reason=Reason.ENGINE_KILLED,
        sentence="was killed from outside.",
        cap_s=KILLED_CAP_S,
        escalation=KILL_LOOP,  # by whoever looks after memory, for example
    ),
    _engine_died(ExitCause.CRASHED, reason=Reason.ENGINE_CRASHED, sentence="crashed."),
    _engine_died(ExitCause.HEARTBEAT_LOST, reason=Reason.ENGINE_SILENT, sentence="hung and was killed."),
    _engine_died(
        ExitCause.COMMAND_OVERDUE,
        reason=Reason.ENGINE_OVERDUE,
        sentence="did not finish a command and was killed.",
    ),
    _engine_died(
        ExitCause.BAD_FRAME, reason=Reason.ENGINE_GARBLED, sentence="spoke nonsense and was killed."
    ),
    _engine_died(ExitCause.STOPPED, reason=Reason.ENGINE_ENDED, sentence="ended by itself."),
    Rule(
        reason=Reason.MEMORY_LIMIT,
        then=Then.RECYCLE,
        gentle=True,
        state=State.CONNECTING,
        side=Side.ENGINE,
        sentence="The engine that runs WhatsApp took too much memory. A new one replaces it; messages are "
        "kept.",
    ),
    Rule(
        reason=Reason.ENGINE_CRASH_LOOP,
        rows=("25",),
        then=Then.PAUSE,
        delay=PAUSE,
        state=State.BACKING_OFF,
        side=Side.ENGINE,
        advice=Advice.READ_LOG,
        sentence="The engine that runs WhatsApp died again and again within ten minutes. Beacon holds for a "
        "quarter of an hour; a restart of the connection ends that.",
    ),
)
