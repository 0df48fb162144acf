"""The simulator: accounts, pairing, login and relay behind one proxy port on loopback."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import ClientConnectionResetError, web

from service.clock import Clock, SystemClock
from service.config import LOOPBACK
from service.errors import SimulatorError
from service.simulator import library, protobuf, tls
from service.simulator.accounts import Account, Device, Directory, Stay
from service.simulator.connection import Connection
from service.simulator.endings import LOGGED_OUT, REPLACED, Ending
from service.simulator.faults import Faults
from service.simulator.iq import Queries, refusal
from service.simulator.link import Link
from service.simulator.media import MediaServers
from service.simulator.noise import Identity
from service.simulator.pairing import Candidate, Pairing
from service.simulator.proxy import Proxy
from service.simulator.relay import Relay
from service.simulator.stanza import JID, PHONE_SERVER, Codec, Node

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.1


class Simulator:
    """A WhatsApp server. Enter it to start, leave it to stop; everything runs on the present event loop.

    `folder` receives the TLS files; port 0 takes a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._codec = Codec(library.tokens())
        self._identity = Identity(time.time())  # the client compares with its own clock
        self._directory = Directory()
        self._connections: set[Connection] = set()
        self._looking: set[asyncio.Event] = set()
        self.ca_file, context = tls.authority(folder)
        self.faults = Faults(self)
        self._pairing = Pairing(self._directory, self._clock)
        media = MediaServers(self.faults, self._clock)
        self._queries = Queries(self._directory, media, self._clock)
        self._relay = Relay(self._directory, self.faults, self._clock)
        application = web.Application()
        application.router.add_get("/ws/chat", self._websocket)
        application.router.add_routes(media.routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        self._proxy = Proxy(
            port=port,
            context=context,
            passage=lambda: self.faults.passage(None),
            serve=self._serve,
        )

    # what tests and the demo use

    @property
    def proxy(self) -> str:
        """What a client must be given as its proxy."""
        return f"http://{LOOPBACK}:{self._proxy.port}"

    @property
    def root_key(self) -> bytes:
        """The Noise root key (32 bytes) that a client must trust."""
        return self._identity.root_key

    def environment(self) -> dict[str, str]:
        """What the process of an engine, or of a service that starts one, needs to come here."""
        return {
            "WHATSAPP_PROXY": self.proxy,
            "SSL_CERT_FILE": str(self.ca_file),
            "SIMULATOR_ROOT_KEY": self.root_key.hex(),
        }

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Accounts by phone number; one exists from its first pairing, or from `register`."""
        return self._directory.accounts

    @property
    def pairing(self) -> int:
        """New devices that are connected and wait to be linked."""
        return self._pairing.waiting

    def register(self, phone: str) -> Account:
        """Put a phone number on WhatsApp without any linked device: it can be sent to, and never answers.

        Raises SimulatorError for what is no number.
        """
        return self._directory.register(phone)

    def create_group(self, subject: str, founder: str, *members: str) -> str:
        """A group of these phone numbers, each of which becomes an account; the group's JID.

        Raises SimulatorError for what is no number.
        """
        accounts = [self._directory.register(phone) for phone in (founder, *members)]
        group = self._directory.create_group(subject, accounts[0], accounts[1:], now=self._clock.now())
        return str(group.jid)

    async def scan(self, qr: str, phone: str) -> None:
        """The phone scans a QR text; returns when the device is linked. Raises SimulatorError."""
        await self._pairing.scan(qr, phone)
        self._changed()

    async def enter_code(self, code: str, phone: str) -> None:
        """The phone is given a pairing code; returns when the device is linked. Raises SimulatorError."""
        await self._pairing.enter_code(code, phone)
        self._changed()

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Return when `condition` holds; it is looked at after every stanza and ten times a second.

        Raises TimeoutError, which shows what every account has counted.
        """
        changed = asyncio.Event()
        self._looking.add(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), _LOOK_AGAIN_S)
                    changed.clear()
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_s:g} s: {self.describe()}") from None
        finally:
            self._looking.discard(changed)

    def describe(self) -> str:
        """The counters of every account, in one line."""
        parts = [
            f"{phone[-4:]}: online={account.online} sent={account.sent} received={account.received} "
            f"delivered={account.delivered} waiting={account.waiting} retries={account.retries}"
            for phone, account in self.accounts.items()
        ]
        return "; ".join(parts) or "no account"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._proxy.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.heal()
        await self._proxy.close()
        await self._runner.cleanup()

    # what the faults act on

    def links(self) -> Iterable[Link]:
        """Connections that have come as far as the websocket."""
        return tuple(self._connections)

    def hang_up(self, link: Link, how: Ending) -> None:
        """Say why, then hang up, and forget the device when the ending says so."""
        if how.unlinks:
            for device in list(self._directory.devices()):
                if device.link is link:
                    self._directory.unlink(device)
        link.end(how)

    def cut_all(self) -> int:
        """Break every connection."""
        return self._proxy.cut_all()

    def listen(self) -> None:
        """Accept connections."""
        self._proxy.listen()

    def refuse(self) -> None:
        """Let nobody connect."""
        self._proxy.refuse()

    # the server's own work

    def _serve(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return server()

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 24, compress=False)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        assert isinstance(transport, asyncio.Transport)
        connection = Connection(
            socket=socket,
            transport=transport,
            codec=self._codec,
            faults=self.faults,
            clock=self._clock,
        )
        self._connections.add(connection)
        try:
            payload = await connection.handshake(self._identity)
            if payload is not None:
                await self._session(connection, protobuf.client_payload(payload))
        except SimulatorError as error:
            log.warning("simulator.handshake_failed", error=str(error))
        except (ClientConnectionResetError, ConnectionError) as error:
            log.info("simulator.client_gone", error=repr(error))
        finally:
            self._connections.discard(connection)
            connection.cut()
            self._changed()
        return socket

    async def _session(self, connection: Connection, login: protobuf.Login) -> None:
        connection.phone = login.phone
        await self.faults.passage(login.phone)
        if (ending := self.faults.next_ending(login.phone)) is not None:
            if ending.unlinks and (device := self._find(connection, login)) is not None:
                self._directory.unlink(device)
            connection.end(ending)
            await connection.run(_ignore)
        elif login.phone is None:
            await self._pair(connection)
        elif (device := self._find(connection, login)) is None:
            connection.end(LOGGED_OUT)
            await connection.run(_ignore)
        else:
            await self._login(connection, device)

    def _find(self, connection: Connection, login: protobuf.Login) -> Device | None:
        device = self._directory.device(JID(login.phone or "", PHONE_SERVER, login.device))
        return device if device is not None and device.noise_key == connection.noise_key else None

    async def _pair(self, connection: Connection) -> None:
        candidate = self._pairing.begin(connection)
        self._changed()
        try:
            await connection.run(lambda node: self._handle_new(candidate, node))
        finally:
            self._pairing.end(candidate)

    async def _login(self, connection: Connection, device: Device) -> None:
        if device.link is not None:
            device.mailbox.close()
            device.link.end(REPLACED)
        device.link = connection
        device.available = False
        device.account.logins += 1
        device.account.stays.append(stay := Stay(self._clock.monotonic()))
        now = str(int(self._clock.now()))
        connection.post(Node("success", {"t": now, "lid": device.lid}))
        self._changed()
        try:
            await connection.run(lambda node: self._handle(connection, device, node))
        finally:
            stay.ended = self._clock.monotonic()
            if device.link is connection:
                device.link = None
                device.mailbox.close()

    def _handle_new(self, candidate: Candidate, node: Node) -> None:
        self._pairing.handle(candidate, node)
        self._changed()

    def _handle(self, connection: Connection, device: Device, node: Node) -> None:
        if node.tag == "iq" and node.get("xmlns") == "w:p":
            connection.pong(self._queries.answer(device, node))
        elif connection.deaf:
            log.debug("simulator.lost", tag=node.tag)
        elif node.tag == "message":
            self._relay.message(device, connection, node)
        elif node.tag == "receipt":
            self._relay.receipt(device, connection, node)
        elif node.tag == "ack":
            self._relay.taken(device, node)
        elif node.tag == "iq" and node.get("type") in ("get", "set"):
            self._query(connection, device, node)
        elif node.tag == "presence":
            device.available = node.get("type") == "available"
        self._changed()

    def _query(self, connection: Connection, device: Device, node: Node) -> None:
        account = device.account
        account.questions += node.get("xmlns") == "blocklist"
        if self.faults.takes_query(account.phone):
            return
        if (code := self.faults.next_refusal(account.phone)) is not None:
            connection.post(refusal(node, code))
            return
        connection.post(self._queries.answer(device, node))
        if node.get("xmlns") == "passive" and node.child("active") is not None:
            device.mailbox.open(connection.post)

    def _changed(self) -> None:
        for looking in self._looking:
            looking.set()


def _ignore(node: Node) -> None:
    """A client that is being sent away is not listened to."""
