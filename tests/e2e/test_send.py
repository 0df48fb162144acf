"""`beacon send` against a running service."""

import json
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.process import beacon, environment, run_to_end
from tests.e2e.test_no_network import NOWHERE
from tests.people import ANN

TOKEN = "correct-horse-battery"


async def test_a_message_is_handed_in_and_kept(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        env = environment(port=await port_of(running.http))
        code, out, err = await run_to_end("send", f"+{ANN}", "Your parcel is here", "--json", env=env)
        assert code == 0, err
        sent = json.loads(out.splitlines()[-1])
        assert (sent["state"], sent["created"]) == ("queued", True)
        _, kept = await running.get(f"/api/v1/messages/{sent['id']}")
        assert kept["to"] == f"{ANN}@s.whatsapp.net"


async def test_the_same_key_twice_is_one_message(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        env = environment(port=await port_of(running.http))
        answers = [
            await run_to_end("send", ANN, "once", "--idempotency-key", "order-7", env=env) for _ in range(2)
        ]
        assert answers[0] == answers[1]


async def test_waiting_ends_with_a_sentence_when_the_message_is_still_on_its_way(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        env = environment(port=await port_of(running.http))
        code, out, err = await run_to_end("send", ANN, "hello", "--wait", "--timeout", "0", env=env)
        assert code == 75
        assert out.split()[-1] == "queued"
        assert "not delivered within 0 s; the service keeps trying" in err


async def test_what_the_service_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        env = environment(port=await port_of(running.http))
        code, out, err = await run_to_end("send", "nobody", "hello", env=env)
        assert (code, out) == (65, "")
        assert "to: " in err
        assert "Traceback" not in err


async def test_the_token_comes_from_the_environment_and_a_wrong_one_is_said(tmp_path: Path) -> None:
    async with beacon(tmp_path, env={**NOWHERE, "API_TOKEN": TOKEN}) as running:
        port = await port_of(running.http)
        right = environment(port=port, api_token=TOKEN)
        wrong = environment(port=port, api_token="not-the-right-token")
        assert (await run_to_end("send", ANN, "hello", env=right))[0] == 0
        code, _, err = await run_to_end("send", ANN, "hello", env=wrong)
        assert code == 77
        assert "the token is missing or wrong" in err


async def test_the_service_of_another_program_is_not_taken_for_beacon(tmp_path: Path) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", hello)
    async with TestServer(other) as server:
        code, _, err = await run_to_end(
            "send", ANN, "hello", "--url", str(server.make_url("")), env=environment()
        )
    assert code == 69
    assert "no Beacon answers there" in err


async def port_of(http: aiohttp.ClientSession) -> str:
    """Where the service listens."""
    async with http.get("/livez") as response:
        return str(response.url.port)
