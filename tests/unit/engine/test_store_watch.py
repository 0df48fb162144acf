"""Which of whatsmeow's lines say that the session's database is away, and not that a message is bad."""

import ctypes

import pytest

from service.engine.store_watch import tells_of_a_store_that_is_away, watched

AWAY = "Error decrypting message 3EB0 from 1:1@lid in 1@lid: failed to load session with 1_1:1: "


@pytest.mark.parametrize(
    "error",
    [
        "dial tcp 127.0.0.1:5432: connect: connection refused",
        "driver: bad connection",
        "read tcp 10.0.0.1:3->10.0.0.2:5432: read: connection reset by peer",
        "unexpected EOF",
        "pq: the database system is shutting down (57P03)",
        "pq: sorry, too many clients already (53300)",
        "pq: cannot execute INSERT in a read-only transaction (25006)",
    ],
)
def test_a_database_that_does_not_answer_is_away(error: str) -> None:
    assert tells_of_a_store_that_is_away(AWAY + error)


@pytest.mark.parametrize(
    "line",
    [
        "Error decrypting message 3EB0 from 1@lid: failed to decrypt normal message: mismatching MAC",
        'Error decrypting message 3EB0 from 1@lid: pq: invalid byte sequence for encoding "UTF8" (22021)',
        "Failed to get prekey for retry receipt: dial tcp 127.0.0.1:5432: connect: connection refused",
        "Error reading from websocket: failed to get reader: EOF",
    ],
)
def test_a_bad_message_and_another_trouble_are_not(line: str) -> None:
    assert not tells_of_a_store_that_is_away(line)


def test_a_line_is_judged_before_it_is_logged_and_every_line_is_logged() -> None:
    happened: list[str] = []
    callback = watched(lambda _, size: happened.append(f"logged {size}"), lambda: happened.append("away"))
    for text in (AWAY + "unexpected EOF", "Successfully authenticated"):
        entry = ctypes.create_string_buffer(text.encode())
        callback(ctypes.addressof(entry), len(text))
    callback(0, 0)
    assert happened == ["away", f"logged {len(AWAY) + 14}", "logged 26", "logged 0"]
