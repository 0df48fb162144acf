"""What becomes of engines, logins and pairings, as numbers."""

from service.reconnect.life import Life
from service.reconnect.metrics import (
    ATTEMPT_RESULTS,
    AttemptResult,
    PairingMethod,
    PairingResult,
    ReconnectMetrics,
)
from service.reconnect.reason import Reason
from service.reconnect.rule import Phase, Rule, Side

EXPIRED = frozenset({Reason.QR_CODES_USED_UP, Reason.QR_SILENCE})


class Tally:
    """Counts each login attempt once, however it ends."""

    def __init__(self, metrics: ReconnectMetrics) -> None:
        self._metrics = metrics

    def paired(self, life: Life) -> None:
        """The phone accepted."""
        self._metrics.paired(_method(life), PairingResult.PAIRED)

    def online(self, life: Life) -> None:
        """The login succeeded."""
        self._finish(life, AttemptResult.CONNECTED)

    def given_up(self, life: Life, rule: Rule, *, code_shown: bool) -> None:
        """The engine is to end, or has ended."""
        self._metrics.recycled(rule.reason)
        self._finish(life, ATTEMPT_RESULTS[rule.side])
        if life.phase is Phase.PAIRING and rule.side is not Side.OPERATOR and code_shown:
            result = PairingResult.EXPIRED if rule.reason in EXPIRED else PairingResult.FAILED
            self._metrics.paired(_method(life), result)

    def _finish(self, life: Life, result: AttemptResult) -> None:
        if life.attempt_open:
            life.attempt_open = False
            self._metrics.attempted(result)


def _method(life: Life) -> PairingMethod:
    return PairingMethod.CODE if life.code_asked else PairingMethod.QR
