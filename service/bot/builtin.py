"""The commands that are always there: !ping, !help, !status."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo

from service.bot.router import Context, Router
from service.clock import Clock
from service.queue.model import State as MessageState
from service.reconnect.status import Status


def add_builtin_commands(
    router: Router,
    *,
    status: Callable[[], Status],
    counts: Callable[[], Mapping[MessageState, int]],
    last_backup_at: Callable[[], float | None],
    clock: Clock,
    zone: tzinfo | None = None,
) -> None:
    """Register them. The callables give the facts of `!status` when it is asked; times are Unix seconds."""

    @router.command("ping", help="Am I there?")
    async def ping(context: Context) -> None:
        await context.reply("pong")

    @router.command("help", help="What I can do for you.")
    async def show_help(context: Context) -> None:
        lines = [
            f"{router.prefix}{command.name}: {command.help}"
            for command in router
            if context.is_admin or not command.admin
        ]
        await context.reply("\n".join(lines))

    @router.command("status", help="Connection, queue and last backup.", admin=True)
    async def show_status(context: Context) -> None:
        await context.reply("\n".join((_connection(status()), _queue(counts()), _backup(last_backup_at()))))

    def _connection(now: Status) -> str:
        return f"Connection: {now.state.value} since {when(now.since)}. {now.sentence}"

    def _queue(by_state: Mapping[MessageState, int]) -> str:
        waiting = [
            f"{by_state.get(state, 0)} {state.value}"
            for state in (MessageState.QUEUED, MessageState.SENDING, MessageState.UNKNOWN)
        ]
        trouble = [
            f"{number} {state.value}"
            for state in (MessageState.HELD, MessageState.DEAD, MessageState.EXPIRED)
            if (number := by_state.get(state, 0))
        ]
        return "Queue: " + ", ".join(waiting + trouble) + "."

    def _backup(at: float | None) -> str:
        return "Last backup: none yet." if at is None else f"Last backup: {when(at)}."

    def when(at: float) -> str:
        moment = datetime.fromtimestamp(at, tz=zone or UTC)
        return f"{moment:%Y-%m-%d %H:%M %Z} ({_ago(clock.now() - at)} ago)"


def _ago(seconds: float) -> str:
    """A length of time as people say it, in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{max(0, int(seconds))} s"
