"""A recipient that shows everything: neonize as it is, with what it decrypted and downloaded on its stdout.

`python -m tests.component.engine.recipient DATABASE PROXY`, on a paired session, in the simulator's
environment. Each message becomes one line of JSON; `vote ID OPTION...` on stdin (with tabs) votes in a poll.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
from typing import Any

from service.simulator import library

neonize = library.module("neonize.aioze.client")
pb = library.module("neonize.proto.Neonize_pb2")
binder = library.module("neonize._binder")

# neonize 0.5.2 left this one out of its list of functions whose bytes it reads
binder.gocode.DecryptPollVote.errcheck = binder.gocode.SendMessage.errcheck

FILES = ("imageMessage", "videoMessage", "audioMessage", "documentMessage", "stickerMessage")


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


class Recipient:
    """The client, and the messages that came, by id."""

    def __init__(self, database: str) -> None:
        self.client = neonize.NewAClient(database, uuid="recipient")
        self.client._stop_finalizer.detach()
        self.polls: dict[str, Any] = {}
        self.client.event(pb.Connected)(self.connected)
        self.client.event(pb.Message)(self.message)

    async def connected(self, *_: object) -> None:
        tell(connected=True)

    async def message(self, _: object, event: Any) -> None:
        message, downloaded, votes = event.Message, None, None
        try:
            if any(message.HasField(name) for name in FILES):
                downloaded = hashlib.sha256(await self.client.download_any(message)).hexdigest()
            if message.HasField("pollCreationMessage"):
                self.polls[event.Info.ID] = event.Info
            if message.HasField("pollUpdateMessage"):
                vote = await self.client.decrypt_poll_vote(event)
                votes = [option.hex() for option in vote.selectedOptions]
        except Exception as error:  # noqa: BLE001 - neonize would lose it; the test shall see it
            tell(error=repr(error))
        tell(
            id=event.Info.ID,
            message=base64.b64encode(message.SerializeToString()).decode(),
            downloaded=downloaded,
            votes=votes,
        )

    async def vote(self, poll: str, options: list[str]) -> None:
        info = self.polls[poll]
        message = await self.client.build_poll_vote(info, options)
        await self.client.send_message(info.MessageSource.Chat, message)


async def main(database: str, proxy: str) -> None:
    library.trust(bytes.fromhex(os.environ["SIMULATOR_ROOT_KEY"]))
    recipient = Recipient(database)
    await recipient.client.connect(binder.ProxySettings(proxy_address=proxy))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := (await reader.readline()).decode().rstrip("\n"):
        _, poll, *options = line.split("\t")
        await recipient.vote(poll, options)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
