"""A SQLite queue that is being carried to another store, read from the earliest message to the latest."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from service.errors import StoreMoved, StoreUnavailable
from service.queue import sqlite_connection
from service.queue import sqlite_rows as rows
from service.queue.migrations import migrate
from service.queue.model import Acquaintance, Cooldown, Cooling, Message, State
from service.queue.sqlite_files import Files
from service.queue.sqlite_pacing import Pacing

_BEGUN: Final = "SELECT 1 FROM carried WHERE account = ?"
_BEGIN: Final = "INSERT INTO carried (account, seq) VALUES (?, 0) ON CONFLICT DO NOTHING"
_MARK: Final = "UPDATE carried SET seq = ?2 WHERE account = ?1"
_REST: Final = "account = ?1 AND seq > coalesce((SELECT seq FROM carried WHERE account = ?1), 0)"
_BATCH: Final = f"{rows.SELECT} NOT INDEXED WHERE {_REST} ORDER BY seq LIMIT ?2"
_REMAINING: Final = f"SELECT count(*) FROM message NOT INDEXED WHERE {_REST}"  # noqa: S608
_UNSETTLED: Final = f"{_REMAINING} AND finished_at IS NULL"
_OTHERS: Final = """
    SELECT DISTINCT account FROM message WHERE account <> ?1 AND seq > coalesce((
        SELECT seq FROM carried WHERE carried.account = message.account), 0) ORDER BY account"""
_UNNAMED: Final = """
    SELECT sha256 FROM file WHERE account = ? AND NOT EXISTS (
        SELECT 1 FROM message WHERE message.account = file.account AND message.file = file.sha256)"""
_ACQUAINTANCES: Final = "SELECT chat, first_sent_at, heard_at FROM acquaintance WHERE account = ?"
_EARLY: Final = "SELECT whatsapp_id, state, at, kept_at FROM early_receipt WHERE account = ?"


def refuse_carried(connection: sqlite3.Connection, account: str) -> None:
    """Raises StoreMoved when these messages are on their way to another store, or there."""
    if connection.execute(_BEGUN, (account,)).fetchone() is not None:
        raise StoreMoved(
            "the queue in DATA_DIR has been carried to PostgreSQL, or a part of it: set DATABASE_URL, and "
            "end what was begun with `beacon queue move --to postgres` while the service is stopped"
        )


class Source:
    """The account's part of a file, brought to this program's schema. Nothing else may use the file.

    Raises sqlite3.Error, here and from every method, and StoreTooNew.
    """

    def __init__(self, path: Path, account: str) -> None:
        self._account = account
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=sqlite_connection.BUSY_TIMEOUT_S,
            isolation_level=None,
        )
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            migrate(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._execute = self._connection.execute
        self._files = Files(self._connection, account)
        self._pacing = Pacing(self._connection, account)

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    # --- how far ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """From now on no SqliteStore opens the file."""
        self._execute(_BEGIN, (self._account,))

    def mark(self, seq: int) -> None:
        """Everything up to this message is in the other store."""
        self._execute(_MARK, (self._account, seq))

    def seal(self) -> None:
        """Fold the WAL into the file, so that the file alone is everything.

        Raises StoreUnavailable when another program looks into it.
        """
        try:
            (mode,) = self._execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"queue database: another program has it open ({error})") from error
        if mode != "delete":
            raise StoreUnavailable(f"queue database: cannot leave WAL mode, it stays in {mode}")

    def remaining(self) -> int:
        """Messages not carried yet."""
        return self._count(_REMAINING)

    def unsettled(self) -> int:
        """Those of them that have somewhere to go."""
        return self._count(_UNSETTLED)

    def other_accounts(self) -> tuple[str, ...]:
        """Other accounts that have messages here which were not carried."""
        return tuple(account for (account,) in self._execute(_OTHERS, (self._account,)))

    def _count(self, query: str) -> int:
        (messages,) = self._execute(query, (self._account,)).fetchone()
        return int(messages)

    # --- what -------------------------------------------------------------------------------------

    def batch(self, limit: int) -> list[Message]:
        """The next messages to carry."""
        return [rows.message(row) for row in self._execute(_BATCH, (self._account, limit))]

    def files_of(self, messages: Sequence[Message]) -> list[str]:
        """Names of the kept files that these messages name."""
        named = {file.sha256 for m in messages if (file := getattr(m.content, "file", None)) is not None}
        return sorted(name for name in named if self._files.kept(name))

    def unnamed_files(self) -> list[str]:
        """Names of files that no message names yet."""
        return [name for (name,) in self._execute(_UNNAMED, (self._account,))]

    def file(self, sha256: str) -> bytes:
        """The bytes of a kept file."""
        data = self._files.read(sha256)
        assert data is not None, f"file {sha256} is named as kept, and has no bytes"
        return data

    def acquaintances(self) -> Iterator[tuple[str, Acquaintance]]:
        """What is known of each chat."""
        for chat, first_sent_at, heard_at in self._execute(_ACQUAINTANCES, (self._account,)):
            yield chat, Acquaintance(first_sent_at, heard_at)

    def early_receipts(self) -> Iterator[tuple[str, State, float, float]]:
        """WhatsApp id, state, its time and when it was remembered."""
        for whatsapp_id, state, at, kept_at in self._execute(_EARLY, (self._account,)):
            yield whatsapp_id, State(state), at, kept_at

    def cooldowns(self) -> dict[Cooling, Cooldown]:
        """Those remembered."""
        return self._pacing.cooldowns()
