"""The command line: `beacon run | demo | send | settings | doctor`. Thin; what it calls does the work."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import Any

import click

from service import __version__, config
from service.config import LOOPBACK, LogLevel, Settings
from service.errors import BeaconError, SettingsError

EX_TEMPFAIL = 75


class _Program(click.Group):
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


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="beacon")
def main() -> None:
    """One WhatsApp account, kept connected, with a durable queue and nothing hidden.

    Settings come from the environment; `beacon settings` lists them.
    """


def _own_url() -> str:
    """Where `beacon run` listens when started with the same environment."""
    port = os.environ.get("PORT") or Settings.model_fields["port"].default
    host = os.environ.get("HOST", "")
    reachable = LOOPBACK if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line of stdout.")


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
@click.option("--url", default=_own_url, help="The service. Default: this machine, $PORT or 8000.")
@click.option("--token", envvar="API_TOKEN", help="Its API_TOKEN. Default: $API_TOKEN.")
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
