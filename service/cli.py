"""The command line: `beacon run | demo | send | queue | session | backup | settings | ...`.

Thin; what it calls does the work.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from service import __version__, config
from service.cli_options import LazyGroup, as_json, at_url, unasked, with_token
from service.config import LogLevel
from service.errors import BeaconError, SettingsError

if TYPE_CHECKING:
    from service.remote import Remote

EX_TEMPFAIL = 75


class _Program(LazyGroup):
    """Turns an error raised on purpose into its sentence and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo("beacon: wrong settings (see `beacon settings`):", err=True)
            for problem in error.problems:
                click.echo(f"  {problem}", err=True)
            ctx.exit(error.exit_code)
        except BeaconError as error:
            click.echo(f"beacon: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(
    cls=_Program,
    lazy={
        "backup": "service.backup_commands:backup",
        "migrate": "service.migration:migrate",
        "queue": "service.queue_commands:queue",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="beacon")
def main() -> None:
    """One WhatsApp account, kept connected, with a durable queue and nothing hidden.

    Settings come from the environment; `beacon settings` lists them.
    """


@main.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Start the service. Ctrl-C or SIGTERM ends it; nothing accepted is lost."""
    loaded = config.load()
    from service import app  # noqa: PLC0415 - the other commands, and wrong settings, are faster without it

    ctx.exit(app.run(loaded))


@main.command()
@click.option("--check", is_flag=True, help="Play faults, count what arrives, and say whether it all held.")
@click.option("--external", is_flag=True, help="Serve against a simulator that somebody else started.")
@as_json
@click.pass_context
def demo(ctx: click.Context, *, check: bool, external: bool, as_json: bool) -> None:
    """Show the service against a simulated WhatsApp on this machine; needs no phone."""
    if check and external:
        raise click.UsageError("--check and --external exclude each other")
    from service.demo import command  # noqa: PLC0415 - the only way from the program to the simulator

    ctx.exit(command.demo(check=check, external=external, as_json=as_json))


@main.command()
@click.argument("to")
@click.argument("text")
@at_url
@with_token
@click.option("--idempotency-key", help="The same key twice sends once.")
@click.option("--wait", is_flag=True, help="Wait until the recipient's phone has it.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds that --wait waits.",
)
@as_json
@click.pass_context
def send(
    ctx: click.Context,
    *,
    to: str,
    text: str,
    url: str,
    token: str | None,
    idempotency_key: str | None,
    wait: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Hand a message to the running service.

    TO is a phone number with country code, or a JID. TEXT may be - to read it from stdin.
    """
    from service.remote import ARRIVED, ENDED, Remote  # noqa: PLC0415

    remote = Remote(url, token)
    message = remote.send(to, sys.stdin.read() if text == "-" else text, idempotency_key=idempotency_key)
    if wait:
        message |= remote.wait(message["id"], timeout_s=timeout_s)
    click.echo(json.dumps(message) if as_json else f"{message['id']} {message['state']}")
    if wait and message["state"] not in ARRIVED:
        ended = message["state"] in ENDED
        why = message.get("last_error") or "see the page for why"
        click.echo(
            f"beacon: not delivered ({why})"
            if ended
            else f"beacon: not delivered within {timeout_s:g} s; the service keeps trying",
            err=True,
        )
        ctx.exit(1 if ended else EX_TEMPFAIL)


@main.group()
def session() -> None:
    """See and change the connection of the running service."""


@session.command()
@at_url
@with_token
@as_json
@click.pass_context
def status(ctx: click.Context, *, url: str, token: str | None, as_json: bool) -> None:
    """Say where the connection is. Exit code 0 when it is connected, else 1."""
    now = _remote(url, token).session()
    _show(now, as_json=as_json)
    ctx.exit(0 if now["state"] == "connected" else 1)


@session.command()
@click.argument("phone", required=False)
@at_url
@with_token
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds to wait for the phone.",
)
@as_json
@click.pass_context
def pair(
    ctx: click.Context, *, phone: str | None, url: str, token: str | None, timeout_s: float, as_json: bool
) -> None:
    """Link a phone: draw the QR code, and each that follows it, until one has been scanned.

    With PHONE, a number with country code, show a code to type into that phone instead. Exit code 0
    once connected, 75 when nobody came in time, else 1.
    """
    from service.pairing import Pairing  # noqa: PLC0415

    remote = _remote(url, token)
    pairing = Pairing(remote, sys.stdout, phone=phone)
    now = pairing.follow(timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps(now))
    if now["state"] != "connected":
        click.echo(f"beacon: not linked ({now['reason']})", err=True)
        ctx.exit(1 if now["tone"] == "bad" or pairing.expired else EX_TEMPFAIL)


