"""`beacon backup ...` beside a service that runs, and after it."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.e2e.process import Beacon, beacon, environment, run_to_end
from tests.e2e.test_no_network import NOWHERE
from tests.e2e.test_send import port_of

KEY = "0f" * 32


class Kept:
    """A service without WhatsApp, whose session has never been linked."""

    def __init__(self, folder: Path, service: Beacon, port: str) -> None:
        self.service = service
        self._env = {
            **environment(port=port),
            "DATA_DIR": str(folder / "data"),
            "BACKUP_DIR": str(folder / "kept"),
            "BACKUP_KEYS": KEY,
        }

    async def said(self, *arguments: str, code: int = 0) -> str:
        """What `beacon backup ARGUMENTS` says, on stderr when it fails."""
        ended, out, err = await run_to_end("backup", *arguments, env=self._env)
        assert ended == code, out + err
        return err if code else out


def owns(report: Any) -> bool:
    return "backups" in report and bool(report["status"]["writing"])


async def test_the_commands_work_beside_a_service_and_say_what_it_must_not_run_for(tmp_path: Path) -> None:
    settings = {"BACKUP_DIR": str(tmp_path / "kept"), "BACKUP_KEYS": KEY, "DATA_DIR": str(tmp_path / "data")}
    async with beacon(tmp_path, env={**NOWHERE, **settings}) as service:
        await service.until("/api/v1/backups", owns)
        kept = Kept(tmp_path, service, await port_of(service.http))

        assert json.loads((await kept.said("list", "--json")).splitlines()[-1]) == {"backups": []}
        assert "The session is not fit to be kept" in await kept.said("now", code=65)
        assert "there is no backup yet" in await kept.said("verify", code=66)
        assert "stop it first, or give --to FILE" in await kept.said("restore", code=75)
        _, health = await service.get("/healthz")
        assert health["checks"]["backup:age"][0]["status"] == "pass", "nothing is linked that could be lost"

        await service.end(signal.SIGTERM)
    assert "there is no backup yet" in await kept.said("restore", code=66)
    assert "no Beacon answers there" in await kept.said("now", code=69)
