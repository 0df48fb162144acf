"""Nobody who took part in a run, and nothing that they said, is in what the run can be watched by."""

import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import psutil
import pytest
from aiohttp import FormData
from prometheus_client.parser import text_string_to_metric_families

from service.demo.people import Contact, contact
from service.remote import ENDED
from service.simulator.accounts import lid_user
from service.simulator.server import Simulator
from tests.component.web.files import JPEG, PDF
from tests.e2e.process import Beacon, beacon
from tests.otlp import OtlpReceiver
from tests.people import ANN, BEACON, BEN, CLEO

pytestmark = pytest.mark.timeout(300)

NOT_ON_WHATSAPP: Final = "12025550199"

PUSH_NAME: Final = "Annabella Quill"
GROUP: Final = "Choir of Saint Bride"

NUMBERS: Final = (ANN, BEN, CLEO, BEACON, NOT_ON_WHATSAPP)
WORDS: Final = (
    *PUSH_NAME.split(),
    *GROUP.split()[-2:],
    *("parcel", "marzipan", "harbour", "tides", "lighthouse", "pilchard", "quince", "damson", "medlar"),
    *("!double", "gooseberry", "whortleberry", "rhubarb"),
)
"""Each is said by somebody in the run, or is the name of something."""

PLUGIN: Final = '''
"""A plugin that fails, and quotes what it was asked."""

from service.bot.router import Context, Router


def register(router: Router) -> None:
    @router.command("double", help="twice the number")
    async def double(context: Context) -> None:
        raise ValueError(f"{context.sender} wrote {context.text}")
'''


@dataclass
class Run:
    """A service and its people, and what could be seen of them so far, by where."""

    folder: Path
    simulator: Simulator
    receiver: OtlpReceiver
    ann: Contact
    groups: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Beacon]:
        """The service for one life, with everything on."""
        async with beacon(
            self.folder / "beacon",
            *("demo", "--external"),
            env={
                **self.simulator.environment(),
                "LOG_FORMAT": "json",
                "LOG_LEVEL": "debug",
                "PYTHONPATH": str(self.folder),
                "BOT_PLUGINS": "failing",
                "BOT_ADMINS": BEN,
                "ALERT_CHATS": ANN,
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.url,
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            },
        ) as running:
            yield running

    async def look(self, service: Beacon) -> None:
        """See what the service shows to anybody."""
        for path in ("/metrics", "/healthz", "/readyz", "/livez"):
            for accept in ("text/plain", "application/openmetrics-text;version=1.0.0"):
                async with service.http.get(path, headers={"Accept": accept}) as response:
                    self.seen[f"{path} {accept}"] = await response.text()

    def look_back(self, service: Beacon) -> None:
        """See what was written and what was exported, once the service has ended."""
        self.seen["stderr"] = service.stderr.read_text()
        self.seen["stdout"] = service.stdout.read_text()
        self.seen["spans"] = "\n".join(map(str, self.receiver.traces))
        self.seen["pushed metrics"] = "\n".join(map(str, self.receiver.metrics))

    def betrayed(self) -> list[tuple[str, str]]:
        """Who or what can be seen, and where."""
        people = [*NUMBERS, *map(lid_user, NUMBERS), *(group.split("@")[0] for group in self.groups)]
        told = [(rf"(?<!\d){number}", number) for number in people]
        told += [(rf"(?i)\b{re.escape(word)}\b".replace(r"\b\!", "!"), word) for word in WORDS]
        told.append((r"\d{5,}(?::\d+)?@(?:s\.whatsapp\.net|lid|g\.us)", "a JID"))
        return [
            (word, where)
            for pattern, word in told
            for where, text in self.seen.items()
            if re.search(pattern, text)
        ]


@asynccontextmanager
async def run(folder: Path) -> AsyncIterator[Run]:
    (folder / "failing.py").write_text(PLUGIN)
    async with (
        Simulator(folder) as simulator,
        OtlpReceiver() as receiver,
        contact("Ann", ANN, simulator=simulator, folder=folder, heard=lambda: None) as ann,
        contact("Ben", BEN, simulator=simulator, folder=folder, heard=lambda: None),
    ):
        simulator.register(ANN).push_name = PUSH_NAME
        yield Run(folder, simulator, receiver, ann)


async def post(service: Beacon, to: str, **message: Any) -> str:
    """The id of a message handed in."""
    headers = {"Idempotency-Key": f"gooseberry-{to}-{len(message)}-{token_hex(4)}"}
    async with service.http.post("/api/v1/messages", json={"to": to, **message}, headers=headers) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["id"])


async def upload(service: Beacon, data: bytes, media_type: str, name: str, **message: Any) -> str:
    """The id of a message handed in with a file."""
    form = FormData()
    form.add_field("message", json.dumps({"to": ANN, **message}), content_type="application/json")
    form.add_field("file", data, content_type=media_type, filename=name)
    async with service.http.post("/api/v1/messages", data=form) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["id"])


