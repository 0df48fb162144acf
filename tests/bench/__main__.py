"""`python -m tests.bench --json`: every benchmark, or some with `--only`; one JSON object on the last line.

sending  the whole service beside a bare neonize loop, and its memory
http     messages accepted per second beside bare inserts
queue    claims and completions per second beside pgqueuer and procrastinate
depth    sending, scraping and memory with a million messages waiting
cost     sending with everything watched beside nothing watched, and scraping after a day's worth of messages
backup   bytes and time of a session's backup after little traffic, and what it costs who writes to it
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from service.config import LogFormat, LogLevel
from service.telemetry import logging
from tests.bench import accepting, backup, cost, depth, sending, working
from tests.bench.stores import Places

Section = Callable[[Path, Places, argparse.Namespace], Awaitable[dict[str, Any]]]

SECTIONS: dict[str, Section] = {
    "sending": lambda folder, _, given: sending.measure(
        folder, sends=given.sends, rounds=given.rounds, many=given.many
    ),
    "http": lambda folder, places, given: accepting.measure(
        folder, places, seconds=given.seconds, rounds=given.rounds
    ),
    "queue": lambda _, places, given: working.measure(places, messages=given.jobs, rounds=given.rounds),
    "depth": lambda folder, places, given: depth.measure(
        folder, places, deep=given.deep, rounds=2 * given.rounds + 1
    ),
    "cost": lambda folder, _, given: cost.measure(
        folder, sends=16 * given.sends, rounds=given.rounds, day=given.day
    ),
    "backup": lambda folder, places, given: backup.measure(
        folder, places, size_mb=given.session_mb, rounds=given.rounds
    ),
}


def main() -> None:
    """Measure and print."""
    given = _parser().parse_args()
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    figures = asyncio.run(_measure(given))
    sys.stdout.write(json.dumps(figures, indent=None if given.json else 2) + "\n")


async def _measure(given: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    took_s = {}
    with tempfile.TemporaryDirectory(prefix="beacon-bench-") as folder:
        async with Places(Path(folder)) as places:
            for name in given.only:
                sys.stderr.write(f"{name} ...\n")
                own, begun = Path(folder, name), time.perf_counter()
                own.mkdir()
                figures[name] = await SECTIONS[name](own, places, given)
                took_s[name] = round(time.perf_counter() - begun)
    return {**figures, "took_s": {**took_s, "all": sum(took_s.values())}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one line instead of indented")
    add("--only", type=_sections, default=list(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    add("--rounds", type=int, default=3, help="rounds; ratios are medians over them")
    add("--sends", type=int, default=400, help="sending: messages in one timed round")
    add("--many", type=int, default=10_000, help="sending: messages before memory is read again")
    add("--seconds", type=float, default=2.0, help="http: how long each load lasts")
    add("--jobs", type=int, default=10_000, help="queue: messages in one round")
    add("--deep", type=int, default=1_000_000, help="depth: messages that wait")
    add("--day", type=int, default=28_800, help="cost: messages that a day has")
    add("--session-mb", type=int, default=50, help="backup: size of the session in MB (10^6 bytes)")
    return parser


def _sections(names: str) -> list[str]:
    chosen = names.split(",")
    if unknown := sorted(set(chosen) - set(SECTIONS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: must be some of {', '.join(SECTIONS)}")
    return chosen


if __name__ == "__main__":
    main()
