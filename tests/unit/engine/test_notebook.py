"""What the engine learned can be read when the engine is gone."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.engine import notebook as notebook_module
from service.engine.notebook import Acknowledged, Note, Notebook
from service.engine.protocol import Receipt, ReceiptKind, encode

SECRET = bytes(range(32))


def acknowledged(number: int) -> Acknowledged:
    return Acknowledged(secret=SECRET, message_id=f"3EB0{number}", timestamp=1000.0 + number)


RECEIPT = Receipt(
    message_ids=("3EB01",),
    receipt=ReceiptKind.DELIVERED,
    chat="15550000001@s.whatsapp.net",
    sender="15550000001@s.whatsapp.net",
    from_me=False,
    timestamp=1001.0,
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return tmp_path / "session.db"


def written(session: Path, count: int) -> None:
    writer = Notebook(session)
    for number in range(count):
        writer.write(acknowledged(number))
    writer.close()


def test_what_was_written_is_read_in_order(session: Path) -> None:
    writer = Notebook(session)
    notes: list[Note] = [acknowledged(1), RECEIPT, acknowledged(2)]
    for note in notes:
        writer.write(note)
    assert Notebook(session).read() == notes, "without waiting for the writer to close"
    writer.close()


def test_two_threads_may_write_while_pages_are_turned(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_module, "PAGE_BYTES", 200)
    writer = Notebook(session)

    def write(first: int) -> None:
        for number in range(first, first + 10_000):
            writer.write(acknowledged(number))

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(write, (10_000, 20_000))) == [None, None]
    writer.close()
    kept = [note.message_id for note in Notebook(session).read() if isinstance(note, Acknowledged)]
    assert len(kept) > 200 // len(encode(acknowledged(10_000))), "no page is lost but the last but one"
    assert all(size <= 200 for size in (file.stat().st_size for file in session.parent.glob("*.notes*")))
    for thread in ("3EB01", "3EB02"):
        assert [one for one in kept if one.startswith(thread)] == sorted(
            one for one in kept if one.startswith(thread)
        )


def test_where_nothing_was_written_there_is_nothing(session: Path) -> None:
    assert Notebook(session).read() == []


def test_a_second_engine_writes_behind_the_first(session: Path) -> None:
    written(session, 1)
    written(session, 1)
    assert Notebook(session).read() == [acknowledged(0)] * 2


@pytest.mark.parametrize("cut_off", [1, 5, 40])
def test_a_note_that_was_cut_off_is_none(session: Path, cut_off: int) -> None:
    written(session, 2)
    file = session.with_suffix(".notes")
    file.write_bytes(file.read_bytes()[:-cut_off])
    assert Notebook(session).read() == [acknowledged(0)]


def test_only_the_owner_may_read_it(session: Path) -> None:
    written(session, 1)
    assert session.with_suffix(".notes").stat().st_mode & 0o777 == 0o600


def test_what_is_long_past_is_forgotten_and_the_last_page_never(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook_module, "PAGE_BYTES", 1000)
    written(session, 500)
    kept = Notebook(session).read()
    assert kept == [acknowledged(number) for number in range(500 - len(kept), 500)]
    assert 8 <= len(kept) <= 2 * 1000 // 60
    assert all(file.stat().st_size <= 1000 for file in session.parent.iterdir())


def test_a_reader_may_forget_everything(session: Path) -> None:
    written(session, 1)
    Notebook(session).clear()
    assert list(session.parent.iterdir()) == []


def test_a_full_disk_is_logged_and_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "engine.notebook"):
        Notebook(tmp_path / "missing" / "session.db").write(RECEIPT)
    assert "could not be noted: No such file or directory" in caplog.text
