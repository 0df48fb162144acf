"""Queue and delivery: what waits and why, what WhatsApp takes, what people get."""

from typing import Final

from dashboards.frame import Board, Row
from dashboards.overview import ON_TIME
from dashboards.panels import Look, bars, heat, lines, said, tile, timeline
from dashboards.queries import (
    WHOSE,
    WINDOW,
    Query,
    age,
    during,
    events,
    kept,
    occurred,
    of,
    quantile,
    quantiles,
    rate,
)
from dashboards.shared import BY, CAME_TO_REST, GIVEN_UP, OLDEST, STILL_TO_SEND

OBJECTIVE: Final = 0.99


def late(window: str) -> str:
    """Share of messages that were late or given up, in units of what the objective allows."""
    given_up = during("whatsapp_queue_terminal_total", 'state=~"dead|expired"', span=window)
    whole = f"({during('whatsapp_queue_sent_seconds_count', span=window)} + {given_up})"
    good = during("whatsapp_queue_sent_seconds_bucket", 'le="300.0"', span=window)
    return f"(1 - {good} / ({whole} > 0)) / {1 - OBJECTIVE:.2f}"


NOW: Final = Row(
    "Now",
    (
        said(
            "How to read this",
            "What waits, and why does it wait? A message passes the rows from top to bottom. Waiting with "
            "attempts that fail: see **attempts**. Waiting without attempts: see **pacing**, then whether "
            "the "
            "connection is there. Sent and not delivered: the recipient's phone is off, or see **receipts**.",
        ),
        STILL_TO_SEND,
        OLDEST,
        tile(
            "Sent in time",
            "Share of the messages of the time that is shown that WhatsApp had within 5 minutes of being "
            "due.",
            "percentunit",
            ON_TIME,
            limits=[(0, "red"), (0.95, "orange"), (OBJECTIVE, "green")],
            none=Look("nothing sent", "blue"),
            decimals=2,
            runbook="WhatsAppDeliveryBudgetBurnsFast",
        ),
        GIVEN_UP,
        tile(
            "Held",
            "Messages that may have been sent already and wait for a person: `beacon queue` shows and "
            "releases "
            "them.",
            "short",
            kept('state="held"'),
            limits=[(0.5, "orange"), (20, "red")],
            runbook="WhatsAppHeldMessages",
        ),
        tile(
            "Dispatcher's last sign",
            "Since when the part that hands messages to the engine has not shown that it is alive.",
            "s",
            age(of("whatsapp_queue_dispatcher_heartbeat_timestamp_seconds")),
            limits=[(30, "orange"), (120, "red")],
            none=Look("never", "orange"),
            runbook="WhatsAppDispatcherStuck",
            legend=BY,
        ),
    ),
)

FLOW: Final = Row(
    "In and out",
    (
        lines(
            "Handed in",
            "Messages handed in a second, by what became of them.",
            "cps",
            Query(rate("whatsapp_queue_enqueued_total", by=("outcome",)), "{{outcome}}"),
        ),
        lines(
            "Messages in hand",
            "Messages that are not at rest, by state.",
            "short",
            Query(
                kept('state=~"queued|sending|unknown|held"', by=("state",)),
                "{{state}}",
            ),
            runbook="WhatsAppQueueDeep",
        ),
        CAME_TO_REST,
        lines(
            "Oldest message",
            "How long the oldest message has waited that is still to be sent; no line while none waits.",
            "s",
            Query(age(of("whatsapp_queue_oldest_timestamp_seconds"), by=WHOSE), "{{account}}"),
            runbook="WhatsAppOldestMessageWaits",
            limits=[(1800, "red")],
        ),
        lines(
            "At rest",
            "Kept messages that are at rest, by state. They are removed when their time is over.",
            "short",
            Query(
                kept('state!~"queued|sending|unknown|held"', by=("state",)),
                "{{state}}",
            ),
        ),
        lines(
            "Use of the error budget",
            "How fast messages are late or given up, measured in what the objective (99 % within 5 minutes) "
            "allows: above 1 for long, the promise is not kept.",
            "none",
            Query(late("1h"), "1 h {{account}}"),
            Query(late("6h"), "6 h {{account}}"),
            limits=[(1, "orange"), (14.4, "red")],
            runbook="WhatsAppDeliveryBudgetBurnsSlowly",
        ),
    ),
)

TIMES: Final = Row(
    "How long each step takes",
    (
        heat(
            "Until WhatsApp has it",
            "Time from when a message was due until WhatsApp acknowledged it: each cell is a number of "
            "messages, each dot the trace of one.",
            "s",
            f"sum by (le) (increase({of('whatsapp_queue_sent_seconds_bucket')}[{WINDOW}]))",
            width=12,
        ),
        heat(
            "Until delivered",
            "Time from accepting a message until the recipient's device had it: each cell is a number of "
            "messages, each dot the trace of one.",
            "s",
            f"sum by (le) (increase({of('whatsapp_queue_delivery_seconds_bucket')}[{WINDOW}]))",
            width=12,
        ),
        lines(
            "1: wait",
            "Time from when a message was due until it was handed to the engine, for each attempt.",
            "s",
            *quantiles("whatsapp_queue_wait_seconds"),
            width=6,
        ),
        lines(
            "2: send",
            "Time from handing a message to the engine until its answer, sends before it included.",
            "s",
            *quantiles("whatsapp_queue_send_seconds"),
            width=6,
        ),
        lines(
            "1 and 2: sent",
            "Time from when a message was due until WhatsApp acknowledged it, tries before included.",
            "s",
            *quantiles("whatsapp_queue_sent_seconds"),
            width=6,
            limits=[(300, "red")],
        ),
        lines(
            "All: delivered",
            "Time from accepting a message until the recipient's device had it.",
            "s",
            *quantiles("whatsapp_queue_delivery_seconds"),
            width=6,
        ),
    ),
)

