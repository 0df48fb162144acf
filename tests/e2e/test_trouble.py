"""Wrong surroundings: one sentence that names the value and what is allowed, and a fitting exit code."""

import resource
import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.process import beacon, environment, run_to_end
from tests.e2e.test_no_network import NOWHERE
from tests.people import ANN


async def test_a_second_process_on_the_same_data_dir_is_refused(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as first:
        env = environment(data_dir=str(tmp_path / "data"), port="0", **NOWHERE)
        code, _, err = await run_to_end("run", env=env)
        assert code == 75
        assert f"held by another process (pid {first.process.pid})" in err
        assert str(tmp_path / "data") in err
        assert (await first.get("/readyz"))[0] == 200


async def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code, _, err = await run_to_end("run", env=environment(data_dir=str(blocked / "data"), port="0"))
    assert code == 73
    assert f"DATA_DIR={blocked / 'data'}: must be a folder" in err


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = await run_to_end("run", env=environment(data_dir=str(tmp_path), port=str(port)))
    assert code == 69
    assert f"PORT={port}: must be a free address" in err


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"port": "99999"}, "PORT=99999", id="port-out-of-range"),
        pytest.param({"host": "0.0.0.0"}, "HOST=0.0.0.0", id="open-to-the-world-without-a-token"),
        pytest.param({"api_token": "short"}, "API_TOKEN=***", id="token-too-short"),
        pytest.param({"whatsapp_proxy": "ftp://x"}, "WHATSAPP_PROXY=***", id="proxy-scheme"),
        pytest.param({"bot_admins": "ann"}, "BOT_ADMINS", id="admin-not-a-number"),
        pytest.param({"bot_plugins": "no.such.module"}, "no.such.module", id="plugin-not-found"),
    ],
)
async def test_a_wrong_setting_stops_the_start(
    tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    env = environment(**{"data_dir": str(tmp_path / "data"), "port": "0", **settings})
    code, _, err = await run_to_end("run", env=env)
    assert code == 78
    assert expected in err
    assert "Traceback" not in err


async def test_all_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    env = environment(data_dir=str(tmp_path / "data"), port="-1", account="A B", log_level="loud")
    _, _, err = await run_to_end("run", env=env)
    assert all(name in err for name in ("PORT=-1", "ACCOUNT=A B", "LOG_LEVEL=loud"))


async def test_a_full_disk_refuses_new_messages_and_keeps_the_accepted_ones(tmp_path: Path) -> None:
    def no_file_over_400_kb() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    accepted: list[str] = []
    async with beacon(tmp_path, env=NOWHERE, preexec=no_file_over_400_kb) as running:
        for number in range(200):
            status, body = await running.post(
                "/api/v1/messages", {"to": ANN, "text": f"{number} " + "x" * 8000}
            )
            if status != 202:
                break
            accepted.append(body["id"])
        assert status == 507, body
        assert accepted, "nothing was accepted before the disk was full"
        assert (await running.get("/livez"))[0] == 200
        await running.end(signal.SIGKILL)

    async with beacon(tmp_path, env=NOWHERE) as again:
        for message_id in accepted:
            status, kept = await again.get(f"/api/v1/messages/{message_id}")
            assert (status, kept["state"]) == (200, "queued")
