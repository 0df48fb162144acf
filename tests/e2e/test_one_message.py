"""One message, followed: its traces, the exemplars that lead to them, and the log lines beside."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from service.demo.people import Contact, contact
from service.simulator.server import Simulator
from tests.e2e.process import DEADLINE_S, Beacon, beacon
from tests.otlp import OtlpReceiver, Span
from tests.people import ANN, BEACON
from tests.prometheus import Prometheus, Target

pytestmark = pytest.mark.timeout(240)

CALLER: Final = {"trace": "0af7651916cd43dd8448eb211c80319c", "span": "b7ad6b7169203331"}
"""Whoever hands the message in has a trace of their own."""

POLL_S: Final = 0.1
OUTBOX: Final = {"messaging.system": "whatsapp", "messaging.destination.name": "outbox"}


@dataclass
class Watched:
    """The service, paired and connected, and everything that watches it."""

    beacon: Beacon
    simulator: Simulator
    receiver: OtlpReceiver
    prometheus: Prometheus
    ann: Contact

    async def send(self, text: str) -> str:
        """Hand a message to Ann in, as part of the caller's trace; its id."""
        headers = {"traceparent": f"00-{CALLER['trace']}-{CALLER['span']}-01"}
        body = {"to": ANN, "text": text}
        async with self.beacon.http.post("/api/v1/messages", json=body, headers=headers) as response:
            assert response.status == 202
            return str((await response.json())["id"])

    async def reaches(self, message: str, state: str) -> None:
        await self.beacon.until(f"/api/v1/messages/{message}", lambda it: it["state"] == state)

    async def span(self, name: str, **attributes: Any) -> Span:
        """The one span of that name with these attributes."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}

        def found(receiver: OtlpReceiver) -> list[Span]:
            return [span for span in receiver.named(name) if span.attributes.items() >= wanted.items()]

        await self.receiver.until(lambda receiver: bool(found(receiver)))
        (span,) = found(self.receiver)
        return span

    async def line(self, **fields: Any) -> dict[str, Any]:
        """The one log line that has these fields, waited for."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.lines(**fields):
                await asyncio.sleep(POLL_S)
        (line,) = self.lines(**fields)
        return line

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """Log lines that have these fields, so far."""
        whole = self.beacon.stderr.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line.items() >= fields.items()]

    async def leads_to(self, histogram: str) -> set[str]:
        """The traces that the exemplars of a histogram lead to, once there are any."""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := await self.prometheus.exemplars(histogram)):
                await asyncio.sleep(POLL_S)
        return {exemplar.labels["trace_id"] for exemplar in found}


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    async with (
        Simulator(folder) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=folder, heard=lambda: None) as ann,
        OtlpReceiver() as receiver,
        beacon(
            folder / "beacon",
            *("demo", "--external"),
            env={
                **simulator.environment(),
                "LOG_FORMAT": "json",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            },
        ) as running,
        Prometheus(
            {"beacon": [Target(running.address)]}, scrape_interval_s=0.5, flags=["--log.level=warn"]
        ) as prometheus,
    ):
        shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        await simulator.scan(shown["qr"]["text"], BEACON)
        await running.until("/api/v1/session", lambda it: it["state"] == "connected")
        yield Watched(running, simulator, receiver, prometheus, ann)


