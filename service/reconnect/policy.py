"""What to do when something happens to the connection: one table, read from top to bottom.

Numbers in `rows` are those of the decision table in the failure modes of neonize and whatsmeow. The
rows without number are steps of the ordinary way and what the supervisor itself starts. The first row
that matches decides; what matches none changes nothing.
"""

from collections.abc import Mapping
from typing import Final

from service.reconnect.reason import Reason
from service.reconnect.rows import account, engine, lease, link, own, pairing, whatsapp
from service.reconnect.rule import Happened, Phase, Rule, Watch

TABLE: Final[tuple[Rule, ...]] = (
    *own.ROWS,
    *lease.ROWS,
    *pairing.ROWS,
    *link.ROWS,
    *whatsapp.ROWS,
    *account.ROWS,
    *engine.ROWS,
)

RULES: Final[Mapping[Reason, Rule]] = {rule.reason: rule for rule in TABLE}


_CONCERNED: Final[Mapping[object, list[Rule]]] = {
    what: [rule for rule in TABLE if any(on.what is what for on in rule.on)]
    for what in {on.what for rule in TABLE for on in rule.on}
}
"""The rows that speak of a kind of happening, in their order: most that comes are messages and receipts, of
which none does."""


def decide(happened: Happened, phase: Phase) -> Rule | None:
    """The row for what happened to an engine in that phase; None when it changes nothing."""
    for rule in _CONCERNED.get(happened if isinstance(happened, Watch) else type(happened), ()):
        if any(on.matches(happened, phase) for on in rule.on):
            return rule
    return None
