"""The connection to WhatsApp: its state, why it was lost, how it comes back, and who may have it."""

from typing import Final

from dashboards.frame import Board, Row
from dashboards.panels import YES_NO, Look, bars, lines, said, tile, timeline
from dashboards.queries import Query, age, during, events, occurred, of, quantiles, rate, ratio, total
from dashboards.shared import BY

NOW: Final = Row(
    "Now",
    (
        said(
            "How to read this",
            "Why is there no line, and does it come back by itself? **States** say what it does, **lost "
            "connections** why it went, **logins** whether it comes back. Blue and orange heal by "
            "themselves; "
            "red waits for a person.",
        ),
        tile(
            "Can send now",
            "Whether messages can be sent at this moment.",
            "bool_yes_no",
            of("whatsapp_connected"),
            says=YES_NO,
            none=Look("no Beacon answers", "red"),
            runbook="WhatsAppDisconnected",
            legend=BY,
        ),
        tile(
            "In this state for",
            "Since when the connection is in the state in which it is.",
            "dtdurations",
            age(of("whatsapp_connection_state_changed_timestamp_seconds")),
            legend=BY,
        ),
        tile(
            "Last heard",
            "Since when nothing proved that WhatsApp talks to us. A quiet line is asked after a while.",
            "s",
            age(of("whatsapp_last_stanza_timestamp_seconds")),
            limits=[(600, "orange"), (900, "red")],
            none=Look("never", "orange"),
            runbook="WhatsAppDeaf",
            legend=BY,
        ),
        tile(
            "Usable",
            "Share of the time that is shown in which messages could be sent.",
            "percentunit",
            ratio(
                during("whatsapp_connection_state_seconds_total", 'state="connected"'),
                during("whatsapp_connection_state_seconds_total"),
            ),
            limits=[(0, "red"), (0.95, "orange"), (0.99, "green")],
            none=Look("no data yet", "blue"),
            decimals=2,
        ),
        tile(
            "Login attempts",
            "Login attempts since the connection was last stable.",
            "short",
            of("whatsapp_reconnect_attempt"),
            limits=[(3, "orange"), (10, "red")],
            runbook="WhatsAppReconnectStorm",
            legend=BY,
        ),
        tile(
            "Next login",
            "How long it waits before the next login. None is due while it is connected or waits for a "
            "person.",
            "s",
            f"({of('whatsapp_reconnect_next_attempt_timestamp_seconds')} > 0) - time()",
            none=Look("none is due", "green"),
            decimals=0,
            legend=BY,
        ),
    ),
)

STATES: Final = Row(
    "States",
    (
        timeline(
            "State",
            "The connection's state over time; only states that it was in are shown.",
            Query(f"{of('whatsapp_connection_state')} == 1", "{{whatsapp_connection_state}} {{account}}"),
            says={"1": Look("in this state", "blue")},
            width=16,
            height=8,
        ),
        lines(
            "Time in each state",
            "Share of the time that was spent in each state.",
            "percentunit",
            Query(
                f"{rate('whatsapp_connection_state_seconds_total', by=('state',))} > 0",
                "{{state}}",
            ),
        ),
    ),
)

LOSSES: Final = Row(
    "Losses",
    (
        bars(
            "Lost connections",
            "Usable connections that were lost, by reason (docs/reconnect.md explains each).",
            Query(occurred("whatsapp_disconnects_total", by=("reason",)), "{{reason}}"),
            runbook="WhatsAppReconnectStorm",
        ),
        bars(
            "Engines given up",
            "Processes that run WhatsApp that were given up or lost, by reason.",
            Query(occurred("whatsapp_engine_recycles_total", by=("reason",)), "{{reason}}"),
            runbook="WhatsAppEngineCrashLoop",
        ),
        lines(
            "How long it was out",
            "Time from losing a usable connection to having one again.",
            "s",
            *quantiles("whatsapp_connection_outage_seconds"),
        ),
    ),
)

LOGINS: Final = Row(
    "Logins",
    (
        bars(
            "Logins",
            "Login attempts by how they ended; `network` and `whatsapp` name whose fault it was.",
            Query(events("whatsapp_connect_attempts_total", by=("result",)), "{{result}}"),
        ),
        lines(
            "Wait before a login",
            "The wait that was chosen before the next login. It grows while logins fail.",
            "s",
            Query(of("whatsapp_reconnect_backoff_seconds"), BY),
        ),
        lines(
            "Time to log in",
            "Time from asking the engine to connect until it did.",
            "s",
            *quantiles("whatsapp_engine_command_seconds", 'command="connect"', traced=False),
        ),
    ),
)

HEARING: Final = Row(
    "Does it still hear?",
    (
        lines(
            "Since something was heard",
            "Time since something last proved that WhatsApp talks to us.",
            "s",
            Query(age(of("whatsapp_last_stanza_timestamp_seconds")), BY),
            runbook="WhatsAppDeaf",
        ),
        bars(
            "Questions on a quiet line",
            "Questions to WhatsApp whether a quiet connection still hears, by how they ended.",
            Query(events("whatsapp_connection_questions_total", by=("outcome",)), "{{outcome}}"),
        ),
        bars(
            "Can WhatsApp be reached?",
            "Questions whether WhatsApp's servers can be reached at all, by answer.",
            Query(events("whatsapp_reconnect_probes_total", by=("result",)), "{{result}}"),
        ),
    ),
)