ATTEMPTS: Final = Row(
    "Attempts and receipts",
    (
        lines(
            "Attempts",
            "Attempts to send a second, by result. Only `not_connected` costs a message none of its "
            "attempts.",
            "cps",
            Query(rate("whatsapp_queue_attempts_total", by=("result",)), "{{result}}"),
        ),
        bars(
            "Why attempts failed",
            "Attempts that WhatsApp did not take, by result and reason.",
            Query(
                occurred("whatsapp_queue_attempts_total", 'result!="sent"', by=("result", "reason")),
                "{{result}}: {{reason}}",
            ),
            runbook="WhatsAppSendsFail",
        ),
        lines(
            "Receipts",
            "Receipts a second, by kind. `retry`: a device could not read the message and asks for it again.",
            "cps",
            Query(rate("whatsapp_queue_receipts_total", by=("kind",)), "{{kind}}"),
            runbook="WhatsAppUnconfirmedDeliveries",
        ),
        bars(
            "Unknown outcomes",
            "Messages of which it was unknown whether WhatsApp had them, by how that was resolved.",
            Query(events("whatsapp_queue_unknown_resolved_total", by=("resolution",)), "{{resolution}}"),
            Query(kept('state="unknown"', by=()), "unknown now"),
            runbook="WhatsAppUnknownOutcomes",
        ),
        bars(
            "Rescued",
            "Sends that never answered, by what the engine's notes or the session said of them afterwards.",
            Query(events("whatsapp_queue_rescued_total", by=("outcome",)), "{{outcome}}"),
        ),
        lines(
            "Rare",
            "A second: messages sent once more for a device that could not read them, completions that came "
            "too late, and receipts that were lost.",
            "cps",
            Query(rate("whatsapp_queue_resends_total", by=()), "sent once more"),
            Query(rate("whatsapp_queue_claims_lost_total", by=()), "claims lost"),
            Query(rate("whatsapp_queue_receipts_dropped_total", by=()), "receipts lost"),
            runbook="WhatsAppEventsLost",
        ),
    ),
)

PACING: Final = Row(
    "Pacing (what keeps the account from looking like a machine)",
    (
        timeline(
            "What holds messages back",
            "What keeps messages of some kind, or all, from going out now (docs/pacing.md).",
            Query(of("whatsapp_pace_held"), "{{reason}} {{account}}"),
            says={"0": Look("no", "green"), "1": Look("holds", "orange")},
            width=12,
            height=8,
        ),
        lines(
            "Put off",
            "Times a message was put off a second, by reason.",
            "cps",
            Query(rate("whatsapp_pace_postponed_total", by=("reason",)), "{{reason}}"),
            Query(rate("whatsapp_queue_postponed_total", by=("reason",)), "back to the queue: {{reason}}"),
            width=12,
        ),
        lines(
            "May go out at once",
            "Messages that the rate allows to go out at once. At 0 each waits for its turn.",
            "short",
            Query(of("whatsapp_pace_tokens"), BY),
            width=6,
        ),
        lines(
            "Strangers left",
            "People who never wrote to us that may still be written to for the first time in these 24 hours.",
            "short",
            Query(of("whatsapp_pace_strangers_left"), BY),
            width=6,
        ),
        bars(
            "Cool-downs",
            "Cool-downs that were begun because WhatsApp said that we send too much, by what stands still.",
            Query(events("whatsapp_pace_cooldowns_total", by=("cooling",)), "{{cooling}}"),
            runbook="WhatsAppCoolingDown",
            width=6,
        ),
        tile(
            "Cool-down ends in",
            "How long the latest cool-down still lasts.",
            "s",
            f"({of('whatsapp_pace_cooldown_until_timestamp_seconds')} > 0) - time() > 0",
            legend="{{cooling}} {{account}}",
            limits=[(0, "orange")],
            none=Look("none", "green"),
            decimals=0,
            width=6,
            height=8,
        ),
    ),
    collapsed=True,
)

STORE: Final = Row(
    "Store (where the queue is kept)",
    (
        lines(
            "Operations",
            "Operations of the store a second.",
            "ops",
            Query(
                f"{rate('whatsapp_queue_store_seconds_count', by=('operation',))} > 0",
                "{{operation}}",
            ),
        ),
        lines(
            "Time of an operation",
            "95th percentile of the time that an operation took, its wait for the commit included.",
            "s",
            Query(
                quantile(0.95, "whatsapp_queue_store_seconds", by=("operation",)),
                "{{operation}}",
                exemplar=True,
            ),
        ),
        bars(
            "Failed operations",
            "Operations that failed and changed nothing, by reason. `full`: the disk is.",
            Query(events("whatsapp_queue_store_errors_total", by=("reason",)), "{{reason}}"),
            runbook="WhatsAppStoreFails",
        ),
    ),
    collapsed=True,
)

QUEUE: Final = Board(
    "queue",
    "Beacon / Queue and delivery",
    "What waits, why does it wait, and what arrives?",
    (NOW, FLOW, TIMES, ATTEMPTS, PACING, STORE),
)
