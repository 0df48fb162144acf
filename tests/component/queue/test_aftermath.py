"""What a service learned of its sends before it was killed, its next life knows."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from service.engine.notebook import Acknowledged, Notebook
from service.engine.protocol import Receipt, ReceiptKind
from service.errors import StoreUnavailable
from service.queue.aftermath import Aftermath
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.support import claimed, keep, to, value
from tests.people import ANN, BEN

RESCUED = "whatsapp_queue_rescued_total"


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "session.db")


@pytest.fixture
def aftermath(store: QueueStore, notebook: Notebook, clock: FakeClock, metrics: QueueMetrics) -> Aftermath:
    return Aftermath(store=store, notebook=notebook, clock=clock, metrics=metrics)


def receipt(*ids: str, kind: ReceiptKind = ReceiptKind.DELIVERED) -> Receipt:
    chat = f"{ANN}@s.whatsapp.net"
    return Receipt(message_ids=ids, receipt=kind, chat=chat, sender=chat, from_me=False, timestamp=1001.0)


async def state_of(store: QueueStore, message_id: str) -> State:
    message = await store.get(message_id)
    assert message is not None
    return message.state


async def test_what_whatsapp_acknowledged_is_sent_and_not_sent_again(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock, registry: CollectorRegistry
) -> None:
    await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    claim = await claimed(store, now=clock.now(), worker="the one before")
    notebook.write(Acknowledged(secret=claim.message.secret, message_id="3EB01", timestamp=1000.0))

    await aftermath.settle()

    message = await store.get(claim.message.id)
    assert message is not None
    assert (message.state, message.whatsapp_id) == (State.SENT, "3EB01")
    assert await store.orphans(worker="the next one") == []
    assert value(registry, RESCUED, outcome="sent") == 1
    assert (await claimed(store, now=clock.now())).message.content == to(ANN, "2").content


async def test_what_was_also_received_is_delivered(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    notebook.write(Acknowledged(secret=claim.message.secret, message_id="3EB01", timestamp=1000.0))
    notebook.write(receipt("3EB01"))

    await aftermath.settle()

    assert await state_of(store, claim.message.id) is State.DELIVERED


async def test_a_receipt_that_nobody_wrote_down_still_counts(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    await keep(store, to(ANN), to(BEN), now=clock.now())
    sent, unknown = [await claimed(store, now=clock.now()) for _ in range(2)]
    await store.complete(sent, whatsapp_id="3EB01", now=clock.now())
    await store.mark_unknown(unknown, whatsapp_id="3EB02", error="engine: it ended", now=clock.now())
    notebook.write(receipt("3EB01", "3EB02", kind=ReceiptKind.READ))

    await aftermath.settle()

    assert await state_of(store, sent.message.id) is State.READ
    assert await state_of(store, unknown.message.id) is State.READ


async def test_what_nobody_could_send_again_before_the_end_is_sent_again(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    await keep(store, to(ANN, "1"), to(BEN, "2"), now=clock.now())
    unread, read_since = [await claimed(store, now=clock.now()) for _ in range(2)]
    await store.complete(unread, whatsapp_id="3EB01", now=clock.now())
    await store.complete(read_since, whatsapp_id="3EB02", now=clock.now())
    notebook.write(receipt("3EB01", kind=ReceiptKind.RETRY))
    notebook.write(receipt("3EB02", kind=ReceiptKind.RETRY))
    notebook.write(receipt("3EB02"))

    await aftermath.settle()

    assert await state_of(store, unread.message.id) is State.QUEUED
    assert await state_of(store, read_since.message.id) is State.DELIVERED


async def test_what_whatsmeow_sent_again_is_not_sent_again(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.complete(claim, whatsapp_id="3EB01", now=clock.now())
    notebook.write(replace(receipt("3EB01", kind=ReceiptKind.RETRY), resent_by_engine=True))

    await aftermath.settle()

    assert await state_of(store, claim.message.id) is State.SENT


async def test_a_send_without_a_note_is_left_to_those_who_look_it_up(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    notebook.write(Acknowledged(secret=bytes(32), message_id="3EB01", timestamp=1000.0))
    notebook.write(receipt("3EB01", kind=ReceiptKind.RETRY))

    await aftermath.settle()

    assert await state_of(store, claim.message.id) is State.SENDING
    assert [orphan.token for orphan in await store.orphans(worker="the next one")] == [claim.token]


async def test_notes_are_read_once(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, clock: FakeClock
) -> None:
    notebook.write(receipt("3EB01"))
    await aftermath.settle()
    assert notebook.read() == []


async def test_notes_are_kept_as_long_as_the_store_is_away(
    store: QueueStore, aftermath: Aftermath, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(**_: object) -> None:
        raise StoreUnavailable("the database is gone")

    monkeypatch.setattr(store, "orphans", away)
    notebook.write(receipt("3EB01"))
    await aftermath.settle()
    assert notebook.read() == [receipt("3EB01")]
