"""What it runs on: memory, processor, event loop, the engine process, HTTP, and what is told outside."""

from typing import Final

from dashboards.frame import Board, Row
from dashboards.panels import YES_NO, Column, bars, lines, rows, said, tile
from dashboards.queries import (
    WINDOW,
    Query,
    age,
    during,
    events,
    occurred,
    of,
    quantile,
    quantiles,
    rate,
)
from dashboards.shared import BY, MEMORY

NOW: Final = Row(
    "Now",
    (
        said(
            "How to read this",
            "Has it what it needs? First **memory** and the **event loop**: one that lags makes everything "
            "late. The engine is the process that runs WhatsApp; it is replaced when it fails, and that is "
            "counted here.",
        ),
        rows(
            "What runs",
            "Versions of what runs, from the process itself.",
            f"max by (instance, account, version, revision, python_version, neonize_version, sqlite_version) "
            f"({of('whatsapp_build_info')})",
            Column("instance", "Instance"),
            Column("account", "Account"),
            Column("version", "Beacon"),
            Column("revision", "Revision"),
            Column("python_version", "Python"),
            Column("neonize_version", "neonize"),
            Column("sqlite_version", "SQLite"),
            unit="none",
            none="No Beacon answers.",
            width=12,
            height=4,
        ),
        MEMORY,
        tile(
            "Engine runs",
            "Whether the process that runs WhatsApp is there.",
            "bool_yes_no",
            of("whatsapp_engine_up"),
            says=YES_NO,
            runbook="WhatsAppEngineCrashLoop",
            legend=BY,
        ),
        tile(
            "Errors logged",
            "Log lines of level error and worse, in the time that is shown.",
            "short",
            during("whatsapp_log_messages_total", 'level=~"error|critical"'),
            limits=[(0.5, "orange"), (20, "red")],
            decimals=0,
        ),
    ),
)

PROCESS: Final = Row(
    "Process",
    (
        lines(
            "Memory",
            "Resident memory of service and engine together, what they may use, and each of the two. Above "
            "the engine's limit the engine is replaced.",
            "bytes",
            Query(of("whatsapp_memory_used_bytes"), f"both {BY}"),
            Query(f"{of('whatsapp_memory_limit_bytes')} > 0", f"limit {BY}"),
            Query(of("process_resident_memory_bytes"), "service {{instance}}"),
            Query(of("whatsapp_engine_resident_memory_bytes"), f"engine {BY}"),
            Query(f"{of('whatsapp_engine_memory_limit_bytes')} > 0", f"engine's limit {BY}"),
            runbook="WhatsAppMemoryNearLimit",
        ),
        lines(
            "Event loop lag",
            "How much later than asked the event loop calls back: everything in the service waits that long.",
            "s",
            *quantiles("whatsapp_event_loop_lag_seconds", traced=False),
            runbook="WhatsAppEventLoopLags",
        ),
        lines(
            "Processor",
            "Processor time of the service a second; 1 is one core all the time. The engine is not in it.",
            "none",
            Query(f"rate({of('process_cpu_seconds_total')}[{WINDOW}])", "{{instance}}"),
        ),
        lines(
            "Open files",
            "Open file descriptors of the service and of the engine.",
            "short",
            Query(of("process_open_fds"), "service {{instance}}"),
            Query(of("whatsapp_engine_open_fds"), f"engine {BY}"),
        ),
        lines(
            "Garbage collection",
            "Runs of Python's garbage collector in the service a second, by generation.",
            "cps",
            Query(rate("python_gc_collections_total", by=("generation",)), "generation {{generation}}"),
        ),
        lines(
            "Log lines",
            "Log lines a second, by level.",
            "cps",
            Query(rate("whatsapp_log_messages_total", by=("level",)), "{{level}}"),
        ),
    ),
)

