"""Panels that stand on the overview and on the dashboard of their stage, too."""

from typing import Final

from dashboards.panels import Look, lines, tile
from dashboards.queries import WHOSE, Query, age, during, kept, of, rate, ratio, total

BY: Final = "{{instance}} {{account}}"
GAVE_UP: Final = during("whatsapp_queue_terminal_total", 'state=~"dead|expired"')

STILL_TO_SEND: Final = tile(
    "Waiting",
    "Messages that are still to be sent.",
    "short",
    kept('state=~"queued|sending"'),
    limits=[(100, "orange"), (1000, "red")],
    runbook="WhatsAppQueueDeep",
)

OLDEST: Final = tile(
    "Oldest waits for",
    "Since when the oldest message waits that is still to be sent.",
    "s",
    age(of("whatsapp_queue_oldest_timestamp_seconds"), by=WHOSE),
    limits=[(300, "orange"), (1800, "red")],
    none=Look("nothing waits", "green"),
    runbook="WhatsAppOldestMessageWaits",
)

GIVEN_UP: Final = tile(
    "Given up",
    "Messages that were given up in the time that is shown: refused for good, or past their deadline.",
    "short",
    GAVE_UP,
    limits=[(0.5, "orange"), (10, "red")],
    decimals=0,
    runbook="WhatsAppMessagesGivenUp",
)

MEMORY: Final = tile(
    "Memory",
    "Memory of the service and its engine, of what they may use. No value without a limit.",
    "percentunit",
    ratio(total(of("whatsapp_memory_used_bytes")), total(of("whatsapp_memory_limit_bytes"))),
    limits=[(0.8, "orange"), (0.9, "red")],
    none=Look("no limit", "blue"),
    decimals=0,
    runbook="WhatsAppMemoryNearLimit",
    legend=BY,
)

CAME_TO_REST: Final = lines(
    "Came to rest",
    "Messages that came to a state in which they may stay, a second.",
    "cps",
    Query(rate("whatsapp_queue_terminal_total", by=("state",)), "{{state}}"),
)
