"""DATA_DIR: private to its owner, writable, and held by one process at a time."""

import errno
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType

from service.errors import DataDirInUse, DataDirUnusable


class DataDir:
    """The folder with everything that must survive a restart. Use as a context manager.

    Entering raises DataDirUnusable or DataDirInUse. The lock is the kernel's (flock): it ends with the
    process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = path / "session.db"
        self.queue = path / "queue.db"
        self._lock_file = path / "beacon.lock"
        self._lock: int | None = None

    def __enter__(self) -> "DataDir":
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirUnusable(
                f"DATA_DIR={self.path}: must be a folder that this user may create and write "
                f"({error.strerror})"
            ) from error
        try:
            self._take()
        except BaseException:
            self.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder free."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> bytes:
        """A random 32-byte key that stays the same for this folder; made (0600) at first use."""
        path = self.path / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(32)
            fresh = path.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
            return key

    def _take(self) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataDirInUse(
                f"DATA_DIR={self.path}: held by another process (pid {holder}); each process needs a "
                "folder of its own"
            ) from error
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            raise DataDirUnusable(f"DATA_DIR={self.path}: must be writable ({reason})") from error
