"""The dashboard for New Relic: `python -m dashboards.newrelic` writes newrelic.json anew.

The JSON is what NerdGraph's `dashboardCreate` and the import in the UI take. Counters are read as deltas, as
Beacon sends them there; the state is read from the time spent in it, because New Relic keeps a metric's value
under the metric's name, where the label of a Prometheus state set would be.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

PLACEHOLDER: Final = 0
"""Stands for the account's number in the committed file."""

COLUMNS: Final = 12
HEIGHT: Final = 3
FAILED: Final = "result IN ('permanent', 'rate_limited', 'retryable', 'unknown')"


@dataclass(frozen=True, slots=True)
class Widget:
    """One chart; `width` in twelfths."""

    title: str
    kind: str
    query: str
    width: int = 4


@dataclass(frozen=True, slots=True)
class Page:
    """Charts from left to right, then down."""

    name: str
    about: str
    widgets: Sequence[Widget]


def _now(title: str, select: str, *, width: int = 2, where: str = "") -> Widget:
    """One figure for each account."""
    query = f"FROM Metric SELECT {select} {where} FACET account SINCE 10 minutes ago"
    return Widget(title, "viz.billboard", " ".join(query.split()), width)


def _line(title: str, select: str, *, facet: str = "account", width: int = 4, where: str = "") -> Widget:
    """A line for each account, or for each of something."""
    query = f"FROM Metric SELECT {select} {where} FACET {facet} TIMESERIES"
    return Widget(title, "viz.line", " ".join(query.split()), width)


def _age(metric: str) -> str:
    """Seconds since the instant that a metric tells."""
    return f"max(timestamp) / 1000 - latest({metric})"


