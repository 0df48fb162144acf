"""The decision table in words: what the documentation shows is what the code does."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.reconnect import render
from service.reconnect.policy import TABLE
from service.reconnect.reason import Reason
from service.reconnect.rule import Rule

DOCUMENT = Path(__file__).parents[3] / "docs" / "reconnect.md"


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["policy", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def line(reason: Reason) -> render.Line:
    (found,) = (line for line in render.lines() if line.reason == reason)
    return found


def test_the_table_in_the_documentation_is_the_code_s() -> None:
    found = re.search(r"<!-- policy:.*?-->\n(.*?)<!-- /policy -->", DOCUMENT.read_text(), re.DOTALL)
    assert found, f"{DOCUMENT.name} has no markers for the table"
    assert found[1].strip() == render.markdown(render.lines()), "write it anew: beacon policy --markdown"


def test_every_row_has_as_many_cells_as_the_head() -> None:
    rows = render.markdown(render.lines()).splitlines()
    assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != len(render.HEADERS) + 1] == []


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.reason)
def test_every_rule_has_its_line(rule: Rule) -> None:
    written = line(rule.reason)
    assert written.happened
    assert written.done.startswith(rule.then)
    assert written.rows == ", ".join(rule.rows)
    assert (written.state, written.advice, written.sentence) == (rule.state, rule.advice, rule.sentence)


@pytest.mark.parametrize(
    ("reason", "happened", "done"),
    [
        (
            Reason.KEEPALIVE_LOST,
            "pings stay unanswered (2 or more times, connected)",
            "send nothing, wait in place, for 3 min at most",
        ),
        (
            Reason.SERVER_UNAVAILABLE,
            "the login is refused (reason 500 or 503)",
            "wait for whatsmeow's own reconnect, for 20 s at most",
        ),
        (
            Reason.REFUSED_GENERIC,
            "the login is refused (reason 400)",
            "new engine after a fixed delay: 60 s, doubling to 15 min; holds after a restart of the "
            "process, too",
        ),
        (
            Reason.REPLACED,
            "`stream:error`, conflict `replaced`",
            "new engine after a fixed delay: 45 s; the second time within 1 h: `replaced_again`",
        ),
        (Reason.REPLACED_AGAIN, "`replaced` 2 times within 1 h", "stop until the operator acts"),
        (
            Reason.LOGGED_OUT,
            "the device is logged out (at the login: yes)",
            "stop until the operator acts; the device is forgotten",
        ),
        (
            Reason.BAN_STRANGERS,
            "failure 402, a temporary ban (code 101)",
            "new engine when the ban has ended: its length and 10 to 20 % more; 24 h to 26.4 h when it was "
            "not told; holds after a restart of the process, too",
        ),
        (
            Reason.CONNECTED,
            "the login succeeds (logging in, connected or after a loss)",
            "carry on; stable after 60 s, then earlier attempts are forgotten",
        ),
        (
            Reason.ENGINE_CRASHED,
            "the engine crashes",
            "new engine after backoff (0 to 2 s, doubling to 0 to 5 min); the 5th time within 10 min: "
            "`engine_crash_loop`",
        ),
        (
            Reason.QR_SILENCE,
            "no other QR code follows for 1.5 min",
            "new engine at once, after backoff when it repeats (0 to 2 s, doubling to 0 to 30 s)",
        ),
    ],
    ids=lambda value: value if isinstance(value, Reason) else "",
)
def test_what_happened_and_what_is_done_are_said_with_their_times(
    reason: Reason, happened: str, done: str
) -> None:
    assert (line(reason).happened, line(reason).done) == (happened, done)


def test_the_command_prints_it_for_people_for_the_documentation_and_for_programs() -> None:
    assert "logged_out -> logged_out, scan_qr (row 11)" in invoke()
    assert invoke("--markdown").strip() == render.markdown(render.lines())
    assert {row["reason"] for row in json.loads(invoke("--json"))["policy"]} == set(Reason)
