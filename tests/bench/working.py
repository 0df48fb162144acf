"""Claims and completions per second on PostgreSQL: this queue beside pgqueuer and procrastinate.

Same server, same number of messages, one process each, run in turn, each in a new database that was vacuumed,
all three on uvloop, as the service runs.
A message counts once what is known of it is on disk: taken, done, and the row that says so.

The others do nothing but that: no order within a chat, no expiry, no receipts, which this queue has. They
have the settings that they document, and the best of those that were tried on two cores:
- pgqueuer: asyncpg, a connection for each manager, `autovac`, durable tables. Its own benchmark
  (tools/benchmark.py) runs 5 managers with batches of 10: 4,900 jobs a second where 1 with 100 made 11,100,
  5 with 100 11,800, and 2 with 250 12,400.
- procrastinate: psycopg's accelerated build. Concurrency 10 made 590 jobs a second, 1 380 and 30 340.

How fast a queue is depends most on how many messages are at work at a time, because those share statements
and commits. So each of them is compared to this queue with as many.

What this queue does more was measured at the server, with 500 at work on a quiet machine. Of about 88
microseconds a message 47 write its row twice, in a table with the indexes that lists, receipts and retention
need (pgqueuer: 34 and 15), and 26 find the first messages of the chats and say which are the first afterwards
(pgqueuer: nothing). This program takes as long again, and with one connection that writes it and the server
take turns for the most part, where the managers of pgqueuer work beside each other. In CPU time a message
takes 60 here and 60 at the server, with pgqueuer 60 and 42.

With 50 at work it is ahead of pgqueuer on a quiet machine (1.1), whose small batches cost the server 180
microseconds, this queue's 105, on a busy one. With 500 it is behind: 0.7, of 12,500 a second. Tried against
that and left out: a second connection that commits completions beside the claims. It made 8,600 and 8,800 a
second where one made 8,200, 8,800 and 9,500; the claims are a chain of their own, 42 of the 68 microseconds
that the two then took at the server. No single index, nor all checks together, cost more than a few of the 36
that both updates of the row take. A claim that leaves this row alone was not tried.

While other programs keep all cores busy a ratio says little: between rounds it went from 0.3 to 2.2.
"""

from typing import Any, Final

from tests.bench.child import Child
from tests.bench.figures import ratio, whole
from tests.bench.stores import Places

CONTENDERS: Final = {
    "beacon_10": "beacon 10",
    "beacon_50": "beacon 50",
    "beacon_500": "beacon 500",
    "procrastinate_10": "procrastinate 10",
    "pgqueuer_50": "pgqueuer 5 10",
    "pgqueuer_500": "pgqueuer 2 250",
}

MEANING: Final = {
    "per_second": "messages claimed and completed, each round, by queue and how many are at work at a time",
    "beacon_to_...": "median over the rounds of beacon's rate to theirs, as many at work; goal: above 1",
}


async def measure(places: Places, *, messages: int, rounds: int) -> dict[str, Any]:
    """All figures of this benchmark, by name."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, arguments in CONTENDERS.items():
            place = await places.new("postgres")
            async with Child("tests.bench.worker", place.where, *arguments.split()) as child:
                rates[name].append(messages / await child.ask(messages=messages))
    return {
        "meaning": MEANING,
        "messages": messages,
        "per_second": {name: whole(measured) for name, measured in rates.items()},
        **{
            f"beacon_to_{name}": ratio(rates[_ours(name)], rates[name])
            for name in rates
            if name != _ours(name)
        },
    }


def _ours(name: str) -> str:
    return f"beacon_{name.rpartition('_')[2]}"