ENCRYPTION: Final = Row(
    "Encryption (docs/encryption.md)",
    (
        bars(
            "Messages that came and could not be read",
            "By what became of them: `asked_again` come late, `given_up` are lost, most of `old_counter` "
            "are repetitions. A burst after a restored session is as it should be.",
            Query(events("whatsapp_engine_undecryptable_total", by=("reason",)), "{{reason}}"),
        ),
        lines(
            "Turns at the keys",
            "Uses of encryption sessions, each in its turn. When messages are sent and it stands still, "
            "nobody waits for a turn any more: another neonize speaks differently.",
            "cps",
            Query(rate("whatsapp_engine_turns_total", by=("use",)), "{{use}}"),
        ),
        bars(
            "Turns not waited for",
            "Uses that went ahead because a turn took too long. Once in a while is harmless.",
            Query(events("whatsapp_engine_turn_overruns_total"), BY),
        ),
    ),
)

LEASE: Final = Row(
    "Who may connect (of several processes with one account, one)",
    (
        timeline(
            "May connect",
            "Which process may connect the account.",
            Query(of("whatsapp_lease_held"), BY),
            says={"0": Look("waits", "blue"), "1": Look("may connect", "green")},
            width=12,
        ),
        timeline(
            "What hinders",
            "What keeps a process from connecting as the account's owner. Another holding it is a standby's "
            "ordinary wait.",
            Query(of("whatsapp_lease_hindered"), "{{hindrance}} {{instance}}"),
            says={"0": Look("no", "green"), "1": Look("hinders", "red")},
            width=12,
            runbook="WhatsAppLeaseHindered",
        ),
        bars(
            "Renewals",
            "Attempts to renew a held lease, by result.",
            Query(events("whatsapp_lease_renewals_total", by=("result",)), "{{result}}"),
            width=6,
        ),
        lines(
            "Time to renew",
            "Time that an answered renewal took. It takes away from the time in which the lease holds.",
            "s",
            *quantiles("whatsapp_lease_renewal_seconds", traced=False),
            width=6,
        ),
        lines(
            "Wait for the lease",
            "Time from asking for the lease to holding it: how long a takeover took.",
            "s",
            *quantiles("whatsapp_lease_wait_seconds", traced=False),
            width=6,
        ),
        tile(
            "Leases lost",
            "Leases that could be trusted no longer, in the time that is shown; a stop is no loss.",
            "short",
            during("whatsapp_lease_lost_total"),
            limits=[(0.5, "orange"), (3, "red")],
            decimals=0,
            width=3,
            height=8,
        ),
        tile(
            "Fence",
            "Number of each process's latest lease: the one with the greatest came last.",
            "none",
            of("whatsapp_lease_fence"),
            width=3,
            height=8,
            legend=BY,
        ),
    ),
    collapsed=True,
)

PHONE: Final = Row(
    "Linking, presence, keeping awake",
    (
        bars(
            "Pairings",
            "Times a phone was linked, or was to be, by how it ended.",
            Query(events("whatsapp_pairings_total", by=("method", "result")), "{{method}}: {{result}}"),
            width=6,
            runbook="WhatsAppLoggedOut",
        ),
        bars(
            "Presence",
            "Times WhatsApp was told that this device is in use, by how that ended.",
            Query(events("whatsapp_presence_announcements_total", by=("result",)), "{{result}}"),
            width=6,
        ),
        tile(
            "Shown as in use",
            "How often WhatsApp was told, in the time that is shown, that this device is in use: once a day. "
            "A device that never is may be unlinked.",
            "short",
            during("whatsapp_presence_announcements_total", 'result="shown"'),
            decimals=0,
            width=6,
            height=8,
        ),
        bars(
            "Keeping awake",
            "Fetches of KEEP_ALIVE_URL, by how they ended; none without that setting.",
            Query(events("whatsapp_keep_alive_requests_total", by=("result",)), "{{result}}"),
            width=6,
        ),
        bars(
            "Changes of state",
            "Changes of the connection's state, by the new state.",
            Query(occurred("whatsapp_connection_transitions_total", by=("state",)), "{{state}}"),
            width=12,
        ),
        lines(
            "Connected accounts",
            "How many accounts can send now.",
            "short",
            Query(total(of("whatsapp_connected"), by=()), "can send"),
            width=12,
        ),
    ),
    collapsed=True,
)

CONNECTION: Final = Board(
    "connection",
    "Beacon / Connection",
    "Why is there no line to WhatsApp, and does it come back by itself?",
    (NOW, STATES, LOSSES, LOGINS, HEARING, ENCRYPTION, LEASE, PHONE),
)
