"""Messages of every kind, handed in over HTTP and delivered to a real client."""

import io
import json
from pathlib import Path

from aiohttp import FormData

from service.remote import ARRIVED, ENDED
from tests.component.web.files import JPEG, OPUS, PDF, WEBP, file, serving
from tests.e2e.process import Beacon
from tests.e2e.test_conversation import conversation
from tests.people import ANN, BEN


async def upload(beacon: Beacon, data: bytes, media_type: str, **message: object) -> str:
    """The id of a message handed in with its file."""
    form = FormData()
    form.add_field("message", json.dumps({"to": ANN, **message}), content_type="application/json")
    form.add_field("file", io.BytesIO(data), content_type=media_type, filename="file")
    async with beacon.http.post("/api/v1/messages", data=form) as response:
        answer = await response.json(content_type=None)
        assert response.status == 202, answer
        return str(answer["id"])


async def post(beacon: Beacon, **message: object) -> str:
    """The id of a message handed in."""
    status, answer = await beacon.post("/api/v1/messages", {"to": ANN, **message})
    assert status == 202, answer
    return str(answer["id"])


async def test_every_kind_of_message_arrives(tmp_path: Path) -> None:
    async with (
        serving({"/bill.pdf": file(PDF, "application/pdf")}) as at,
        conversation(tmp_path, media_private_urls="on") as talk,
    ):
        beacon = talk.beacon
        first = await post(beacon, text="Lunch?")
        known = await beacon.until(
            f"/api/v1/messages/{first}", lambda it: it["state"] in {"delivered", "read"}
        )
        ref = {"id": known["whatsapp_id"]}
        ids = {
            "reply": await post(beacon, text="Well?", reply_to={**ref, "text": "Lunch?"}),
            "reaction": await post(beacon, type="reaction", message=ref, emoji="🍜"),
            "poll": await post(beacon, type="poll", question="Where?", options=["Here", "There"]),
            "location": await post(beacon, type="location", latitude=52.5, longitude=13.4, name="Here"),
            "contact": await post(beacon, type="contact", name="Ben", phone=BEN),
            "image": await upload(beacon, JPEG, "image/jpeg", type="image", caption="This?"),
            "sticker": await upload(beacon, WEBP, "image/webp", type="sticker"),
            "voice": await upload(beacon, OPUS, "audio/ogg", type="audio", voice=True),
            "document": await post(beacon, type="document", url=f"{at}/bill.pdf"),
        }
        for kind, message_id in ids.items():
            known = await beacon.until(
                f"/api/v1/messages/{message_id}",
                lambda it: it["state"] in ENDED,
            )
            assert known["state"] in ARRIVED, (kind, known["last_error"])
        assert talk.ann.inbox[:2] == ["Lunch?", "Well?"]
