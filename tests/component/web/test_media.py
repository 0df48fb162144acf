"""Messages with files: uploaded in the same request, or named by a URL."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import FormData, MultipartWriter

from service.engine.content import Audio, Document, Image, Media, Sticker, Video
from service.errors import InvalidInput, StoreUnavailable
from service.queue.media import media_type_of
from service.web.limits import FETCHES
from tests.component.web.conftest import Beacon, Start
from tests.component.web.files import JPEG, MP4, OPUS, PDF, PNG, VORBIS, WEBP, file, serving
from tests.people import ANN, BEN

TO = {"to": f"+{ANN}"}
MESSAGES = "/api/v1/messages"


@pytest.fixture
async def open_beacon(start: Start) -> Beacon:
    """A Beacon that may fetch from this machine, files of up to a megabyte."""
    return await start(media_private_urls=True, media_max_mb=1)


def form(
    message: object, data: bytes = JPEG, *, media_type: str = "image/jpeg", name: str = "a.jpg"
) -> FormData:
    """A message and a file, as a form sends them."""
    parts = FormData()
    parts.add_field("message", json.dumps(message), content_type="application/json")
    parts.add_field("file", io.BytesIO(data), content_type=media_type, filename=name)
    return parts


async def content_of(beacon: Beacon, message_id: str) -> Any:
    """What is kept of a message."""
    kept = await beacon.store.get(message_id)
    assert kept is not None
    return kept.content


UPLOADS: dict[str, tuple[dict[str, object], bytes, str, type[Media]]] = {
    "image": ({"type": "image", "caption": "look"}, JPEG, "image/jpeg", Image),
    "video": ({"type": "video"}, MP4, "video/mp4", Video),
    "audio": ({"type": "audio"}, VORBIS, "application/ogg", Audio),
    "voice": ({"type": "audio", "voice": True}, OPUS, "audio/ogg; codecs=opus", Audio),
    "document": ({"type": "document", "name": "bill.pdf"}, PDF, "application/pdf", Document),
    "sticker": ({"type": "sticker"}, WEBP, "application/octet-stream", Sticker),
}


@pytest.mark.parametrize(("given", "data", "media_type", "kind"), UPLOADS.values(), ids=UPLOADS)
async def test_an_uploaded_file_is_kept_with_its_message(
    beacon: Beacon, given: dict[str, object], data: bytes, media_type: str, kind: type[Media]
) -> None:
    response = await beacon.client.post(MESSAGES, data=form({**TO, **given}, data, media_type=media_type))

    answer = await response.json()
    assert response.status == 202, answer
    assert answer["type"] == given["type"]
    content = await content_of(beacon, answer["id"])
    assert type(content) is kind
    assert content.file.sha256 == hashlib.sha256(data).hexdigest()
    assert content.file.size_bytes == len(data)
    assert content.file.name == given.get("name", "a.jpg")
    assert await beacon.store.file(content.file.sha256) == data


async def test_the_parts_may_come_in_any_order(beacon: Beacon) -> None:
    with MultipartWriter("form-data") as parts:
        for name, body in (("file", PNG), ("message", json.dumps({**TO, "type": "image"}).encode())):
            parts.append(body, {"Content-Type": "application/octet-stream"}).set_content_disposition(
                "form-data", name=name
            )
        response = await beacon.client.post(MESSAGES, data=parts)

    answer = await response.json()
    assert response.status == 202, answer
    assert (await content_of(beacon, answer["id"])).file.media_type == "image/png"


async def test_an_upload_is_accepted_once_for_its_idempotency_key(beacon: Beacon) -> None:
    first, again = [
        await beacon.client.post(
            MESSAGES, data=form({**TO, "type": "image"}), headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]
    one, two = await first.json(), await again.json()
    assert (one["id"], one["created"], two["created"]) == (two["id"], True, False)


async def test_a_file_may_be_named_by_its_url(open_beacon: Beacon) -> None:
    async with serving({"/bill.pdf": file(PDF, "application/pdf")}) as at:
        answer = await open_beacon.post(**TO, type="document", url=f"{at}/bill.pdf", caption="yours")

    content = await content_of(open_beacon, answer["id"])
    assert (content.file.name, content.file.media_type, content.caption) == (
        "bill.pdf",
        "application/pdf",
        "yours",
    )
    assert await open_beacon.store.file(content.file.sha256) == PDF


async def test_a_url_that_many_messages_name_is_fetched_once(open_beacon: Beacon) -> None:
    async with serving({"/a.jpg": file(JPEG, "image/jpeg")}) as at:
        batch: list[dict[str, object]] = [
            {"to": to, "type": kind, "url": f"{at}/a.jpg"}
            for to in (ANN, BEN)
            for kind in ("image", "document")
        ]
        batch.append({"to": ANN, "text": "that was it"})
        response = await open_beacon.client.post(MESSAGES, json={"messages": batch})

    answers = (await response.json())["messages"]
    assert response.status == 202, answers
    assert [answer["type"] for answer in answers] == ["image", "document", "image", "document", "text"]
    contents = [await content_of(open_beacon, answer["id"]) for answer in answers[:4]]
    assert {content.file.sha256 for content in contents} == {hashlib.sha256(JPEG).hexdigest()}


async def test_nothing_is_fetched_for_a_message_that_is_wrong_anyway(open_beacon: Beacon) -> None:
    response = await open_beacon.client.post(
        MESSAGES, json={"to": "12", "type": "image", "url": "http://127.0.0.1:1/a.jpg"}
    )
    answer = await response.json()
    assert response.status == 422
    assert [error["field"] for error in answer["errors"]] == ["to"]


async def test_a_file_that_cannot_be_fetched_is_424_and_nothing_is_kept(open_beacon: Beacon) -> None:
    batch = [{**TO, "text": "1"}, {**TO, "type": "image", "url": "http://127.0.0.1:1/a.jpg"}]
    response = await open_beacon.client.post(MESSAGES, json={"messages": batch})

    answer = await response.json()
    assert response.status == 424
    assert answer["type"] == "urn:problem-type:beacon:not-fetched"
    assert answer["errors"][0]["field"] == "messages[1].url"
    assert "no connection" in answer["detail"]
    assert open_beacon.kept() == 0


async def test_a_url_inside_of_this_network_is_not_fetched_unless_allowed(beacon: Beacon) -> None:
    async with serving({"/a.jpg": file(JPEG, "image/jpeg")}) as at:
        response = await beacon.client.post(MESSAGES, json={**TO, "type": "image", "url": f"{at}/a.jpg"})

    answer = await response.json()
    assert response.status == 422
    assert "private network; MEDIA_PRIVATE_URLS=on" in answer["detail"]


async def test_a_fetched_file_over_the_limit_is_413(open_beacon: Beacon) -> None:
    async with serving({"/a.jpg": file(JPEG + bytes(1_000_000), "image/jpeg")}) as at:
        response = await open_beacon.client.post(MESSAGES, json={**TO, "type": "image", "url": f"{at}/a.jpg"})

    assert response.status == 413
    assert "url: is over 1000000 bytes" in (await response.json())["detail"]


async def test_a_fetched_page_is_no_picture(open_beacon: Beacon) -> None:
    async with serving({"/a.jpg": file(b"<html>", "text/html")}) as at:
        response = await open_beacon.client.post(MESSAGES, json={**TO, "type": "image", "url": f"{at}/a.jpg"})

    assert response.status == 422
    assert (
        "url: an image must be image/jpeg or image/png or image/webp, not text/html"
        in ((await response.json())["detail"])
    )


async def test_too_many_urls_in_one_request_are_refused(open_beacon: Beacon) -> None:
    batch = [{**TO, "type": "image", "url": f"http://127.0.0.1:1/{i}"} for i in range(FETCHES + 1)]
    response = await open_beacon.client.post(MESSAGES, json={"messages": batch})

    assert response.status == 422
    assert f"messages[{FETCHES}].url: is one too many" in (await response.json())["detail"]


IMAGE = {**TO, "type": "image"}
Body = Callable[[], FormData]


def parts(*named: tuple[str, bytes]) -> FormData:
    """A form of these parts."""
    made = FormData()
    for name, data in named:
        made.add_field(name, data, filename="x", content_type="image/jpeg")
    return made


WRONG_UPLOADS: dict[str, tuple[Body, int, str]] = {
    # what is sent, status, what the detail says
    "to a text": (lambda: form({**TO, "text": "x"}), 422, "file: is no part of a text"),
    "beside a URL": (lambda: form({**IMAGE, "url": "http://a.example/"}), 422, "url: must not be given toge"),
    "empty": (lambda: form(IMAGE, b""), 422, "file: must not be empty"),
    "not a picture": (lambda: form(IMAGE, PDF), 422, "file: its bytes are not image/jpeg"),
    "of another type": (lambda: form(IMAGE, PDF, media_type="application/pdf"), 422, "not application/pdf"),
    "of no type and shape": (
        lambda: form(IMAGE, PDF, media_type="application/octet-stream"),
        422,
        "not application/octet-stream",
    ),
    "of a type that is none": (
        lambda: form({**TO, "type": "document"}, PDF, media_type="papers"),
        422,
        "file: must have a media type such as",
    ),
    "a voice that is a song": (
        lambda: form({**TO, "type": "audio", "voice": True}, VORBIS, media_type="audio/ogg"),
        422,
        "must be Opus in Ogg",
    ),
    "a gif as sticker": (
        lambda: form({**TO, "type": "sticker"}, b"GIF89a", media_type="image/gif"),
        422,
        "a sticker must be image/webp",
    ),
    "a caption too long": (lambda: form({**IMAGE, "caption": "c" * 1025}), 422, "caption: has 1025"),
    "a receiver that is none": (lambda: form({**IMAGE, "to": "12"}), 422, "to: '12': these 2 digits"),
    "a message that is none": (lambda: form([]), 400, "The part message must be a JSON object"),
    "a batch": (lambda: form({"messages": [IMAGE]}), 422, "messages: a file comes with a single"),
    "no file": (lambda: parts(("message", json.dumps(IMAGE).encode())), 422, "file: is missing"),
    "no message": (lambda: parts(("file", JPEG)), 422, "message: is missing"),
    "two files": (lambda: parts(("file", JPEG), ("file", JPEG)), 422, "file: must be there once"),
    "another part": (lambda: parts(("picture", JPEG)), 422, "form: its parts must be named"),
    "too large": (lambda: form(IMAGE, JPEG + bytes(1_000_000)), 413, "file: must not be over 1000000 bytes"),
    "much too large": (lambda: form(IMAGE, bytes(6_000_000)), 413, "file: must not be over 1000000 bytes"),
}


@pytest.mark.parametrize(("body", "status", "says"), WRONG_UPLOADS.values(), ids=WRONG_UPLOADS)
async def test_a_wrong_upload_is_refused_with_the_reason(
    open_beacon: Beacon, body: Body, status: int, says: str
) -> None:
    response = await open_beacon.client.post(MESSAGES, data=body())

    answer = await response.json(content_type="application/problem+json")
    assert response.status == status, answer
    assert says in answer["detail"]
    assert open_beacon.kept() == 0


FORM = "multipart/form-data"
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
WRONG_FORMS: dict[str, tuple[bytes, str, int, str]] = {
    "no boundary": (b"", FORM, 400, "a boundary or a header is wrong"),
    "empty": (b"", f"{FORM}; boundary=b", 400, "a boundary"),
    "other boundary": (HEAD + b"\r\nx\r\n--b--\r\n", f"{FORM}; boundary=c", 400, "a boundary"),
    "long boundary": (HEAD, f"{FORM}; boundary={'b' * 71}", 400, "a boundary"),
    "cut off in a header": (HEAD, f"{FORM}; boundary=b", 400, ""),
    "cut off in a file": (HEAD + b"\r\nabc", f"{FORM}; boundary=b", 400, ""),
    "header without colon": (b"--b\r\nfile\r\n\r\nx\r\n--b--\r\n", f"{FORM}; boundary=b", 400, "a header"),
    "no name": (b"--b\r\n\r\nx\r\n--b--\r\n", f"{FORM}; boundary=b", 422, "must be named message and file"),
    "no parts": (b"--b--\r\n", f"{FORM}; boundary=b", 422, "message: is missing"),
    "nested": (
        HEAD + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n",
        f"{FORM}; boundary=b",
        422,
        "must be named",
    ),
    "base64": (
        HEAD + b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--\r\n",
        f"{FORM}; boundary=b",
        415,
        "without an encoding",
    ),
    "mixed": (HEAD + b"\r\nx\r\n--b--\r\n", "multipart/mixed; boundary=b", 415, "must be application/json"),
}


@pytest.mark.parametrize(("body", "media_type", "status", "says"), WRONG_FORMS.values(), ids=WRONG_FORMS)
async def test_a_broken_form_is_refused_with_the_reason(
    beacon: Beacon, body: bytes, media_type: str, status: int, says: str
) -> None:
    response = await beacon.client.post(MESSAGES, data=body, headers={"Content-Type": media_type})

    answer = await response.json(content_type="application/problem+json")
    assert response.status == status, answer
    assert says in answer["detail"]
    assert beacon.kept() == 0


async def test_an_upload_that_does_not_say_its_size_is_cut_off_at_the_limit(open_beacon: Beacon) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield HEAD + b"\r\n"
        for _ in range(100):
            yield bytes(65_536)

    response = await open_beacon.client.post(
        MESSAGES, data=endless(), headers={"Content-Type": f"{FORM}; boundary=b"}
    )
    assert response.status == 413


async def test_a_store_that_cannot_keep_the_file_is_503(beacon: Beacon) -> None:
    beacon.outbox.error = StoreUnavailable("locked")
    response = await beacon.client.post(MESSAGES, data=form(IMAGE))

    assert response.status == 503
    assert "locked" in (await response.json())["detail"]
    assert "Retry-After" in response.headers


async def test_many_uploads_at_a_time_are_all_kept(beacon: Beacon) -> None:
    responses = await asyncio.gather(
        *(beacon.client.post(MESSAGES, data=form(IMAGE, JPEG + bytes([i]))) for i in range(12))
    )
    assert {response.status for response in responses} == {202}
    assert beacon.kept() == 12


@pytest.mark.parametrize(
    ("data", "stated", "kind", "found"),
    [
        (JPEG, "image/jpg", Image, "image/jpeg"),
        (JPEG, None, Image, "image/jpeg"),
        (WEBP, "binary/octet-stream", Image, "image/webp"),
        (b"ID3\x04", "audio/mp3", Audio, "audio/mpeg"),
        (b"\xff\xfb\x90", None, Audio, "audio/mpeg"),
        (b"\xff\xf1\x50", None, Audio, "audio/aac"),
        (b"#!AMR\n", "audio/AMR", Audio, "audio/amr"),
        (MP4, "audio/x-m4a", Audio, "audio/mp4"),
        (MP4, "video/3gpp", Video, "video/3gpp"),
        (PDF, None, Document, "application/pdf"),
        (JPEG, "text/plain; charset=utf-8", Document, "text/plain"),
    ],
)
def test_a_media_type_is_what_is_said_or_what_it_looks_like(
    data: bytes, stated: str | None, kind: type[Media], found: str
) -> None:
    assert found == media_type_of(data, stated=stated, name="x.pdf", kind=kind, voice=False, field="file")


def test_a_document_that_nobody_knows_is_bytes() -> None:
    found = media_type_of(b"?", stated=None, name=None, kind=Document, voice=False, field="file")
    assert found == "application/octet-stream"


def test_a_picture_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="an image must be"):
        media_type_of(b"?", stated=None, name=None, kind=Image, voice=False, field="file")
