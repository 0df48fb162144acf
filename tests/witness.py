"""A plugin of the bot that writes down what it is told: `!told Ann-17` becomes a line of WITNESS_FILE.

A line is with the operating system before the next command is begun: killing the service takes none back.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.bot.router import Context, Router

VARIABLE: Final = "WITNESS_FILE"
COMMAND: Final = "told"


def register(router: Router) -> None:
    """Called by the service."""
    notes = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @router.command(COMMAND, help="is written down")
    async def told(context: Context) -> None:
        os.write(notes, f"{context.text}\n".encode())


class Witness:
    """What the bot was told, in order, as its plugin wrote it down; over all lives of the service."""

    def __init__(self, file: Path) -> None:
        file.touch(mode=0o600)
        self._file = file

    def environment(self) -> Mapping[str, str]:
        """The settings that put it into a service."""
        return {"BOT_PLUGINS": __name__, VARIABLE: str(self._file)}

    @staticmethod
    def tell(text: str) -> str:
        """What somebody must write for this text to be noted."""
        return f"!{COMMAND} {text}"

    @property
    def told(self) -> list[str]:
        """All that was noted so far."""
        return self._file.read_text(encoding="utf-8").splitlines()
