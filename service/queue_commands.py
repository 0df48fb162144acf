"""`beacon queue list | show | retry | cancel | hold | release | stats | move`: the queue, by hand.

All but `move` ask the running service over its API.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click

from service.cli_options import LazyGroup, aligned, as_json, at_url, with_token
from service.queue.model import State
from service.remote import Remote

STATES: Final = tuple(state.value for state in State)


@click.group(cls=LazyGroup, lazy={"move": "service.migration:move"})
def queue() -> None:
    """See and change what is queued."""


def _asking(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that asks a running service."""
    return at_url(with_token(as_json(command)))


@queue.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; may repeat.")
@click.option("--chat", help="Only this chat: a phone number or a JID.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@_asking
def list_(
    *, states: Sequence[str], chat: str | None, limit: int, url: str, token: str | None, as_json: bool
) -> None:
    """List messages, the latest accepted first."""
    messages = Remote(url, token).messages(states=states, chat=chat, limit=limit)
    if as_json:
        click.echo(json.dumps({"messages": messages}))
    else:
        click.echo(_table(messages) if messages else "No messages.")


@queue.command()
@click.argument("message_id", metavar="ID")
@_asking
def show(*, message_id: str, url: str, token: str | None, as_json: bool) -> None:
    """Say everything that is known of a message."""
    _show(Remote(url, token).message(message_id), as_json=as_json)


@queue.command()
@click.argument("message_id", metavar="ID", required=False)
@click.option("--dead", is_flag=True, help="Every dead message instead of one.")
@_asking
def retry(*, message_id: str | None, dead: bool, url: str, token: str | None, as_json: bool) -> None:
    """Try a dead, expired or held message again, or with --dead every dead one."""
    if (message_id is None) != dead:
        raise click.UsageError("give either the ID of a message or --dead")
    remote = Remote(url, token)
    if message_id is not None:
        _tell(remote.ask_for(message_id, "retry"), as_json=as_json)
        return
    requeued = remote.retry_dead()
    click.echo(json.dumps({"requeued": requeued}) if as_json else f"{requeued} tried again")


@queue.command()
@click.argument("message_id", metavar="ID")
@_asking
def cancel(*, message_id: str, url: str, token: str | None, as_json: bool) -> None:
    """Take a message back that has not been handed to WhatsApp."""
    _tell(Remote(url, token).cancel(message_id), as_json=as_json)


@queue.command()
@click.argument("message_id", metavar="ID")
@_asking
def hold(*, message_id: str, url: str, token: str | None, as_json: bool) -> None:
    """Let a queued message wait until it is released."""
    _tell(Remote(url, token).ask_for(message_id, "hold"), as_json=as_json)


@queue.command()
@click.argument("message_id", metavar="ID")
@_asking
def release(*, message_id: str, url: str, token: str | None, as_json: bool) -> None:
    """Let a held message go out."""
    _tell(Remote(url, token).ask_for(message_id, "release"), as_json=as_json)


@queue.command()
@_asking
def stats(*, url: str, token: str | None, as_json: bool) -> None:
    """Say how many messages there are in each state, and since when the oldest waits."""
    numbers = Remote(url, token).stats()
    if as_json:
        click.echo(json.dumps(numbers))
        return
    lines = [(state, str(numbers["counts"].get(state, 0))) for state in STATES]
    click.echo(aligned([*lines, ("oldest queued", numbers["oldest_queued_at"] or "-")]))


def _tell(message: dict[str, Any], *, as_json: bool) -> None:
    click.echo(json.dumps(message) if as_json else f"{message['id']} {message['state']}")


def _show(message: dict[str, Any], *, as_json: bool) -> None:
    lines = [(name, "-" if value is None else str(value)) for name, value in message.items()]
    click.echo(json.dumps(message) if as_json else aligned(lines))


def _table(messages: Iterable[dict[str, Any]]) -> str:
    rows = [("ID", "STATE", "TYPE", "TO", "ATTEMPTS", "ACCEPTED", "LAST ERROR")]
    rows += [
        (
            str(message["id"]),
            str(message["state"]),
            str(message["type"]),
            str(message["to"]),
            str(message["attempts"]),
            str(message["accepted_at"]),
            message["last_error"] or "",
        )
        for message in messages
    ]
    return aligned(rows)