async def series(service: Beacon) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Every series of ours that /metrics has, but for the facts that a running engine adds."""
    async with service.http.get("/metrics") as response:
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("whatsapp_") and sample.name != "whatsapp_engine_info"
    }


async def connected(service: Beacon) -> None:
    await service.until("/api/v1/session", lambda it: it["state"] == "connected")


async def lively(run: Run, service: Beacon) -> None:
    """Every kind of message, commands, mistakes of callers, and faults."""
    group = run.simulator.create_group(GROUP, ANN, BEN, BEACON)
    run.groups.append(group)
    ids = [
        await post(service, ANN, text="your parcel with marzipan"),
        await post(service, f"{lid_user(BEN)}@lid", text="lighthouse"),
        await post(service, group, text="pilchard for all"),
        await post(service, ANN, type="location", latitude=52.5, longitude=13.4, name="lighthouse"),
        await post(service, ANN, type="contact", name="Cleo damson", phone=CLEO),
        await post(service, ANN, type="poll", question="quince?", options=["damson", "medlar"]),
        await upload(service, JPEG, "image/jpeg", "harbour.jpg", type="image", caption="the harbour"),
        await upload(service, PDF, "application/pdf", "tides.pdf", type="document"),
    ]
    for text in ("!ping", "!double rhubarb", "!whortleberry", "rhubarb"):
        await run.ann.send(BEACON, text)
    for wrong in ({"to": f"{ANN}x", "text": "quince"}, {"to": ANN, "txt": "quince"}, {"to": ANN, "text": ""}):
        status, _ = await service.post("/api/v1/messages", wrong)
        assert status in {400, 422}
    for path in (f"/api/v1/messages/{ANN}", f"/api/v1/messages?to={ANN}", f"/{ANN}/marzipan", f"/api/{BEN}"):
        async with service.http.get(path, headers={"Cookie": f"who={ANN}"}) as response:
            await response.read()
    alert = {"labels": {"alertname": "rhubarb", "who": ANN}, "annotations": {"summary": "medlar"}}
    await service.post(
        "/api/v1/alerts",
        {
            "version": "4",
            "groupKey": f"{{}}:{{who={ANN}}}",
            "status": "firing",
            "receiver": "gooseberry",
            "groupLabels": {"who": ANN},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": f"http://localhost/{ANN}",
            "alerts": [{**alert, "status": "firing", "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "a"}],
        },
    )
    for message_id in ids:
        await service.until(f"/api/v1/messages/{message_id}", lambda it: it["state"] in ENDED)

    run.simulator.faults.nack(463, BEACON)
    run.simulator.faults.nack(500, BEACON)
    refused = [await post(service, BEN, text="marzipan"), await post(service, NOT_ON_WHATSAPP, text="medlar")]
    for message_id in refused:
        await service.until(f"/api/v1/messages/{message_id}", lambda it: it["attempts"] > 0)
    run.simulator.faults.heal()
    (engine,) = psutil.Process(service.process.pid).children()
    engine.send_signal(signal.SIGSEGV)
    await service.until("/api/v1/session", lambda it: it["state"] != "connected")
    await connected(service)
    run.simulator.faults.cut(BEACON)
    await post(service, ANN, text="parcel")


async def test_nobody_and_nothing_said_is_in_metrics_spans_lines_or_health(tmp_path: Path) -> None:
    async with run(tmp_path) as world:
        async with world.service() as service:
            at_first = await series(service)
            shown = await service.until("/api/v1/session", lambda it: it["qr"] is not None)
            await world.look(service)
            await world.simulator.scan(shown["qr"]["text"], BEACON)
            await connected(service)
            await lively(world, service)
            await connected(service)
            await world.look(service)
            assert await series(service) == at_first, "every series exists from the start"
            assert await service.end(signal.SIGTERM) == 0
        session = tmp_path / "beacon" / "data" / "session.db"
        with closing(sqlite3.connect(session)) as database:
            names = database.execute("SELECT push_name FROM whatsmeow_contacts").fetchall()
        assert (PUSH_NAME,) in names, "WhatsApp told who writes"
        session.unlink()
        async with world.service() as service:  # its session is brought back
            await connected(service)
            await post(service, ANN, text="marzipan")
            await world.look(service)
            assert await service.end(signal.SIGTERM) == 0
            world.look_back(service)

        told = {span.name for span in world.receiver.spans}
        assert {"publish outbox", "send direct", "send group", "process inbound", "connect"} <= told
        assert {"backup", "restore", "reconnect attempt"} <= told
        written = world.seen["stderr"]
        for event in ("engine.output", "command.failed", "message.failed", "engine.ended", "message.sent"):
            assert f'"{event}"' in written
        assert all(world.seen.values())
        assert world.betrayed() == []