OVERVIEW: Final = Page(
    "Overview",
    "Is it well? From left to right: connected, waiting, sent, arrived.",
    (
        _now("Connected", "latest(whatsapp_connected) AS 'connected'"),
        _now("Queued", "latest(whatsapp_queue_messages) AS 'messages'", where="WHERE state = 'queued'"),
        _now("Oldest waits", f"{_age('whatsapp_queue_oldest_timestamp_seconds')} AS 'seconds'"),
        _now("Sent in 10 minutes", "sum(whatsapp_queue_terminal_total)", where="WHERE state = 'sent'"),
        _now(
            "Given up in 10 minutes",
            "sum(whatsapp_queue_terminal_total)",
            where="WHERE state IN ('dead', 'expired')",
        ),
        _now(
            "Sent within 5 minutes",
            "100 * getCdfCount(whatsapp_queue_sent_seconds, 300) / count(whatsapp_queue_sent_seconds) AS '%'",
        ),
        _line("Handed in", "rate(sum(whatsapp_queue_enqueued_total), 1 minute)", facet="outcome"),
        _line("Came to rest", "rate(sum(whatsapp_queue_terminal_total), 1 minute)", facet="state"),
        _line("Until sent", "percentile(whatsapp_queue_sent_seconds, 50, 95, 99)"),
    ),
)
CONNECTION: Final = Page(
    "Connection",
    "Is the account connected, and if not: since when and why?",
    (
        Widget(
            "State: minutes spent in it",
            "viz.area",
            "FROM Metric SELECT sum(whatsapp_connection_state_seconds_total) / 60 FACET state TIMESERIES",
            6,
        ),
        _line("Connections lost, by reason", "sum(whatsapp_disconnects_total)", facet="reason", width=6),
        _line("Logins", "sum(whatsapp_connect_attempts_total)", facet="result"),
        _line("Outages", "percentile(whatsapp_connection_outage_seconds, 50, 95)"),
        _line("WhatsApp silent for", f"{_age('whatsapp_last_stanza_timestamp_seconds')} AS 'seconds'"),
        _line("Engines that ended", "sum(whatsapp_engine_exits_total)", facet="cause"),
        _line(
            "Engine commands", "rate(sum(whatsapp_engine_commands_total), 1 minute)", facet="command, result"
        ),
        _line("What keeps it from connecting", "latest(whatsapp_lease_hindered)", facet="hindrance"),
    ),
)
DELIVERY: Final = Page(
    "Queue and delivery",
    "What was accepted: does it leave, does it arrive, and what stands in the way?",
    (
        _line("Kept messages", "latest(whatsapp_queue_messages)", facet="state", width=6),
        _line(
            "Attempts that failed",
            "sum(whatsapp_queue_attempts_total)",
            facet="result, reason",
            where=f"WHERE {FAILED}",
            width=6,
        ),
        _line("Wait for the engine", "percentile(whatsapp_queue_wait_seconds, 50, 95)"),
        _line("A send", "percentile(whatsapp_queue_send_seconds, 50, 95)"),
        _line("Until it arrives", "percentile(whatsapp_queue_delivery_seconds, 50, 95)"),
        _line("Receipts", "rate(sum(whatsapp_queue_receipts_total), 1 minute)", facet="kind"),
        _line("Held back by pacing", "max(whatsapp_pace_held)", facet="reason"),
        _line("Store errors", "sum(whatsapp_queue_store_errors_total)", facet="reason"),
    ),
)
UPKEEP: Final = Page(
    "Backup and runtime",
    "Could the session come back, and do the processes have room?",
    (
        _now(
            "Last backup",
            f"({_age('whatsapp_backup_last_success_timestamp_seconds')}) / 3600 AS 'hours'",
            width=3,
        ),
        _now(
            "Last verified",
            f"({_age('whatsapp_backup_last_verified_timestamp_seconds')}) / 3600 AS 'hours'",
            width=3,
        ),
        _now("Backups kept", "latest(whatsapp_backup_kept)", width=3),
        _now("Sessions brought back today", "sum(whatsapp_backup_restores_total)", width=3),
        _line("Backups", "sum(whatsapp_backup_runs_total)", facet="outcome"),
        _line("Memory", "latest(whatsapp_memory_used_bytes), latest(whatsapp_memory_limit_bytes)"),
        _line("Event loop late by", "percentile(whatsapp_event_loop_lag_seconds, 50, 99)"),
        _line("HTTP requests", "rate(sum(whatsapp_http_requests_total), 1 minute)", facet="route, status"),
        _line(
            "Log lines worth reading",
            "sum(whatsapp_log_messages_total)",
            facet="level",
            where="WHERE level IN ('warning', 'error', 'critical')",
        ),
        _line(
            "Telemetry that was not taken",
            "sum(whatsapp_telemetry_exports_total)",
            facet="signal, result",
            where="WHERE result != 'accepted'",
        ),
    ),
)
PAGES: Final = (OVERVIEW, CONNECTION, DELIVERY, UPKEEP)


def render(account: int) -> str:
    """The dashboard as JSON, for the account with this number."""
    board = {
        "name": "Beacon",
        "description": "WhatsApp: connection, queue, delivery, backup.",
        "permissions": "PUBLIC_READ_WRITE",
        "pages": [
            {"name": page.name, "description": page.about, "widgets": list(_widgets(page, account))}
            for page in PAGES
        ],
        "variables": [],
    }
    return json.dumps(board, indent=2) + "\n"


def _widgets(page: Page, account: int) -> Iterator[dict[str, Any]]:
    column, row = 1, 1
    for widget in page.widgets:
        if column + widget.width - 1 > COLUMNS:
            column, row = 1, row + HEIGHT
        yield {
            "title": widget.title,
            "layout": {"column": column, "row": row, "width": widget.width, "height": HEIGHT},
            "visualization": {"id": widget.kind},
            "rawConfiguration": {"nrqlQueries": [{"accountIds": [account], "query": widget.query}]},
            "linkedEntityGuids": None,
        }
        column += widget.width


@click.command()
@click.option(
    "--account", default=PLACEHOLDER, type=click.IntRange(min=0), help="Your New Relic account's number."
)
@click.option(
    "--out",
    default=Path(__file__).with_name("newrelic.json"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. Default: the committed one.",
)
def main(account: int, out: Path) -> None:
    """Write the dashboard for New Relic."""
    out.write_text(render(account), encoding="utf-8")


if __name__ == "__main__":
    main()
