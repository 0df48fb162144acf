"""A return code tells who ended the engine."""

import signal

import pytest

from service.engine.exits import ExitCause, cause_of, words_of


@pytest.mark.parametrize(
    ("returncode", "cause", "words"),
    [
        (0, ExitCause.STOPPED, "exit code 0"),
        (2, ExitCause.CRASHED, "exit code 2"),
        (-signal.SIGSEGV, ExitCause.CRASHED, "SIGSEGV"),
        (-signal.SIGABRT, ExitCause.CRASHED, "SIGABRT"),
        (-signal.SIGKILL, ExitCause.KILLED, "SIGKILL"),
        (-signal.SIGTERM, ExitCause.KILLED, "SIGTERM"),
    ],
)
def test_cause_and_words(returncode: int, cause: ExitCause, words: str) -> None:
    assert (cause_of(returncode), words_of(returncode)) == (cause, words)
