"""The command line: exit codes, sentences on stderr, one JSON object as the last line of stdout."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import service
from service import settings_table
from service.cli import main
from service.errors import BeaconError


def invoke(
    *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(main, arguments, env=env, input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_the_module_is_the_same_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service", "--version"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == f"beacon, version {service.__version__}"


def test_every_setting_is_listed_with_its_meaning() -> None:
    code, out, _ = invoke("settings")
    assert code == 0
    assert all(f"{row.name}=" in out and row.meaning in out for row in settings_table.rows())


def test_settings_come_as_json_too() -> None:
    _, out, _ = invoke("settings", "--json")
    listed = json.loads(out.splitlines()[-1])["settings"]
    (port,) = [row for row in listed if row["name"] == "PORT"]
    assert port["default"] == "8000"
    assert port["allowed"] == "whole number, 0 to 65535"


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_wrong_settings_are_all_named_and_stop_the_command(command: str) -> None:
    code, out, err = invoke(command, env={"PORT": "70000", "ACCOUNT": "A B", "API_TOKEN": "short"})
    assert (code, out) == (78, "")
    assert "PORT=70000: " in err
    assert "ACCOUNT=A B: " in err
    assert "API_TOKEN=***: " in err
    assert "short" not in err


@pytest.mark.parametrize("error", BeaconError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_error_has_an_exit_code_that_is_no_success(error: type[BeaconError]) -> None:
    assert 0 < error.exit_code < 126


def test_check_and_external_exclude_each_other() -> None:
    code, _, err = invoke("demo", "--check", "--external")
    assert code == 2
    assert "exclude each other" in err


@pytest.mark.parametrize(
    ("env", "url"),
    [
        pytest.param({}, "http://127.0.0.1:8000", id="nothing-set"),
        pytest.param({"PORT": "1"}, "http://127.0.0.1:1", id="port"),
        pytest.param({"PORT": "1", "HOST": "0.0.0.0"}, "http://127.0.0.1:1", id="every-address"),
        pytest.param({"PORT": "1", "HOST": "::1"}, "http://[::1]:1", id="ipv6"),
    ],
)
def test_send_looks_for_the_service_where_run_would_listen(env: dict[str, str], url: str) -> None:
    command = main.commands["send"]
    with CliRunner(env={"PORT": None, "HOST": None, **env}).isolation():
        parsed = command.make_context("send", ["+12025550101", "hello"])
    assert parsed.params["url"] == url


def test_send_says_what_to_do_when_no_service_is_there() -> None:
    code, out, err = invoke("send", "+12025550101", "hello", "--url", "http://127.0.0.1:1")
    assert (code, out) == (69, "")
    assert "http://127.0.0.1:1: no Beacon answers there" in err
    assert "beacon run" in err


def test_send_refuses_a_url_that_is_none() -> None:
    code, _, err = invoke("send", "+12025550101", "hello", "--url", "file:///etc/passwd")
    assert code == 65
    assert "url: file:///etc/passwd: must begin with http:// or https://" in err


def test_a_retry_is_of_one_message_or_of_all_dead_ones() -> None:
    for arguments in ((), ("0199", "--dead")):
        code, _, err = invoke("queue", "retry", *arguments)
        assert code == 2
        assert "give either the ID of a message or --dead" in err


def test_a_command_of_another_module_is_listed_and_found() -> None:
    assert "migrate" in invoke("--help")[1]
    assert "move" in invoke("queue", "--help")[1]
    assert invoke("queue", "move", "--help")[0] == 0
    assert invoke("queue", "moove")[0] == 2
