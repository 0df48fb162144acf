"""`python -m service.simulator`: the simulator as a process of its own.

The first line on stdout is one JSON object with `proxy`, `ca_file` and `root_key` (hexadecimal), and the
same as `environment`. Then each line on stdin is a JSON object and is answered by one:
`{"scan": QR, "phone": N}`, `{"enter_code": CODE, "phone": N}` or `{"accounts": true}`. It ends when
stdin does.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from service.errors import SimulatorError
from service.simulator.server import Simulator


async def serve(folder: Path, port: int) -> None:
    """Serve until stdin ends."""
    async with Simulator(folder, port=port) as simulator:
        _say(
            {
                "proxy": simulator.proxy,
                "ca_file": str(simulator.ca_file),
                "root_key": simulator.root_key.hex(),
                "environment": simulator.environment(),
            }
        )
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            while line := await reader.readline():
                try:
                    _say(await _obey(simulator, json.loads(line)))
                except (SimulatorError, ValueError) as error:
                    _say({"error": str(error)})
        finally:
            transport.close()


async def _obey(simulator: Simulator, command: Any) -> dict[str, Any]:
    match command:
        case {"scan": str(qr), "phone": str(phone)}:
            await simulator.scan(qr, phone)
        case {"enter_code": str(code), "phone": str(phone)}:
            await simulator.enter_code(code, phone)
        case {"accounts": _}:
            names = (
                "online",
                "waiting",
                "logins",
                "sent",
                "received",
                "delivered",
                "read",
                "retries",
                "resent",
            )
            accounts = simulator.accounts.items()
            return {phone: {name: getattr(it, name) for name in names} for phone, it in accounts}
        case _:
            raise SimulatorError("a command must be scan, enter_code or accounts")
    return {"done": True}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m service.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of the proxy; 0 takes a free one")
    parser.add_argument("--folder", type=Path, help="folder for the TLS files; default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simulator-") as folder:
        asyncio.run(serve(arguments.folder or Path(folder), arguments.port))


if __name__ == "__main__":
    main()
