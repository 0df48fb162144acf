"""Backups over HTTP: seen, made, checked, pruned, and why not; the same by `beacon backup`."""

import asyncio
import json
from collections.abc import Mapping
from logging import CRITICAL
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from service.backup import progress
from service.backup.progress import Step
from service.backup.report import Outcome
from service.cli import main
from service.engine.session import SessionFile
from service.remote import Remote
from service.web.backups import TROUBLES
from service.web.events import GAP_S
from tests.component.web.backed_up import BackedUp
from tests.component.web.conftest import Beacon, Start
from tests.component.web.scripted import CONNECTED
from tests.component.web.test_openapi import conforms, described
from tests.unit.backup.sessions import DEVICE

BACKUPS = "/api/v1/backups"


@pytest.fixture
async def owner(start: Start) -> Beacon:
    """The process that owns an account with a linked phone."""
    beacon = await start(backed_up=True)
    await there(beacon).own()
    return beacon


def there(beacon: Beacon) -> BackedUp:
    assert beacon.backups is not None
    return beacon.backups


async def asked(beacon: Beacon, method: str, path: str, status: int = 200) -> Any:
    """The answer, which is one that is described."""
    response = await beacon.client.request(method, path)
    answer = await response.json(content_type=None)
    assert response.status == status, answer
    template = path if not path.endswith("/verify") else f"{BACKUPS}/{{sequence}}/verify"
    conforms(await described(beacon), method, template, response, answer)
    return answer


