"""What is posted with a file is in the recipient's hands as it was posted."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from aiohttp import FormData

from service.simulator.server import Simulator
from tests.component.engine.reader import reading
from tests.component.engine.world import World
from tests.component.web.files import JPEG, OPUS, PDF
from tests.e2e.process import Beacon, beacon
from tests.people import BEACON, BEN

DELIVERED = {"delivered", "read"}


async def post(beacon: Beacon, content: Mapping[str, object], data: bytes, media_type: str, name: str) -> str:
    """The id of the message to Ben that was accepted with this file."""
    form = FormData()
    form.add_field("message", json.dumps({"to": f"+{BEN}", **content}), content_type="application/json")
    form.add_field("file", data, content_type=media_type, filename=name)
    async with beacon.http.post("/api/v1/messages", data=form) as response:
        assert response.status == 202, await response.text()
        accepted: str = (await response.json())["id"]
        return accepted


async def test_files_posted_arrive_whole_and_each_is_confirmed(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    async with Simulator(tmp_path / "tls") as simulator:
        world = World(simulator, tmp_path / "sessions")
        ben = await world.online(BEN)
        await world.leave(ben)
        async with (
            reading(simulator, ben.session) as reader,
            beacon(tmp_path / "beacon", "demo", "--external", env=simulator.environment()) as service,
        ):
            shown = await service.until("/api/v1/session", lambda it: it["qr"] is not None)
            await simulator.scan(shown["qr"]["text"], BEACON)
            await service.until("/api/v1/session", lambda it: it["state"] == "connected")

            for content, data, media_type, name in (
                ({"type": "image", "caption": "the harbour"}, JPEG, "image/jpeg", "harbour.jpg"),
                ({"type": "audio", "voice": True}, OPUS, "audio/ogg; codecs=opus", "voice.ogg"),
                ({"type": "document"}, PDF, "application/pdf", "tides.pdf"),
            ):
                posted = await post(service, content, data, media_type, name)
                got = await reader.next()
                assert got.downloaded == hashlib.sha256(data).hexdigest()
                await service.until(f"/api/v1/messages/{posted}", lambda it: it["state"] in DELIVERED)
