"""Each check of `beacon doctor` on surroundings where it must be glad, warn, or fail."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from service import doctor
from service.assembly import EngineCommand
from service.config import Settings
from service.datadir import DataDir
from service.doctor import CHECKS, Finding, Outcome, Surroundings
from service.simulator import tls
from service.simulator.server import Simulator
from tests.e2e.process import environment, run_to_end

NOWHERE = "http://127.0.0.1:9"


async def check(
    name: str, folder: Path, *, release: bool = False, engine: EngineCommand | None = None, **settings: Any
) -> Finding:
    """What that check finds with those settings."""
    chosen = Settings(**{"data_dir": folder / "data", "port": 0, **settings})
    return await CHECKS[name](
        Surroundings(settings=chosen, engine=engine or EngineCommand(), release=release)
    )


@asynccontextmanager
async def somebody_listening() -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


async def test_all_is_well_beside_a_server_that_can_be_reached(tmp_path: Path) -> None:
    async with Simulator(tmp_path) as simulator:
        env = environment(data_dir=str(tmp_path / "data"), port="0") | simulator.environment()
        code, out, err = await run_to_end("doctor", "--json", env=env)
    told = json.loads(out.splitlines()[-1])
    assert {name: found["outcome"] for name, found in told["checks"].items()} == dict.fromkeys(CHECKS, "ok")
    assert (code, told["ok"], err) == (0, True, "")
    assert not (tmp_path / "data").exists(), "looking made a folder"


async def test_before_a_release_no_way_to_whatsapp_is_only_a_warning(tmp_path: Path) -> None:
    before = await check("whatsapp", tmp_path, release=True, whatsapp_proxy=NOWHERE)
    otherwise = await check("whatsapp", tmp_path, whatsapp_proxy=NOWHERE)
    assert (before.outcome, otherwise.outcome) == (Outcome.WARN, Outcome.FAIL)
    assert "cannot be reached through WHATSAPP_PROXY" in before.sentence
    assert before.advice


async def test_a_server_with_a_certificate_that_nobody_vouches_for_is_not_whatsapp(tmp_path: Path) -> None:
    async with Simulator(tmp_path) as simulator:
        found = await check("whatsapp", tmp_path, whatsapp_proxy=simulator.proxy)
    assert found.outcome is Outcome.FAIL
    assert "CERTIFICATE_VERIFY_FAILED" in found.sentence


async def test_a_clock_that_is_off_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {tomorrow}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    ca_file, context = tls.authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(doctor, "WHATSAPP", ("localhost", port))
        found = await check("whatsapp", tmp_path)
    assert found.outcome is Outcome.WARN, found
    assert "this clock is off by -86" in found.sentence


async def test_a_folder_that_another_process_holds_is_a_warning(tmp_path: Path) -> None:
    with DataDir(tmp_path / "data"):
        found = await check("data_dir", tmp_path)
    assert found.outcome is Outcome.WARN
    assert f"held by another process (pid {os.getpid()})" in found.sentence
    assert (await check("data_dir", tmp_path)).outcome is Outcome.OK


async def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = await check("data_dir", tmp_path, data_dir=tmp_path / "file" / "data")
    assert found.outcome is Outcome.FAIL
    assert str(tmp_path / "file") in found.sentence


@pytest.mark.parametrize(
    ("free", "outcome"), [(2 << 30, Outcome.OK), (500 << 20, Outcome.WARN), (50 << 20, Outcome.FAIL)]
)
async def test_a_disk_that_fills_up_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, outcome: Outcome
) -> None:
    class Usage:
        def __init__(self, _: Path) -> None:
            self.free = free

    monkeypatch.setattr("service.doctor.shutil.disk_usage", Usage)
    assert (await check("disk", tmp_path)).outcome is outcome


async def test_a_taken_port_is_a_failure_unless_it_is_the_running_service(tmp_path: Path) -> None:
    async with somebody_listening() as port:
        stranger = await check("port", tmp_path, port=port)
        with DataDir(tmp_path / "data"):
            ourselves = await check("port", tmp_path, port=port)
    assert (stranger.outcome, ourselves.outcome) == (Outcome.FAIL, Outcome.WARN)
    assert f"PORT={port} cannot be bound" in stranger.sentence


async def test_a_database_that_cannot_be_reached_is_a_failure_and_its_password_is_not_shown(
    tmp_path: Path,
) -> None:
    found = await check("database", tmp_path, database_url="postgres://ann:hidden@127.0.0.1:9/beacon")
    assert found.outcome is Outcome.FAIL
    assert "127.0.0.1:9 of DATABASE_URL cannot be reached" in found.sentence
    assert "hidden" not in found.sentence
    async with somebody_listening() as port:
        there = await check("database", tmp_path, database_url=f"postgres://127.0.0.1:{port}/beacon")
    assert there.outcome is Outcome.OK


async def test_an_engine_that_ends_at_once_is_a_failure(tmp_path: Path) -> None:
    broken = EngineCommand(entry=(sys.executable, "-c", "raise SystemExit('no neonize here')"))
    found = await check("engine", tmp_path, engine=broken)
    assert found.outcome is Outcome.FAIL
    assert "does not start" in found.sentence
