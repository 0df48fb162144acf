"""A bare neonize loop, as a user of the library would write it: the yardstick for Beacon's send rate.

Speaks with the benchmark over stdin and stdout: prints `QR ...` and `CONNECTED`, then for each line
`NUMBER COUNT` sends that many texts, one after the other, and prints `DONE SECONDS`.
"""

import argparse
import asyncio
import os
import sys
import time
from typing import Any

from service.simulator import library


async def main(database: str, proxy: str) -> None:
    """Pair or log in, then send as told until stdin ends."""
    binder = library.module("neonize._binder")
    library.trust(bytes.fromhex(os.environ["SIMULATOR_ROOT_KEY"]))
    aioze = library.module("neonize.aioze.client")
    events = library.module("neonize.aioze.events")
    jid = library.module("neonize.utils.jid")

    client = aioze.NewAClient(database, uuid="bare")
    client._stop_finalizer.detach()
    connected = asyncio.Event()

    @client.qr  # type: ignore[untyped-decorator]
    async def _(_: Any, code: bytes) -> None:
        say(f"QR {code.decode()}")

    @client.event(events.ConnectedEv)  # type: ignore[untyped-decorator]
    async def _(_: Any, __: Any) -> None:
        connected.set()

    await client.connect(binder.ProxySettings(proxy_address=proxy))
    await connected.wait()
    say("CONNECTED")
    while line := await asyncio.to_thread(sys.stdin.readline):
        number, count = line.split()
        to = jid.build_jid(number)
        start = time.perf_counter()
        for i in range(int(count)):
            await client.send_message(to, f"message {i}")
        say(f"DONE {time.perf_counter() - start}")
    os._exit(0)  # Go's threads cannot be joined


def say(line: str) -> None:
    """One line to the benchmark."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--proxy", required=True)
    given = parser.parse_args()
    asyncio.run(main(given.database, given.proxy))
