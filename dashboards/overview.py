"""Is it well? What to do if not; then each stage of a message, in the order in which it passes them."""

from typing import Final

from dashboards.frame import FIRING, Board, Row
from dashboards.panels import (
    RUNBOOKS,
    YES_NO,
    Column,
    Look,
    bars,
    lines,
    rows,
    said,
    tile,
    timeline,
)
from dashboards.queries import (
    WHOSE,
    Query,
    age,
    during,
    events,
    kept,
    occurred,
    of,
    quantiles,
    rate,
    ratio,
)
from dashboards.shared import BY, CAME_TO_REST, GAVE_UP, GIVEN_UP, MEMORY, OLDEST, STILL_TO_SEND
from dashboards.states import ADVICE, TITLES

DAY: Final = 86_400
SEVERITIES: Final = {
    "critical": Look("act now", "red"),
    "warning": Look("today", "orange"),
    "info": Look("good to know", "blue"),
}

CONNECTION_OF: Final = "/d/beacon-connection?${__url_time_range}&var-account=${__data.fields.account}"

ON_TIME: Final = ratio(
    during("whatsapp_queue_sent_seconds_bucket", 'le="300.0"'),
    f"{during('whatsapp_queue_sent_seconds_count')} + {GAVE_UP}",
)
STATE_IS: Final = "(max by (job, instance, account, whatsapp_connection_state) ({state}) == 1)".format(
    state=of("whatsapp_connection_state")
)
FOR: Final = "(time() - max by (job, instance, account) ({since}))".format(
    since=of("whatsapp_connection_state_changed_timestamp_seconds")
)
STATE: Final = (
    "label_replace("
    f"{STATE_IS} * on (job, instance, account) group_left () {FOR}, "
    '"advice", "$1", "whatsapp_connection_state", "(.+)")'
)

WELL: Final = Row(
    "Is it well?",
    (
        said(
            "How to read this",
            "**Green everywhere and no alert: all is well.** Else the two tables say what is wrong and what "
            "to do; a tile's link in its corner leads to the page that explains it. Below, each row is one "
            "stage of a message, from being handed in to being delivered: the first row that looks wrong is "
            "where it sticks.",
        ),
        rows(
            "Connection to WhatsApp",
            "The state of each account's connection, for how long it has been so, and what to do about it.",
            STATE,
            Column("account", "Account", width=130),
            Column("instance", "Instance", width=190),
            Column("whatsapp_connection_state", "State", says=TITLES, colored=True, width=230),
            Column("Value", "For", unit="dtdurations", width=140),
            Column("advice", "What to do", says=ADVICE, link=("See the connection", CONNECTION_OF)),
            unit="dtdurations",
            none="No Beacon answers: is it running, and does Prometheus reach it?",
            width=14,
            height=6,
        ),
        rows(
            "Alerts that fire",
            "Each alert has a page that says what it means and what to do. Severity: act now, or today.",
            FIRING,
            Column(
                "alertname",
                "Alert: click for what to do",
                link=("What to do", f"{RUNBOOKS}/${{__data.fields.alertname}}.md"),
            ),
            Column("severity", "Severity", says=SEVERITIES, colored=True, width=110),
            Column("account", "Account", width=110),
            Column("instance", "Instance", width=150),
            unit="none",
            none="No alert fires.",
            width=10,
            height=6,
        ),
        tile(
            "Can send now",
            "Whether messages can be sent at this moment. While not, they wait, and nothing is lost.",
            "bool_yes_no",
            of("whatsapp_connected"),
            says=YES_NO,
            none=Look("no Beacon answers", "red"),
            runbook="WhatsAppDisconnected",
            legend=BY,
        ),
        STILL_TO_SEND,
        OLDEST,
        GIVEN_UP,
        tile(
            "Sent in time",
            "Share of the messages of the time that is shown that WhatsApp had within 5 minutes of being "
            "due.",
            "percentunit",
            ON_TIME,
            limits=[(0, "red"), (0.95, "orange"), (0.99, "green")],
            none=Look("nothing sent", "blue"),
            decimals=2,
            runbook="WhatsAppDeliveryBudgetBurnsFast",
        ),
        tile(
            "Outcome unknown",
            "Messages of which nobody knows yet whether WhatsApp has them, and those held back for a person "
            "to decide.",
            "short",
            kept('state=~"unknown|held"'),
            limits=[(0.5, "orange"), (20, "red")],
            runbook="WhatsAppUnknownOutcomes",
        ),
        tile(
            "Disconnects",
            "Times a usable connection was lost in the time that is shown. A few a day are ordinary.",
            "short",
            during("whatsapp_disconnects_total"),
            limits=[(5, "orange"), (20, "red")],
            decimals=0,
            runbook="WhatsAppReconnectStorm",
        ),
        tile(
            "Last backup",
            "Since when the session was last known to be in the vault as it was.",
            "s",
            age(of("whatsapp_backup_last_success_timestamp_seconds"), by=WHOSE),
            limits=[(2 * 3600, "orange"), (6 * 3600, "red")],
            none=Look("never", "orange"),
            runbook="WhatsAppBackupStale",
        ),
        tile(
            "Last check of a backup",
            "Since when the newest backup was last fetched and checked as a restore would.",
            "s",
            age(of("whatsapp_backup_last_verified_timestamp_seconds"), by=WHOSE),
            limits=[(1.5 * DAY, "orange"), (3 * DAY, "red")],
            none=Look("not yet", "blue"),
            runbook="WhatsAppBackupUnverified",
        ),
        MEMORY,
        tile(
            "Engine ended",
            "Times the process that runs WhatsApp ended by itself or was killed, in the time that is shown.",
            "short",
            during("whatsapp_engine_exits_total", 'cause!="stopped"'),
            limits=[(1, "orange"), (5, "red")],
            decimals=0,
            runbook="WhatsAppEngineCrashLoop",
        ),
        tile(
            "Running since",
            "When the service was started.",
            "dateTimeFromNow",
            f"{of('process_start_time_seconds')} * 1000",
            legend="{{instance}}",
        ),
    ),
)