ENGINE: Final = Row(
    "Engine",
    (
        bars(
            "Starts and ends",
            "Engine processes that were started, and that ended, by cause.",
            Query(events("whatsapp_engine_starts_total", by=()), "started"),
            Query(events("whatsapp_engine_exits_total", by=("cause",)), "ended: {{cause}}"),
            runbook="WhatsAppEngineCrashLoop",
        ),
        lines(
            "Time to start",
            "Time from the start of an engine process to its first word.",
            "s",
            *quantiles("whatsapp_engine_start_seconds", traced=False),
        ),
        lines(
            "Since its last sign",
            "Time since the engine's last heartbeat, and since it last told anything else.",
            "s",
            Query(age(of("whatsapp_engine_heartbeat_timestamp_seconds")), f"heartbeat {BY}"),
            Query(age(of("whatsapp_engine_last_event_timestamp_seconds")), f"event {BY}"),
        ),
        lines(
            "Commands",
            "Commands to the engine a second, by command.",
            "ops",
            Query(rate("whatsapp_engine_commands_total", by=("command",)), "{{command}}"),
        ),
        bars(
            "Commands that failed",
            "Commands to the engine that did not succeed, by command and result.",
            Query(
                occurred("whatsapp_engine_commands_total", 'result!="ok"', by=("command", "result")),
                "{{command}}: {{result}}",
            ),
        ),
        lines(
            "Time of a command",
            "95th percentile of the time from a command to its end, as the service sees it.",
            "s",
            Query(
                quantile(0.95, "whatsapp_engine_command_seconds", by=("command",)),
                "{{command}}",
                exemplar=True,
            ),
        ),
        lines(
            "Events",
            "Events from the engine a second, by kind.",
            "cps",
            Query(f"{rate('whatsapp_engine_events_total', by=('kind',))} > 0", "{{kind}}"),
        ),
        lines(
            "In its hands",
            "Events that wait in the engine, sends that are in it, and its threads.",
            "short",
            Query(of("whatsapp_engine_events_queued"), f"events {BY}"),
            Query(of("whatsapp_engine_sends_at_hand"), f"sends {BY}"),
            Query(of("whatsapp_engine_threads"), f"threads {BY}"),
        ),
        lines(
            "What should not be",
            "A second: events lost, events whose handling failed, errors nobody could catch, and tracebacks.",
            "cps",
            Query(rate("whatsapp_engine_events_dropped_total", by=()), "events lost"),
            Query(rate("whatsapp_engine_listener_errors_total", by=()), "handling failed"),
            Query(rate("whatsapp_engine_unraisable_errors_total", by=()), "uncaught"),
            Query(rate("whatsapp_engine_tracebacks_total", by=("kind",)), "traceback: {{kind}}"),
            runbook="WhatsAppEventsLost",
        ),
    ),
)

HTTP: Final = Row(
    "HTTP",
    (
        lines(
            "Requests",
            "HTTP requests answered a second, by class of status.",
            "reqps",
            Query(rate("whatsapp_http_requests_total", by=("status",)), "{{status}}"),
        ),
        bars(
            "Not let in",
            "Requests that were not let in, by reason.",
            Query(events("whatsapp_http_auth_failures_total", by=("reason",)), "{{reason}}"),
        ),
        lines(
            "Time to answer",
            "95th percentile of the time to answer an API request, by route.",
            "s",
            Query(
                quantile(0.95, "whatsapp_http_request_duration_seconds", by=("method", "route")),
                "{{method}} {{route}}",
                exemplar=True,
            ),
        ),
        lines(
            "At this moment",
            "Requests that are being answered, and event streams that are open (each open page is one).",
            "short",
            Query(of("whatsapp_http_requests_in_flight"), f"requests {BY}"),
            Query(of("whatsapp_http_event_streams"), f"streams {BY}"),
        ),
        lines(
            "Commands of the bot",
            "Commands that ended a second, by command.",
            "cps",
            Query(rate("whatsapp_bot_commands_total", by=("command",)), "{{command}}"),
            Query(rate("whatsapp_bot_dropped_total", by=()), "not taken up"),
            Query(rate("whatsapp_bot_answers_lost_total", by=()), "answers lost"),
        ),
        lines(
            "Commands that wait",
            "Commands that wait to be taken up.",
            "short",
            Query(of("whatsapp_bot_waiting"), BY),
        ),
    ),
    collapsed=True,
)

TOLD: Final = Row(
    "What is told to the outside",
    (
        lines(
            "Time of a scrape",
            "Time that Prometheus needed to fetch the metrics.",
            "s",
            Query(of("scrape_duration_seconds"), "{{instance}}"),
        ),
        lines(
            "Size of a scrape",
            "Samples of one scrape. It should stay the same, whatever happens.",
            "short",
            Query(of("scrape_samples_scraped"), "{{instance}}"),
        ),
        lines(
            "Reached by Prometheus",
            "1 while Prometheus reaches the service.",
            "short",
            Query(of("up"), "{{instance}}"),
            runbook="WhatsAppDown",
        ),
        bars(
            "Pushed",
            "Requests with traces or metrics to the OTLP receiver, by how they ended; none without one.",
            Query(
                events("whatsapp_telemetry_exports_total", by=("signal", "result")), "{{signal}}: {{result}}"
            ),
        ),
        bars(
            "Given up",
            "Spans and points of metrics that the receiver would not have, or for which there was no room; "
            "messages that were not recorded, because too many came at once.",
            Query(events("whatsapp_telemetry_dropped_total", by=("signal",)), "{{signal}}"),
            Query(events("whatsapp_telemetry_unrecorded_messages_total", by=()), "messages not recorded"),
        ),
        bars(
            "Alerts taken",
            "Notifications of Alertmanager and Grafana that were handed in, by what became of them.",
            Query(
                events("whatsapp_alerts_received_total", by=("source", "outcome")), "{{source}}: {{outcome}}"
            ),
        ),
    ),
    collapsed=True,
)

RUNTIME: Final = Board(
    "runtime",
    "Beacon / Runtime",
    "Has it what it needs to run: memory, time, its engine?",
    (NOW, PROCESS, ENGINE, HTTP, TOLD),
)
