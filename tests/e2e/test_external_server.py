"""`beacon demo --external`: a server that the service did not start and does not know."""

import signal
from pathlib import Path

import pytest

from service.simulator.server import Simulator
from tests.e2e.process import beacon, environment, run_to_end
from tests.people import BEACON


async def test_it_pairs_with_a_server_named_by_three_variables(tmp_path: Path) -> None:
    async with (
        Simulator(tmp_path) as simulator,
        beacon(tmp_path / "beacon", "demo", "--external", env=simulator.environment()) as running,
    ):
        shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        await simulator.scan(shown["qr"]["text"], BEACON)
        await running.until("/api/v1/session", lambda it: it["state"] == "connected")
        assert await running.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"WHATSAPP_PROXY": "http://192.0.2.1:80"}, "WHATSAPP_PROXY: must lead to a loopback address"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE=/nowhere/ca.pem: must be a file"),
        ({"SIMULATOR_ROOT_KEY": "beef"}, "SIMULATOR_ROOT_KEY: must be 64 hex digits"),
    ],
    ids=["proxy-not-loopback", "no-certificate", "short-key"],
)
async def test_a_wrong_variable_is_named(tmp_path: Path, wrong: dict[str, str], sentence: str) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("")
    right = {
        "WHATSAPP_PROXY": "http://127.0.0.1:9",
        "SSL_CERT_FILE": str(certificate),
        "SIMULATOR_ROOT_KEY": "0" * 64,
    }
    env = {**environment(data_dir=str(tmp_path / "data")), **right, **wrong}
    code, _, err = await run_to_end("demo", "--external", env=env)
    assert code == 78
    assert sentence in err
