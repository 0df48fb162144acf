"""Commands by name, and what a command may do. A plugin imports nothing of Beacon but this module."""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from service.errors import PluginError

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Say(Protocol):
    """Puts one text for one chat (phone number or JID) into the queue; returns the message's id."""

    async def __call__(self, to: str, text: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One command that somebody sent.

    `text` is what followed the command's name, `args` the same split at white space. `chat` and
    `sender` are JIDs: keep them out of logs and metrics.
    """

    text: str
    args: tuple[str, ...]
    chat: str
    sender: str
    is_group: bool
    is_admin: bool
    say: Say = field(repr=False)

    async def reply(self, text: str) -> str:
        """Answer in the chat that the command came from. Returns the id of the queued message.

        It is kept before this returns, and a command that WhatsApp delivers twice is answered once.
        Raises StoreUnavailable when it cannot be kept.
        """
        return await self.say(self.chat, text)

    async def send(self, to: str, text: str) -> str:
        """Write to somebody else: a phone number with country code, or a JID. Returns the message's id.

        Raises InvalidInput for what cannot be a number, StoreUnavailable when it cannot be kept.
        """
        return await self.say(to, text)


Handler = Callable[[Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that the bot knows."""

    name: str
    help: str
    admin: bool
    handler: Handler


class Router:
    """The commands, by name. Names are lower case; people may write them as they like."""

    def __init__(self, *, prefix: str) -> None:
        self.prefix = prefix
        self._commands: dict[str, Command] = {}

    def command(self, name: str, *, help: str, admin: bool = False) -> Callable[[Handler], Handler]:  # noqa: A002 - as click and argparse call it
        """Register the decorated coroutine function. `admin` keeps it for BOT_ADMINS.

        Raises PluginError when the name is taken or is not a name.
        """
        if not NAME.fullmatch(name):
            raise PluginError(
                f"command {name!r}: must be 1 to 32 of a-z, 0-9, - and _, beginning with a letter or digit"
            )
        if name in self._commands:
            raise PluginError(
                f"command {name!r}: is already there, from {self._commands[name].handler.__module__}"
            )

        def register(handler: Handler) -> Handler:
            self._commands[name] = Command(name, help, admin, handler)
            return handler

        return register

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[Command]:
        """All commands, by name."""
        return iter(sorted(self._commands.values(), key=lambda command: command.name))

    def find(self, name: str) -> Command | None:
        """The command of that name, if there is one."""
        return self._commands.get(name)

    def parse(self, text: str) -> tuple[str, str] | None:
        """Name and rest of a text that is a command, known or not; None for every other text."""
        if not text.startswith(self.prefix):
            return None
        name, _, rest = _split(text[len(self.prefix) :])
        name = name.casefold()
        return (name, rest.strip()) if NAME.fullmatch(name) else None


def _split(text: str) -> tuple[str, str, str]:
    """Like partition, at the first white space of any kind."""
    if found := re.search(r"\s+", text):
        return text[: found.start()], found.group(), text[found.end() :]
    return text, "", ""
