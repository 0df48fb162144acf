"""What every queue store promises of many at once: it is as if it had been done one by one."""

import asyncio
from random import Random
from typing import Protocol

import pytest

from service.queue import transitions
from service.queue.model import Claim, NewMessage, Query, Receipted, SendResult, State
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.support import SETTLINGS, WORKER, claimed, keep, settle, to
from tests.people import ANN, BEN, CLEO
from tests.unit.queue.messages import text_of


def some_messages(rng: Random, *, now: float) -> list[NewMessage]:
    """To a few chats: some to be sent later, some that expire soon."""
    chats = [str(15550000000 + i) for i in range(rng.randint(1, 9))]
    priorities = rng.choice([(5,), (4, 5, 6), range(10)])
    return [
        to(
            rng.choice(chats),
            str(i),
            priority=rng.choice(priorities),
            not_before=rng.choice([None, None, None, now + 2, now + 50]),
            expires_at=rng.choice([now + 1, *[now + 100] * 5]),
        )
        for i in range(40)
    ]


class Claiming(Protocol):
    """A way to get many claims."""

    async def __call__(self, store: QueueStore, claims: int, *, fair: bool, now: float) -> list[Claim]: ...


async def one_by_one(store: QueueStore, claims: int, *, fair: bool, now: float) -> list[Claim]:
    """As many as there are, in calls of their own."""
    taken = []
    for _ in range(claims):
        taken += await store.claim(worker=WORKER, now=now, fair=fair)
    return taken


async def in_one_call(store: QueueStore, claims: int, *, fair: bool, now: float) -> list[Claim]:
    """As many as there are, by `limit`."""
    return await store.claim(worker=WORKER, now=now, limit=claims, fair=fair)


async def in_one_turn(store: QueueStore, claims: int, *, fair: bool, now: float) -> list[Claim]:
    """As many as there are, in calls that share a commit, some of them for two."""
    limits = [2] * (claims // 3) + [1] * (claims - 2 * (claims // 3))
    taken = await asyncio.gather(
        *(store.claim(worker=WORKER, now=now, limit=limit, fair=fair) for limit in limits)
    )
    return [claim for claims in taken for claim in claims]


@pytest.mark.parametrize("at_once", [in_one_call, in_one_turn])
@pytest.mark.parametrize("seed", range(8))
async def test_many_claims_at_once_are_those_that_one_by_one_would_have_got(
    twins: tuple[QueueStore, QueueStore], clock: FakeClock, seed: int, at_once: Claiming
) -> None:
    rng = Random(seed)
    new = some_messages(rng, now=clock.now())
    for store in twins:
        await keep(store, *new, now=clock.now())
    texts: tuple[dict[int | None, str], ...] = ({None: "nothing"}, {None: "nothing"})
    sending: list[tuple[Claim, Claim]] = []
    for claims in (3, 1, 8, 2, 5, 5, 30):
        clock.advance(1)
        now, fair = clock.now(), rng.random() < 0.3
        ours = await at_once(twins[0], claims, fair=fair, now=now)
        theirs = await one_by_one(twins[1], claims, fair=fair, now=now)
        assert told(ours, texts[0]) == told(theirs, texts[1])
        sending += zip(ours, theirs, strict=True)
        for pair in rng.sample(sending, len(sending) // 2):
            how = rng.choice(SETTLINGS)
            for store, claim in zip(twins, pair, strict=True):
                await settle(store, claim, how, now=now)
            sending.remove(pair)
    assert twins[0].counts() == twins[1].counts()


def told(claims: list[Claim], texts: dict[int | None, str]) -> list[tuple[str, str]]:
    """What was claimed, and behind what. The later a claim, the greater its token."""
    tokens = [claim.token for claim in claims]
    assert tokens == sorted(tokens)
    texts |= {claim.token: text_of(claim.message) for claim in claims}
    return [(text_of(claim.message), texts[claim.behind]) for claim in claims]


async def test_a_retry_is_behind_nothing_and_who_comes_after_it_is_behind_who_was_in_flight(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, *(to(ANN, str(i)) for i in range(1, 4)), now=clock.now())
    first, second = await store.claim(worker=WORKER, now=clock.now(), limit=2)
    assert second.behind == first.token
    await store.fail(first, result=SendResult.RETRYABLE, error="e", retry_at=clock.now(), now=clock.now())
    again, third = await store.claim(worker=WORKER, now=clock.now(), limit=3)
    assert (text_of(again.message), again.behind) == ("1", None)
    assert (text_of(third.message), third.behind) == ("3", second.token)


async def test_what_is_claimed_and_sent_and_received_is_what_the_transitions_make_of_each(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, *(to(name) for name in (ANN, BEN, CLEO)), now=clock.now())
    for _ in range(3):
        claim = await claimed(store, now=clock.now())
        await store.fail(claim, result=SendResult.RETRYABLE, error="e", retry_at=clock.now(), now=clock.now())
    before = {message.id: message for message in (await store.find(Query())).messages}
    clock.advance(1)

    claims = await store.claim(worker=WORKER, now=clock.now(), limit=3)
    for claim in claims:
        assert claim.message == transitions.claimed(
            before[claim.message.id], token=claim.token, worker=WORKER, now=clock.now()
        )
        assert claim.message == await store.get(claim.message.id)
    clock.advance(1)

    sent = await asyncio.gather(
        *(store.complete(claim, whatsapp_id=claim.message.id, now=clock.now()) for claim in claims)
    )
    for claim, message in zip(claims, sent, strict=True):
        assert message == await store.get(claim.message.id)
        assert message == transitions.completed(
            claim.message, whatsapp_id=claim.message.id, receipt=None, now=clock.now()
        )
    clock.advance(1)

    for state in (State.DELIVERED, State.READ):
        ids = [message.id for message in sent]
        received = await store.receive(ids, state=state, at=clock.now() - 1, now=clock.now())
        expected = []
        for message in sent:
            after = transitions.received(message, state, at=clock.now() - 1, now=clock.now())
            assert after is not None
            expected.append(Receipted(after, message.state))
            assert after == await store.get(message.id)
        assert received == expected
        sent = [receipted.message for receipted in received]
