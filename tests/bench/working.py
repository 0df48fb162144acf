"""Claims and completions per second on PostgreSQL: this queue beside pgqueuer and procrastinate.

Same server, same number of messages, one process each, run in turn, each in a new database that was vacuumed,
all three on uvloop, as the service runs.
A message counts once what is known of it is on disk: taken, done, and the row that says so.

The others do nothing but that: no order within a chat, no expiry, no receipts, which this queue has. Each
has the settings that it documents, and the best of those that were tried on two cores. "At work" are messages
that are taken and not yet known to be done; none has more of them than it says:
- this queue: claims as many as are free and completes each message by itself, as the dispatcher does, in
  shares of the places, one share up to 50, two at 500 (2 of 5 made 1,200 where 1 of 10 made 1,900; 2
  of 25 3,600 where 1 of 50 made 5,500).
- pgqueuer: asyncpg, a connection for each manager, `autovac`, durable tables. A manager fetches a batch
  while the last one's outcomes are buffered, so that it has two batches at work (counted in its log): with
  10 at work it has batches of 5, with 50 of 25 (2 managers of 12 made 6,600 a second where 1 of 25 made
  7,400), with 500 two managers of 125 (11,000 where 1 of 250 made 11,600, 9,700 where it made 9,000).
- procrastinate: psycopg's accelerated build. Concurrency 10 made 590 jobs a second, 1 380 and 30 340.

How fast a queue is depends most on how many messages are at work at a time, because those share statements
and commits. So each of them is compared to this queue with as many.

On a machine that others used at times this queue was 1.4 times as fast as pgqueuer with 10 at work (2,500 a
second), 1.1 times with 50 (6,400), as fast with 500 (1.0, of 8,700); in another run 1.1, 0.8 and 1.0. In
CPU time, which depends less on the others, that other run took here and at the server, in microseconds a
message: 139 and 231 with 10, 68 and 111 with 50, 70 and 77 with 500; pgqueuer 157 and 260, 68 and 83, 69
and 83.

On two cores of their own, one for the program and one for the server, with nothing beside, it was 1.65
times as fast as pgqueuer with 10 at work (7,300 a second), 1.40 times with 20 (10,600; the service has 16,
pgqueuer 20 when nobody says otherwise), 1.04 times with 50 (14,500) and 0.77 times with 500 (19,500); in
three other runs 1.51 to 1.59, 1.26 to 1.41, 0.97 to 1.10 and 0.75 to 0.85. Before the last lines of the
list below it was 1.48, 0.81 and 0.77 with 10, 50 and 500. A message took, in microseconds of CPU time here,
at the server, and by the clock: 42, 95 and 140 with 10, 23, 52 and 72 with 50, 24, 42 and 54 with 500;
pgqueuer 55, 149 and 227, 29, 49 and 73, 29, 36 and 40. So with 10 and with 50 both sides work in turn and
their sum counts, for this queue as for the other. With 500 the one process of the server is at work nearly
all the time, where pgqueuer's two managers have two of them.

How that came, in CPU time here and at the server; machine as above, the rounds of a line took turns:
- before: a claim of its own for each message, seven statements a commit. 226 and 274 with 10 at work, 105
  and 137 with 50, 90 and 111 with 500.
- several claims are one operation, and completions and then claims one call of the server (`beacon_turn`):
  106 and 205, 54 and 113, 59 and 107. With few at work what travels costs most: to send one statement takes
  100.
- completions and claims of a share in one commit, the next group made ready while the server is at work:
  with 500 a message took 180 microseconds where it took 196, with as much CPU time.
- room for new versions in the pages of messages (fillfactor): 104 to 88 at the server with 500.
- completions in a call of the server are told it while it begins, and claims are put together while it
  commits: both sides would wait otherwise.
- strangers are remembered by a statement that is sent anyway.
- completions go before the claims that are committed with them, whichever was asked first: nothing here,
  where they do, but store and dispatcher sent 5,100 to 5,300 messages a second where it was 3,800 to 3,900.
- indexes of messages do not pack versions of a message together: 42 at the server where it was 44, with 500
  on two cores.

What is left at the server, of about 60 in statements when each is measured alone with 250 messages: 19
claim the row, 17 complete it, 14 name the next head of its chat, 11 find it. A statement for one row takes
110, of which 65 set up the table's checks, which each statement reads anew. Tried and left out: one check
in place of all (16 of 19 with 250); a trigger in their place (44 of 101 with one row, nothing with 250);
fewer indexes (1 to 2 each; on two cores the two of chats and of finished messages cost 4 of 40 with 500, 6
of 48 with 50, and lists and pruning need them). A claim in a narrow table, which leaves this row alone, was
estimated and not built: it saves the 19, and costs a row that is written and deleted (7) and for each
message of a line a look whether it is claimed (2 to 4), so 8 to 10 of about 150. A second connection for
completions made nothing faster when it was tried.

Tried on two cores and left out: no checks at all (1 of 40); no plans made anew (nothing); two shares of 25
with a commit each (109 where one of 50 took 87: a commit waits 0.4 ms whatever is in it); two stores with a
share of 250 each (50 where one store takes 53); a connection of their own for completions (a twentieth faster
with 500, up to a tenth slower with 10 to 50); room in the indexes (0.5 of 40) and in the lanes (nothing);
heads named without a DELETE, and from the old head on (nothing).

While other programs keep all cores busy a ratio says little: between rounds it went from 0.3 to 2.2.
"""

from typing import Any, Final

from tests.bench.child import Child
from tests.bench.figures import ratio, whole
from tests.bench.stores import Places

CONTENDERS: Final = {
    "beacon_10": "beacon 1 10",
    "beacon_20": "beacon 1 20",
    "beacon_50": "beacon 1 50",
    "beacon_500": "beacon 2 250",
    "procrastinate_10": "procrastinate 10",
    "pgqueuer_10": "pgqueuer 1 5",
    "pgqueuer_20": "pgqueuer 1 10",
    "pgqueuer_50": "pgqueuer 1 25",
    "pgqueuer_500": "pgqueuer 2 125",
}

MEANING: Final = {
    "per_second": "messages claimed and completed, each round, by queue and the most that are at work",
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