CONNECTION: Final = Row(
    "Connection: is there a line?",
    (
        timeline(
            "State",
            "The connection's state over time. Only the state that it is in is shown.",
            Query(f"{of('whatsapp_connection_state')} == 1", "{{whatsapp_connection_state}} {{account}}"),
            says={"1": Look("in this state", "blue")},
            width=12,
            height=8,
        ),
        bars(
            "Lost connections",
            "Usable connections that were lost, by reason. Each bar is one step of time.",
            Query(occurred("whatsapp_disconnects_total", by=("reason",)), "{{reason}}"),
            width=6,
            runbook="WhatsAppReconnectStorm",
        ),
        lines(
            "How long it was out",
            "Time from losing a usable connection to having one again.",
            "s",
            *quantiles("whatsapp_connection_outage_seconds"),
            width=6,
        ),
    ),
)

ACCEPTED: Final = Row(
    "Accepted: are messages handed in?",
    (
        lines(
            "Handed in",
            "Messages handed in a second, by what became of them. A duplicate is one whose idempotency key "
            "is known.",
            "cps",
            Query(rate("whatsapp_queue_enqueued_total", by=("outcome",)), "{{outcome}}"),
        ),
        lines(
            "Requests that failed",
            "HTTP requests a second that were refused (4xx: the caller's mistake) or failed (5xx: ours).",
            "reqps",
            Query(rate("whatsapp_http_requests_total", 'status=~"4xx|5xx"', by=("status",)), "{{status}}"),
        ),
        lines(
            "Time to accept",
            "Time to answer the request that hands messages in. They are on disk by then.",
            "s",
            *quantiles("whatsapp_http_request_duration_seconds", 'method="POST"', 'route="/api/v1/messages"'),
        ),
    ),
)

WAITING: Final = Row(
    "Waiting: do they go out?",
    (
        lines(
            "Messages in hand",
            "Messages that are not at rest, by state. Unknown: it is not known yet whether WhatsApp has "
            "them.",
            "short",
            Query(
                kept('state=~"queued|sending|unknown|held"', by=("state",)),
                "{{state}}",
            ),
            runbook="WhatsAppQueueDeep",
        ),
        lines(
            "Put off",
            "Times a message was put off a second: by pacing, which keeps the account from looking like a "
            "machine, by a file that is not there yet, or by the store.",
            "cps",
            Query(rate("whatsapp_queue_postponed_total", by=("reason",)), "{{reason}}"),
            Query(rate("whatsapp_pace_postponed_total", by=()), "put off by pacing"),
        ),
        lines(
            "Time until handed over",
            "Time from when a message was due until it was handed to the engine.",
            "s",
            *quantiles("whatsapp_queue_wait_seconds"),
        ),
    ),
)

SENT: Final = Row(
    "Sent: does WhatsApp take them?",
    (
        lines(
            "Attempts",
            "Attempts to send a second, by result.",
            "cps",
            Query(rate("whatsapp_queue_attempts_total", by=("result",)), "{{result}}"),
        ),
        bars(
            "Attempts that failed",
            "Attempts that WhatsApp did not take, by reason; retried ones are in it.",
            Query(
                occurred("whatsapp_queue_attempts_total", 'result!="sent"', by=("result", "reason")),
                "{{result}}: {{reason}}",
            ),
            runbook="WhatsAppSendsFail",
        ),
        lines(
            "Time until WhatsApp has it",
            "Time from when a message was due until WhatsApp acknowledged it, tries before included. The "
            "promise is 5 minutes.",
            "s",
            *quantiles("whatsapp_queue_sent_seconds"),
            limits=[(300, "red")],
        ),
    ),
)

DELIVERED: Final = Row(
    "Delivered: do people get them?",
    (
        CAME_TO_REST,
        bars(
            "Not read by the device",
            "Receipts that say that a device could not read a message, and messages sent once more because "
            "of "
            "it.",
            Query(
                events("whatsapp_queue_receipts_total", 'kind=~"retry|server_error"', by=("kind",)),
                "{{kind}}",
            ),
            Query(events("whatsapp_queue_resends_total", by=()), "sent once more"),
            runbook="WhatsAppUnconfirmedDeliveries",
        ),
        lines(
            "Time until delivered",
            "Time from accepting a message until the recipient's device had it. A phone that is off makes it "
            "long.",
            "s",
            *quantiles("whatsapp_queue_delivery_seconds"),
        ),
    ),
)

INBOUND: Final = Row(
    "Inbound: does it hear and answer?",
    (
        lines(
            "Heard",
            "Messages and receipts that came in a second.",
            "cps",
            Query(
                rate("whatsapp_engine_events_total", 'kind=~"message|receipt|undecryptable"', by=("kind",)),
                "{{kind}}",
            ),
        ),
        bars(
            "Commands that failed",
            "Commands that were not answered, by how they ended.",
            Query(events("whatsapp_bot_commands_total", 'result!="answered"', by=("result",)), "{{result}}"),
        ),
        lines(
            "Time to answer a command",
            "Time from taking a command up to its last answer being queued.",
            "s",
            *quantiles("whatsapp_bot_command_duration_seconds"),
        ),
    ),
)

OVERVIEW: Final = Board(
    "overview",
    "Beacon / Overview",
    "Is it well, and if not, what is wrong and what to do?",
    (WELL, ACCEPTED, WAITING, SENT, DELIVERED, CONNECTION, INBOUND),
)
