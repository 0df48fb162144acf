"""`python -m tests.bench --json`: every benchmark, one JSON object on the last line."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from service.config import LogFormat, LogLevel
from service.telemetry import logging
from tests.bench import sending


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    parser.add_argument("--sends", type=int, default=400, help="messages in one timed round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; ratios are medians over them")
    parser.add_argument("--many", type=int, default=10_000, help="messages before memory is read again")
    given = parser.parse_args()
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="beacon-bench-") as folder:
        figures = asyncio.run(
            sending.measure(Path(folder), sends=given.sends, rounds=given.rounds, many=given.many)
        )
    sys.stdout.write(json.dumps({"sending": figures}, indent=None if given.json else 2) + "\n")


if __name__ == "__main__":
    main()
