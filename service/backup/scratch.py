"""Files that live as long as a piece of work: copies of the session, readable by their owner alone."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.errors import BackupError


class Scratch:
    """A folder for such files. It is made at the first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def clear(self) -> None:
        """Remove what a killed process left. Only while nobody else works here. Raises BackupError."""
        await asyncio.to_thread(self._clear)

    @asynccontextmanager
    async def file(self) -> AsyncIterator[Path]:
        """The name of a file that is not there yet; whatever is there at the end is removed."""
        path = await asyncio.to_thread(self._fresh)
        try:
            yield path
        finally:
            self._remove(path)

    def _fresh(self) -> Path:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackupError(f"{self._folder}: {error.strerror}") from error
        return self._folder / f"{secrets.token_hex(8)}.db"

    def _clear(self) -> None:
        try:
            for path in self._folder.glob("*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise BackupError(f"{self._folder}: {error.strerror}") from error

    def _remove(self, path: Path) -> None:
        for each in self._folder.glob(f"{path.name}*"):
            each.unlink(missing_ok=True)
