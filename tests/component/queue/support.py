"""What the queue's tests say often."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.content import Text
from service.queue.metrics import QueueMetrics
from service.queue.model import Claim, Message, NewMessage, OnUnknown, SendResult
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore

WORKER: Final = "worker"

BROKEN_RULES: Final = (
    "state = 'lost'",
    "state = 'sending'",
    "state = 'sent'",
    "state = 'delivered'",
    "state = 'dead'",
    "finished_at = 1.0",
    "delivered_at = 1.0",
    "sent_at = 1.0",
    "worker = 'w'",
    "claim_token = 1",
    "priority = 10",
    "attempts = -1",
    "max_attempts = 0",
    "on_unknown = 'shrug'",
)
"""Changes of a message that was just accepted, in SQL, which every schema has to refuse."""

DEADLINE_S: Final = 60.0
SETTLINGS: Final = ("complete", "release", "postpone", "fail", "mark_unknown")


def to(
    phone: str,
    text: str = "hello",
    *,
    priority: int = 5,
    not_before: float | None = None,
    expires_at: float | None = None,
    max_attempts: int = 10,
    on_unknown: OnUnknown = OnUnknown.RESEND,
    idempotency_key: str | None = None,
) -> NewMessage:
    """A message to a person of the tests."""
    return NewMessage(
        chat=f"{phone}@s.whatsapp.net",
        content=Text(text=text),
        priority=priority,
        not_before=not_before,
        expires_at=expires_at,
        max_attempts=max_attempts,
        on_unknown=on_unknown,
        idempotency_key=idempotency_key,
    )


async def keep(store: QueueStore, *messages: NewMessage, now: float) -> list[Message]:
    """Enqueue; the kept messages."""
    return [answer.message for answer in await store.enqueue(messages, now=now)]


async def claimed(store: QueueStore, *, now: float, worker: str = WORKER) -> Claim:
    """Claim one; there must be something."""
    claim = await claimed_or_none(store, now=now, worker=worker)
    assert claim is not None, "nothing could be claimed"
    return claim


async def claimed_or_none(
    store: QueueStore, *, now: float, worker: str = WORKER, fair: bool = False
) -> Claim | None:
    """Claim one, if there is something."""
    claims = await store.claim(worker=worker, now=now, fair=fair)
    return claims[0] if claims else None


async def settle(store: QueueStore, claim: Claim, how: str, *, now: float) -> Message:
    """Settle a claim in one of the `SETTLINGS`."""
    match how:
        case "complete":
            return await store.complete(claim, whatsapp_id="w-settled", now=now)
        case "release":
            return await store.release(claim, now=now)
        case "postpone":
            return await store.postpone(claim, until=now, now=now)
        case "fail":
            return await store.fail(claim, result=SendResult.RETRYABLE, error="e", retry_at=now, now=now)
        case "mark_unknown":
            return await store.mark_unknown(claim, whatsapp_id="w-settled", error="e", now=now)
    raise AssertionError(how)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the event loop turn until the condition holds."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE_S:g} s in vain: {what}") from None


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """A sample of the registry; the account is understood."""
    found = registry.get_sample_value(name, {"account": "default", **labels})
    assert found is not None, f"no sample {name} {labels}"
    return found


def sqlite_store(path: Path, registry: CollectorRegistry | None = None) -> SqliteStore:
    """A store that is not open, on the system's clock."""
    metrics = QueueMetrics(registry or CollectorRegistry(), "default")
    return SqliteStore(path, account="default", metrics=metrics, clock=SystemClock())