async def test_one_message_is_followed_from_acceptance_to_delivery(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.simulator.faults.delay(1.0, ANN)  # so that her receipt does not overtake the acknowledgement
        message = await world.send("Parcel is here")
        await world.reaches(message, "delivered")

        post = await world.span("POST /api/v1/messages")
        publish = await world.span("publish outbox")
        process = await world.span("process outbox", messaging_message_id=message)
        send = await world.span("send direct", messaging_message_id=message)
        settle = await world.span("settle outbox", messaging_message_id=message)

        assert post.kind == "SERVER"
        assert (post.trace_id, post.parent_id) == (CALLER["trace"], CALLER["span"])
        assert post.attributes == {
            "http.request.method": "POST",
            "http.route": "/api/v1/messages",
            "http.response.status_code": 202,
            "url.scheme": "http",
        }
        assert publish.kind == "PRODUCER"
        assert (publish.trace_id, publish.parent_id) == (post.trace_id, post.span_id)
        assert publish.attributes == {
            **OUTBOX,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "create",
            "messaging.message.id": message,
        }
        assert (process.kind, process.parent_id) == ("CONSUMER", None)
        assert process.attributes == {
            **OUTBOX,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": message,
        }
        assert send.kind == "CLIENT"
        assert (send.trace_id, send.parent_id) == (process.trace_id, process.span_id)
        assert send.attributes == {
            "messaging.system": "whatsapp",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.template": "direct",
            "messaging.message.id": message,
        }
        assert (settle.kind, settle.parent_id) == ("CLIENT", None)
        assert settle.attributes == {
            **OUTBOX,
            "messaging.operation.name": "settle",
            "messaging.operation.type": "settle",
            "messaging.message.id": message,
            "whatsapp.receipt": "inactive",  # Ann's device has it, and shows another program
        }
        for linked in (process, settle):
            (link,) = linked.links
            assert (link.trace_id, link.span_id) == (publish.trace_id, publish.span_id)
            assert link.attributes == {"messaging.message.id": message}
        assert publish.start <= process.start <= send.start <= settle.start
        assert not any(span.error for span in (post, publish, process, send, settle))
        assert settle.resource["service.name"] == "beacon"
        assert settle.resource["deployment.environment.name"] == "test"

        # exemplars lead there
        posts = 'whatsapp_http_request_duration_seconds_bucket{method="POST",route="/api/v1/messages"}'
        sends = 'whatsapp_engine_command_seconds_bucket{command="send"}'
        kept = 'whatsapp_queue_store_seconds_bucket{operation="enqueue"}'
        assert await world.leads_to(posts) == {post.trace_id}
        assert await world.leads_to(kept) == {post.trace_id}
        for histogram in ("wait", "send", "sent"):
            assert await world.leads_to(f"whatsapp_queue_{histogram}_seconds_bucket") == {process.trace_id}
        assert await world.leads_to(sends) == {process.trace_id}
        assert await world.leads_to("whatsapp_queue_delivery_seconds_bucket") == {settle.trace_id}

        # and the log says the same
        accepted = await world.line(event="queue.accepted")
        assert (accepted["trace_id"], accepted["span_id"]) == (post.trace_id, post.span_id)
        sent = await world.line(event="message.sent", message=message)
        assert (sent["trace_id"], sent["span_id"]) == (process.trace_id, process.span_id)
        delivered = await world.line(event="message.delivered", message=message)
        assert (delivered["trace_id"], delivered["span_id"]) == (settle.trace_id, settle.span_id)
        assert all(line["trace_id"] for line in world.lines(message=message))


async def test_a_refused_message_and_a_lost_engine_are_seen_as_errors_and_the_stop_to_its_end(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as world:
        world.simulator.faults.nack(400, BEACON)
        message = await world.send("Parcel is lost")
        await world.reaches(message, "dead")
        process = await world.span("process outbox", messaging_message_id=message)
        send = await world.span("send direct", messaging_message_id=message)
        for span in (process, send):
            assert (span.error, span.attributes["error.type"]) == (True, "rejected")
        written = await world.line(event="engine.output", source="engine.sends")
        assert (written["trace_id"], written["span_id"]) == (send.trace_id, send.span_id)

        (engine,) = psutil.Process(world.beacon.process.pid).children()
        before = len(world.receiver.named("reconnect attempt"))  # pairing ends with a login, too
        engine.kill()
        await world.receiver.until(lambda receiver: len(receiver.named("reconnect attempt")) > before)
        retry = world.receiver.named("reconnect attempt")[-1]
        assert retry.attributes["whatsapp.outcome"] == "connected"
        connects = [span for span in world.receiver.named("connect") if span.trace_id == retry.trace_id]
        assert [(span.kind, span.parent_id) for span in connects] == [("CLIENT", retry.span_id)]
        assert "engine started" in connects[0].events
        assert await world.leads_to("whatsapp_connection_outage_seconds_bucket") == {retry.trace_id}

        assert await world.beacon.end(signal.SIGTERM) == 0
        last = [
            span
            for span in world.receiver.named("backup")
            if span.attributes["whatsapp.backup.cause"] == "stop"
        ]
        assert len(last) == 1, "what a stop does is exported before it ends"
