"""What is done with the session when the account is taken over, and how a session comes back.

The rule, in the order in which it is asked (docs/backup.md says why):

- Nothing on this disk: the newest backup comes back, unless there is none, or the operator cleared it here.
- A session whose past is not known here: it is used; when others may have used it since, its ratchets go.
- A session that nobody else has used since: it is used as it is. Backups are not even read.
- A session that others have used since: the newest of their backups comes back; without any, the session is
  used and its ratchets go.

What comes back is used as it is only when it is provably where the session stopped. Everything else loses its
ratchets: reusing them loses messages without a word.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from service.backup.local import Found, Lineage
from service.backup.model import Kept, Manifest

CLEAN_FOR_S: Final = 300.0
"""How long a clean backup counts as the last state without a database that says who connected since."""

SILENT_FOR_S: Final = CLEAN_FOR_S + 60.0
"""As long after such a backup nobody connects without having told the vault: longer, for clocks differ."""


class Plan(StrEnum):
    """What is done."""

    USE = "use"  # the session here, as it is
    RENEW = "renew"  # the session here, without its ratchets
    FETCH = "fetch"  # a backup
    BEGIN = "begin"  # nothing: there is no session


def plan(
    found: Found,
    lineage: Lineage | None,
    *,
    cleared: bool,
    listed: Sequence[Kept],
    epoch: int,
    gap: bool,
) -> Plan:
    """What to do. `epoch` is the last one that anybody entered, `gap` says that the database gave the lease
    to somebody else since this disk's session was last used."""
    if found is Found.NOTHING:
        return Plan.FETCH if listed and not cleared else Plan.BEGIN
    if lineage is None:
        return Plan.USE if found is Found.LOGGED_OUT or epoch == 0 else Plan.RENEW
    if epoch <= lineage.epoch and not gap:
        return Plan.USE
    if candidates(found, lineage, listed):
        return Plan.FETCH
    return Plan.USE if found is Found.LOGGED_OUT else Plan.RENEW


def candidates(found: Found, lineage: Lineage | None, listed: Sequence[Kept]) -> Sequence[Kept]:
    """The backups that may take the place of what is here, the best first."""
    if found is Found.NOTHING or lineage is None:
        return listed
    return [kept for kept in listed if kept.epoch > lineage.epoch]


def exact(manifest: Manifest, *, newest: bool, epoch: int, fence: int, now: float) -> bool:
    """Is this where the session stopped. `epoch` is the one entered before ours, `fence` our own, 0 without a
    database.

    With a database every connection took its lease, so the fence before ours proves that there was none
    since. Without one only the vault knows, and it may not have been told: then the time since must be
    short.
    """
    if not (newest and manifest.clean and manifest.epoch == epoch):
        return False
    if fence:
        return 0 < manifest.fence == fence - 1
    return manifest.fence == 0 and 0.0 <= now - manifest.taken_at <= CLEAN_FOR_S