@session.command()
@at_url
@with_token
@as_json
def restart(*, url: str, token: str | None, as_json: bool) -> None:
    """Make the connection anew. Nothing queued is lost."""
    _show(_remote(url, token).restart(), as_json=as_json)


@session.command()
@at_url
@with_token
@unasked
@as_json
def clear(*, url: str, token: str | None, yes: bool, as_json: bool) -> None:
    """Remove the session from this machine and begin pairing. The phone still lists the old device."""
    remote = _remote(url, token)
    _confirm("Remove the session? A phone must be linked again before anything is sent.", yes=yes)
    _show(remote.clear(), as_json=as_json)


@session.command()
@at_url
@with_token
@unasked
@as_json
def logout(*, url: str, token: str | None, yes: bool, as_json: bool) -> None:
    """Unlink this device at WhatsApp and forget the session."""
    remote = _remote(url, token)
    _confirm("Log out? A phone must be linked again before anything is sent.", yes=yes)
    _show(remote.logout(), as_json=as_json)


def _remote(url: str, token: str | None) -> "Remote":
    from service.remote import Remote  # noqa: PLC0415 - faster without it

    return Remote(url, token)


def _show(session: dict[str, Any], *, as_json: bool) -> None:
    advice = f" {session['advice_sentence']}" if session["advice"] != "nothing" else ""
    click.echo(json.dumps(session) if as_json else f"{session['title']}. {session['sentence']}{advice}")


def _confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr; anything but yes ends the command with exit code 1."""
    if not yes:
        click.confirm(question, abort=True, err=True)


@main.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="As the table in the README.")
@as_json
def settings(*, as_markdown: bool, as_json: bool) -> None:
    """List every setting: what is allowed, its default, its meaning."""
    from service import settings_table  # noqa: PLC0415

    table = settings_table.rows()
    if as_json:
        click.echo(json.dumps({"settings": [asdict(row) for row in table]}))
    else:
        click.echo(settings_table.markdown(table) if as_markdown else settings_table.plain(table))


@main.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="As the table in docs/reconnect.md.")
@as_json
def policy(*, as_markdown: bool, as_json: bool) -> None:
    """List everything that can happen to the connection and what is done about it."""
    from service.reconnect import render  # noqa: PLC0415

    table = render.lines()
    if as_json:
        click.echo(json.dumps({"policy": [asdict(line) for line in table]}))
    else:
        click.echo(render.markdown(table) if as_markdown else render.plain(table))


@main.command()
@click.option("--release", is_flag=True, help="Before a release: no way to WhatsApp is only a warning.")
@as_json
@click.pass_context
def doctor(ctx: click.Context, *, release: bool, as_json: bool) -> None:
    """Check the surroundings: versions, folder, disk, network, database, port, engine."""
    loaded = config.load()
    from service import doctor as practice  # noqa: PLC0415
    from service.telemetry import logging  # noqa: PLC0415

    logging.configure(loaded.log_format, LogLevel.ERROR)
    findings = asyncio.run(practice.examine(loaded, release=release))
    healthy = not any(finding.outcome is practice.Outcome.FAIL for finding in findings.values())
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": {name: asdict(it) for name, it in findings.items()}}))
    else:
        click.echo(practice.table(findings))
    ctx.exit(0 if healthy else 1)
