"""Another process may be the one that connects."""

from typing import Final

from service.reconnect.reason import Reason
from service.reconnect.rule import Rule, Side, Then
from service.reconnect.status import Advice, State


def _waiting(reason: Reason, sentence: str, advice: Advice = Advice.READ_LOG) -> Rule:
    return Rule(
        reason=reason,
        then=Then.YIELD,
        state=State.WAITING_FOR_LEASE,
        side=Side.LEASE,
        advice=advice,
        sentence=sentence,
    )


ROWS: Final[tuple[Rule, ...]] = (
    _waiting(
        Reason.LEASE_HELD_ELSEWHERE,
        "Another process is connected with this account. Beacon takes over when that one ends.",
        Advice.NOTHING,
    ),
    _waiting(
        Reason.LEASE_UNREACHABLE,
        "The database of DATABASE_URL does not answer, so nobody knows who may connect. Beacon keeps asking.",
    ),
    _waiting(
        Reason.LEASE_REFUSED,
        "The database of DATABASE_URL refuses what Beacon needs to know who may connect; the log says why.",
    ),
    _waiting(
        Reason.LEASE_UNWRITABLE,
        "DATA_DIR cannot be written, so Beacon may not connect; the log says why.",
    ),
    _waiting(
        Reason.LEASE_LOST,
        "It is not certain any more that no other process connects this account. Beacon has ended its "
        "connection and asks anew; messages are kept.",
    ),
    _waiting(
        Reason.VAULT_UNREACHABLE,
        "Where the session's backups are kept does not answer. Beacon keeps asking: linking the phone anew "
        "would give up the session that is kept there. BACKUP_ENABLED=false starts without it.",
    ),
    _waiting(
        Reason.BACKUP_UNREADABLE,
        "There are backups of the session, and none can be read; the log says why. Nothing is overwritten. "
        "Mend what keeps them; or link the phone anew, with another ACCOUNT or with BACKUP_ENABLED=false.",
    ),
    _waiting(
        Reason.BACKUP_KEY_MISSING,
        "The session's backup is sealed with a key that is not in BACKUP_KEYS. Nothing is overwritten. Add "
        "the key and start again; or link the phone anew, with another ACCOUNT or with BACKUP_ENABLED=false.",
    ),
    Rule(
        reason=Reason.LEASE_HELD,
        state=State.CONNECTING,
        sentence="This process is now the one that connects.",
    ),
)