async def command(
    beacon: Beacon, *arguments: str, env: Mapping[str, str] | None = None, port: str | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `beacon backup ARGUMENTS` beside that service."""
    around = {**there(beacon).environment, "PORT": port or str(beacon.client.port), **(env or {})}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))  # of the service
    result = await asyncio.to_thread(CliRunner().invoke, main, ["backup", *arguments], env=around)
    return result.exit_code, result.stdout, result.stderr


NOBODY = "1"
"""A port on which no service listens."""


# --- over HTTP -------------------------------------------------------------------------------------------


async def test_a_backup_is_made_listed_and_checked(owner: Beacon) -> None:
    assert (await asked(owner, "GET", BACKUPS))["backups"] == []

    made = await asked(owner, "POST", BACKUPS)
    assert (made["outcome"], made["sequence"]) == ("kept", 1)
    assert (await asked(owner, "POST", BACKUPS))["outcome"] == "unchanged"
    there(owner).session.live()
    assert (await asked(owner, "POST", BACKUPS))["sequence"] == 2

    for which, number in (("newest", 2), ("1", 1)):
        verified = await asked(owner, "POST", f"{BACKUPS}/{which}/verify")
        assert (verified["sequence"], verified["verified_at"]) == (number, "2023-11-14T22:13:20.000Z")

    seen = await asked(owner, "GET", BACKUPS)
    assert [kept["sequence"] for kept in seen["backups"]] == [2, 1]
    assert all(kept["verified_at"] for kept in seen["backups"])
    assert (
        seen["status"]["last_backup_at"] == seen["status"]["last_verified_at"] == "2023-11-14T22:13:20.000Z"
    )
    assert (seen["status"]["kept"], seen["status"]["writing"], seen["status"]["busy"]) == (2, True, None)
    assert await asked(owner, "POST", f"{BACKUPS}/prune") == {"forgotten": [], "freed_bytes": 0}


async def test_the_newest_is_sealed_with_the_first_key(owner: Beacon) -> None:
    assert (await asked(owner, "POST", f"{BACKUPS}/rotate-key", 404))["reason"] == "no-backup"
    await asked(owner, "POST", BACKUPS)
    rotated = await asked(owner, "POST", f"{BACKUPS}/rotate-key")
    assert (rotated["sequence"], rotated["changed"], rotated["others"]) == (1, False, {})
    code, out, _ = await command(owner, "rotate-key")
    assert (code, out) == (0, f"backup 1 was already sealed with key {rotated['key_id']}\n")


async def test_nothing_that_is_answered_tells_whose_session_it_is(owner: Beacon) -> None:
    await asked(owner, "POST", BACKUPS)
    assert DEVICE.partition(":")[0] not in json.dumps(await asked(owner, "GET", BACKUPS))


async def test_the_live_stream_tells_of_backups(owner: Beacon) -> None:
    await asked(owner, "POST", BACKUPS)
    async with owner.client.get("/api/v1/events") as stream:
        async with asyncio.timeout(60):
            while not (line := await stream.content.readline()).startswith(b"data: "):
                pass
    assert json.loads(line[6:])["backup"] == (await asked(owner, "GET", BACKUPS))["status"]


async def test_a_session_that_is_not_fit_is_refused_with_the_reason(start: Start) -> None:
    beacon = await start(backed_up=True)
    there(beacon).file.prepare()
    await there(beacon).parts.custody.admit(1, lambda _: None)

    refused = await asked(beacon, "POST", BACKUPS, 409)
    assert (refused["type"], refused["reason"]) == (
        "urn:problem-type:beacon:session-unfit",
        "session-unfit",
    )
    assert (await asked(beacon, "GET", BACKUPS))["status"]["trouble"] == refused["detail"]


async def test_a_process_that_does_not_own_the_account_makes_none(start: Start) -> None:
    beacon = await start(backed_up=True)
    await there(beacon).parts.vault.open()
    assert (await asked(beacon, "POST", BACKUPS, 409))["reason"] == "not-owner"


async def test_a_process_that_stands_by_has_not_opened_them_and_says_so(start: Start) -> None:
    beacon = await start(backed_up=True)
    refused = await asked(beacon, "GET", BACKUPS, 503)
    assert (refused["reason"], "does not own the account now" in refused["detail"]) == (
        "vault-unavailable",
        True,
    )
    assert (await asked(beacon, "POST", f"{BACKUPS}/prune", 503))["reason"] == "vault-unavailable"


async def test_a_damaged_backup_is_found_out_and_shown_until_one_is_good(owner: Beacon) -> None:
    await asked(owner, "POST", BACKUPS)
    there(owner).damage()
    problem = await asked(owner, "POST", f"{BACKUPS}/newest/verify", 409)
    assert problem["reason"] == "backup-unreadable"
    assert (await asked(owner, "GET", BACKUPS))["status"]["verify_trouble"] == problem["detail"]


async def test_a_backup_that_is_not_there_is_not_found(owner: Beacon) -> None:
    assert (await asked(owner, "POST", f"{BACKUPS}/newest/verify", 404))["reason"] == "no-backup"
    assert (await asked(owner, "POST", f"{BACKUPS}/7/verify", 404))["reason"] == "no-backup"
    assert (await asked(owner, "GET", BACKUPS))["status"]["verify_trouble"] is None
    assert (await asked(owner, "POST", f"{BACKUPS}/0/verify", 422))["errors"][0]["field"] == "sequence"


async def test_the_live_stream_tells_what_is_being_done_and_how_far_it_is(owner: Beacon) -> None:
    doings = there(owner).parts.backups.doings
    async with owner.client.get("/api/v1/events") as stream, asyncio.timeout(60):
        seen: list[tuple[str | None, str | None]] = []

        async def until(busy: str | None, words: str | None) -> None:
            while (busy, words) not in seen:
                line = await stream.content.readline()
                if line.startswith(b"data: "):
                    status = json.loads(line[6:])["backup"]
                    seen.append((status["busy"], status["progress"] and status["progress"]["words"]))

        async def gaps_pass() -> None:
            while True:
                if any(left <= GAP_S * 1.01 for left in owner.clock.sleeps):
                    owner.clock.advance(GAP_S)
                await asyncio.sleep(0.001)

        passing = asyncio.create_task(gaps_pass())
        await until(None, None)
        with doings.begin("checking a backup"):
            progress.at(Step.FETCHING, done_bytes=1_000_000, total_bytes=50_000_000)
            await until("checking a backup", "fetching it, 1.0 of 50.0 MB")
            seen.clear()
        await until(None, None)
        passing.cancel()


async def test_a_terminal_is_told_how_far_the_service_is(owner: Beacon) -> None:
    remote = Remote(f"http://127.0.0.1:{owner.client.port}")
    assert await asyncio.to_thread(remote.backup_progress) == ""
    with there(owner).parts.backups.doings.begin("making a backup"):
        progress.at(Step.SEALING)
        assert await asyncio.to_thread(remote.backup_progress) == "sealing what is new"


async def test_without_backups_there_are_none_and_none_is_made(beacon: Beacon) -> None:
    seen = await asked(beacon, "GET", BACKUPS)
    assert (seen["status"]["enabled"], seen["backups"]) == (False, [])
    for path in (BACKUPS, f"{BACKUPS}/newest/verify", f"{BACKUPS}/prune", f"{BACKUPS}/rotate-key"):
        assert (await asked(beacon, "POST", path, 409))["reason"] == "backups-off"


async def test_what_is_done_at_the_same_time_ends_as_nothing_being_done(owner: Beacon) -> None:
    await asked(owner, "POST", BACKUPS)
    await asyncio.gather(
        *(asked(owner, "POST", path) for path in [BACKUPS, f"{BACKUPS}/newest/verify", f"{BACKUPS}/1/verify"])
    )
    assert (await asked(owner, "GET", BACKUPS))["status"]["busy"] is None


def test_every_way_not_to_make_one_has_its_problem() -> None:
    assert set(TROUBLES) == {outcome for outcome in Outcome if not outcome.success}


# --- health ----------------------------------------------------------------------------------------------


async def test_health_tells_the_age_of_the_newest(owner: Beacon) -> None:
    owner.connection.become(CONNECTED)
    await asked(owner, "POST", BACKUPS)
    owner.clock.advance(5400)
    (check,) = (await (await owner.client.get("/healthz")).json())["checks"]["backup:age"]
    assert (check["status"], check["observedValue"], check["observedUnit"]) == ("pass", 5400.0, "s")

    owner.clock.advance(1)
    (check,) = (await (await owner.client.get("/healthz")).json())["checks"]["backup:age"]
    assert (check["status"], check["output"]) == ("warn", "The newest backup is 90 minutes old.")


# --- the commands, beside the service ----------------------------------------------------------


async def test_the_commands_ask_the_service(owner: Beacon) -> None:
    code, out, err = await command(owner, "now")
    assert (code, err) == (0, ""), err
    assert out.startswith("the session is kept as backup 1 (")
    code, out, _ = await command(owner, "verify", "--json")
    assert (code, json.loads(out)["sequence"]) == (0, 1)
    code, out, _ = await command(owner, "list")
    assert (code, out.splitlines()[0].split()) == (
        0,
        ["SEQUENCE", "TAKEN", "SESSION", "ADDED", "MADE", "CHECKED", "KEY"],
    )
    assert out.splitlines()[1].split()[:2] == ["1", "2023-11-14T22:13:20.000Z"]
    code, out, _ = await command(owner, "prune")
    assert (code, out) == (0, "0 backups forgotten, 0.0 kB freed\n")


@pytest.mark.parametrize("port", [None, NOBODY], ids=["service", "alone"])
async def test_what_is_wrong_has_the_same_exit_code_with_a_service_and_without(
    owner: Beacon, port: str | None
) -> None:
    await command(owner, "now")
    assert (await command(owner, "verify", "9", port=port))[0] == 66
    there(owner).damage()
    code, out, err = await command(owner, "verify", port=port)
    assert (code, out) == (65, "")
    assert "is damaged" in err


async def test_now_and_prune_need_a_service(owner: Beacon) -> None:
    for name in ("now", "prune"):
        code, out, err = await command(owner, name, port=NOBODY)
        assert (code, out) == (69, "")
        assert "no Beacon answers there" in err


async def test_a_service_that_was_named_is_not_replaced_by_a_look_of_ones_own(owner: Beacon) -> None:
    assert (await command(owner, "list", "--url", f"http://127.0.0.1:{NOBODY}"))[0] == 69


# --- the commands, alone ----------------------------------------------------------------------------------


async def test_without_a_service_backups_are_listed_and_checked_where_they_are(owner: Beacon) -> None:
    await command(owner, "now")
    with_service = json.loads((await command(owner, "list", "--json"))[1])
    assert json.loads((await command(owner, "list", "--json", port=NOBODY))[1]) == with_service
    code, out, _ = await command(owner, "verify", "1", port=NOBODY)
    assert (code, out.startswith("backup 1 of 2023-11-14T22:13:20.000Z is good: ")) == (0, True)


async def test_a_missing_key_is_named(owner: Beacon) -> None:
    await command(owner, "now")
    code, _, err = await command(owner, "verify", port=NOBODY, env={"BACKUP_KEYS": "aa" * 32})
    assert code == 78
    assert "which is not in BACKUP_KEYS" in err
    assert (await command(owner, "list", port=NOBODY, env={"BACKUP_KEYS": "aa" * 32}))[0] == 0


async def test_a_restore_into_a_file_needs_nobody_to_stop_and_overwrites_nothing(owner: Beacon) -> None:
    await command(owner, "now")
    target = there(owner).kept_in.parent / "copy.db"
    code, out, _ = await command(owner, "restore", "--to", str(target), "--json")
    restored = json.loads(out)
    assert (code, restored["sequence"], restored["kind"]) == (0, 1, "ratchets_dropped")
    assert restored["sessions_dropped"] > 0
    assert await SessionFile(target).device_jid() == DEVICE
    assert target.stat().st_mode & 0o777 == 0o600

    before = target.read_bytes()
    code, _, err = await command(owner, "restore", "--to", str(target))
    assert (code, "nothing is overwritten" in err) == (1, True)
    assert target.read_bytes() == before
