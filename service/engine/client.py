"""The only module that imports neonize: one client, its events as frames, its calls without surprises.

Rules and where they come from: failure-modes.md section 2 (H1 to H16). Importing this module loads the Go
library, which starts threads: configure logging and faulthandler before (H11, H13).
"""

import pylibmagic  # noqa: F401  # isort: skip  # brings libmagic, which neonize's import of magic needs

import asyncio
import ctypes
import logging
import mmap
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import neonize
import neonize.aioze.client as neonize_client
from msgspec.structs import replace
from neonize._binder import ProxySettings, gocode
from neonize.aioze.client import NewAClient
from neonize.exc import NeonizeError
from neonize.proto import Neonize_pb2 as pb
from neonize.proto.Neonize_pb2 import SendMessageReturnFunction
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.utils.enum import MediaType, Presence
from neonize.utils.jid import Jid2String
from neonize.utils.log import log as neonize_log

from service.engine.complaints import NotRead, NotResent, complaint
from service.engine.compose import Circumstances, compose, is_told, kind_of
from service.engine.content import AnyContent, Audio, Document, Image, Media, Sticker, Video
from service.engine.protocol import (
    AnyEvent,
    ClientOutdated,
    Connect,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Disconnected,
    KeepAliveRestored,
    KeepAliveTimeout,
    LoggedOut,
    MessageReceived,
    OfflineSynced,
    Paired,
    PairingEnded,
    QrCode,
    Receipt,
    ReceiptKind,
    StreamError,
    StreamReplaced,
    TemporaryBan,
    Undecryptable,
)
from service.engine.recent import SIZE, Recent
from service.engine.redact import redact
from service.engine.store_watch import watched
from service.engine.turns import Turns
from service.engine.uploads import Uploads
from service.errors import EngineRefused

log = logging.getLogger("engine.client")

THREADS: Final = 16
"""Neonize() holds one for ever, a send one for up to 75 s, questions that nobody answers two for longer, and
given-up uploads up to four; the rest must not starve behind them (H8)."""

LOOK_S: Final = 0.01

EXIT_NO_STORE: Final = 75  # EX_TEMPFAIL: the database with the session is away

_NAME: Final = "beacon"  # neonize's key for its client; one account in one process

_WHATSAPP_CODES: Final = {1: 400, 2: 401, 3: 402, 4: 403, 5: 406, 6: 405, 7: 409, 8: 500, 9: 501, 10: 503}
"""neonize's own numbers for WhatsApp's login failures (goneonize/utils/encoder.go)."""

_BAN_CODES: Final = {1: 101, 2: 102, 3: 103, 4: 104, 5: 106}

_RECEIPTS: Final = {
    1: ReceiptKind.DELIVERED,
    2: ReceiptKind.SENDER,
    3: ReceiptKind.RETRY,
    4: ReceiptKind.READ,
    5: ReceiptKind.READ_SELF,
    6: ReceiptKind.PLAYED,
    7: ReceiptKind.PLAYED_SELF,
    8: ReceiptKind.PLAYED_SELF,  # neonize 0.5.2 calls played-self SERVER_ERROR; a real one never arrives (H1)
    9: ReceiptKind.INACTIVE,
    10: ReceiptKind.PEER,
    11: ReceiptKind.HISTORY_SYNC,
}

_MEDIA_TYPES: Final = {
    Image: MediaType.MediaImage,
    Video: MediaType.MediaVideo,
    Audio: MediaType.MediaAudio,
    Document: MediaType.MediaDocument,
    Sticker: MediaType.MediaImage,  # whatsmeow download.go, classToMediaType
}

_PAIRING_GOES_ON: Final = frozenset({"success", "err-scanned-without-multidevice"})
"""Login statuses after which codes or a device still come (whatsmeow qrchan.go); all others are an end."""

_STANZA_CAME: Final = b"Client/Recv"
"""whatsmeow's log of what comes, as a LogEntry ends: half of all lines, and nobody wants them."""

_SERVER_SPOKE: Final = ("info query returned", "in response to blocklist query")
"""In whatsmeow's errors for an answer that came and was not what was asked for (errors.go)."""


def versions() -> tuple[str, str]:
    """The versions of neonize and of the whatsmeow inside its library ('unknown' if not found)."""
    folder = Path(neonize.__file__).parent
    for library in folder.glob("neonize-*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            mark = b"\tgo.mau.fi/whatsmeow\t"  # a line of Go's build information
            if (at := content.find(mark)) >= 0:
                start = at + len(mark)
                return version("neonize"), content[start : start + 64].split(b"\t", 1)[0].decode()
    return version("neonize"), "unknown"


def _leave_without_store() -> None:
    log.error("the database with the session is away; what comes in is left to the next engine")
    sys.stderr.flush()
    os._exit(EXIT_NO_STORE)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message and the chat it goes to, as goneonize takes them (protobuf)."""

    to: bytes
    message: bytes


class Client:
    """neonize's client for one account, connected at most once (H6).

    Events go to `emit`, on the event loop, in the order in which Go reported them; `emit` must not block.
    `fault` is called for an error in our own handling of an event.
    """

    def __init__(self, *, emit: Callable[[AnyEvent], None], fault: Callable[[BaseException], None]) -> None:
        self._emit = emit
        self._fault = fault
        self._neonize: Any = None
        self._reachable = False
        self._uploads = Uploads(self._upload)
        self._recent = Recent()
        self._begun = 0  # written by the thread that sends
        self._over = 0  # written on the event loop
        self._retries: list[Receipt] = []
        self._answered: OrderedDict[str, Receipt] = OrderedDict()
        self._told: deque[str | None] = deque([None], maxlen=SIZE)
        self.turns = Turns()
        self.connected = False

    async def connect(self, command: Connect) -> None:
        """Start connecting; the outcome comes as events. Raises EngineRefused the second time."""
        if self._neonize is not None:
            raise EngineRefused("an engine connects once")
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="ffi"))
        neonize_log.setLevel(logging.DEBUG)  # the level at which whatsmeow says whose turn it is
        logging.getLogger("neonize.utils.ffmpeg").setLevel(logging.ERROR)  # texts need none
        neonize_client.log_whatsmeow = self._listening(neonize_client.log_whatsmeow, loop)
        if command.dsn is not None:
            neonize_client.log_whatsmeow = watched(neonize_client.log_whatsmeow, _leave_without_store)
        client = NewAClient(
            command.database if command.dsn is None else command.dsn,
            uuid=_NAME,
            props=DeviceProps(os=command.device_name, platformType=DeviceProps.CHROME),
        )
        client._stop_finalizer.detach()  # a garbage collection must not stop the session (H7)
        client._NewAClient__onLoginStatus = self._on_login_status
        self._neonize = client
        self._register(client)
        proxy = None if command.proxy is None else ProxySettings(proxy_address=command.proxy)
        task = await client.connect(proxy)
        task.add_done_callback(self._on_connect_ended)

    async def prepare(self, chat: str, content: AnyContent, file: Path | None, secret: bytes) -> Prepared:
        """A message for `send`, after `file`, the bytes that the content names, was uploaded.

        Raises EngineRefused.
        """
        uploaded = await self._uploads.bring(content, file) if isinstance(content, Media) else None
        me = self._neonize.me
        message = compose(
            content,
            secret,
            Circumstances(chat=chat, own_pn=_plain(me.JID), own_lid=_plain(me.LID), uploaded=uploaded),
        )
        return Prepared(_jid(chat).SerializeToString(), message.SerializeToString())

    def send(self, prepared: Prepared) -> tuple[str, float]:
        """Send a message; its WhatsApp id and the server's time (Unix seconds). Blocks; one at a time.

        Its secret is written to whatsmeow_message_secrets with the id before anything leaves (whatsmeow
        send.go). Raises EngineRefused. `sent` is to be called on the event loop afterwards.
        """
        self._begun += 1
        to, message = prepared.to, prepared.message
        try:
            answer = SendMessageReturnFunction.FromString(
                gocode.SendMessage(self._neonize.uuid, to, len(to), message, len(message))
            )
        finally:
            self.turns.send_ended()
        if answer.Error:
            raise EngineRefused(redact(answer.Error))
        return str(answer.SendResponse.ID), float(answer.SendResponse.Timestamp)

    def sent(self, message_id: str | None) -> None:
        """A send is over, under that id if it was acknowledged."""
        self._over += 1
        self._recent.add(message_id)
        self._tell_retries()

    async def pair_phone(self, phone: str) -> str:
        """The code to type into the phone. Raises EngineRefused, also before the first QR code."""
        return str(await _call(self._asked().PairPhone(phone, show_push_notification=True)))

    async def presence(self, *, available: bool) -> None:
        """Tell WhatsApp whether this device is in use. Raises EngineRefused."""
        state = Presence.AVAILABLE if available else Presence.UNAVAILABLE
        await _call(self._asked().send_presence(state))

    async def ask_server(self) -> bool:
        """Ask WhatsApp for the blocked contacts; False when its answer was an error.

        whatsmeow keeps no copy of them, so each question goes to the server (user.go, GetBlocklist), beside
        whatever is being sent. Raises EngineRefused when no answer came: after 75 s, or twice that and a
        little when the socket was lost meanwhile (request.go, sendIQ and retryFrame).
        """
        try:
            await _call(self._asked().get_blocklist())
        except EngineRefused as refused:
            if any(words in refused.text for words in _SERVER_SPOKE):
                return False
            raise
        return True

    async def logout(self) -> None:
        """Unlink this device and forget the session. Raises EngineRefused."""
        await _call(self._asked().logout())
        self.connected = False

    async def state(self) -> tuple[bool, bool]:
        """What is_connected and is_logged_in say; False before Go has given a first sign of life.

        Until then Neonize() may be writing the Go map that every call reads, which ends the process (H5).
        """
        if not self._reachable:
            return False, False
        client = self._neonize
        connected, logged_in = bool(await client.is_connected), bool(await client.is_logged_in)
        self.connected = connected and logged_in and not client.connect_task.done()
        return connected, logged_in

    async def disconnect(self) -> None:
        """Close the socket, if there is one. Not Stop: the process ends anyway, and Stop writes Go's maps."""
        self.connected = False
        if self._reachable:
            await self._neonize.disconnect()

    async def all_told(self) -> None:
        """Return when every message that was decrypted has been told; to be asked after `disconnect`.

        The session is past such a message already: when WhatsApp hands it over again, it cannot be read.
        """
        while self.turns.receiving or self.turns.received not in self._told:  # noqa: ASYNC110 - Go's threads
            await asyncio.sleep(LOOK_S)

    def _asked(self) -> Any:
        if not self._reachable:
            raise EngineRefused("not connected yet")
        return self._neonize

    # --- whatsmeow's log --------------------------------------------------------------------------

    def _listening(
        self, log_whatsmeow: Callable[[int, int], None], loop: asyncio.AbstractEventLoop
    ) -> Callable[[int, int], None]:
        """neonize's log callback, called on Go's threads, which wait in it for their turn. What is said for
        that alone goes no further: every stanza would be a line of the log (H11)."""

        def listening(address: int, size: int) -> None:
            data = ctypes.string_at(address, size)
            if data.endswith(_STANZA_CAME):
                return
            entry = pb.LogEntry.FromString(data)
            self.turns.hear(entry.Name, entry.Message)
            if entry.Level == "DEBUG":
                return
            if (heard := complaint(entry.Message)) is not None:
                loop.call_soon_threadsafe(self._on_complaint, heard)
            log_whatsmeow(address, size)

        return listening

    def _on_complaint(self, heard: NotRead | NotResent) -> None:
        match heard:
            case NotRead(id=message_id, reason=reason):
                self._told.append(message_id)
                self._emit(Undecryptable(id=message_id, reason=reason))
            case NotResent(id=message_id):
                self._recent.forget(message_id)
                if (receipt := self._answered.pop(message_id, None)) is not None:
                    self._emit(replace(receipt, message_ids=(message_id,), resent_by_engine=False))

    # --- events ---------------------------------------------------------------------------------

    def _register(self, client: Any) -> None:
        """Subscriptions are frozen at connect, so all of them are made before."""

        handlers: dict[Any, Callable[[Any], None]] = {
            pb.PairStatus: self._on_pair_status,
            pb.Connected: self._on_connected,
            pb.KeepAliveTimeout: self._on_keepalive_timeout,
            pb.KeepAliveRestored: lambda _: self._emit(KeepAliveRestored()),
            pb.LoggedOut: self._on_logged_out,
            pb.StreamReplaced: lambda _: self._down(StreamReplaced()),
            pb.TemporaryBan: self._on_temporary_ban,
            pb.ConnectFailure: self._on_connect_failure,
            pb.ClientOutdated: lambda _: self._down(ClientOutdated()),
            pb.StreamError: lambda event: self._emit(StreamError(code=event.Code)),
            pb.Disconnected: lambda _: self._down(Disconnected()),
            pb.Message: self._on_message,
            pb.Receipt: self._on_receipt,
            pb.IdentityChange: lambda _: log.info("a contact's identity key changed"),
            pb.OfflineSyncCompleted: lambda event: self._emit(OfflineSynced(count=event.Count)),
            pb.UndecryptableMessage: lambda event: self._emit(Undecryptable(id=event.Info.ID)),
        }
        client.event.qr(self._guarded(lambda code: self._emit(QrCode(code=code.decode()))))
        for kind, handler in handlers.items():
            client.event(kind)(self._guarded(handler))

    def _guarded(self, handler: Callable[[Any], None]) -> Callable[[object, Any], Awaitable[None]]:
        """neonize drops the future of a handler, and with it whatever the handler raised (H10)."""

        async def guarded(_: object, event: Any) -> None:
            self._reachable = True
            try:
                handler(event)
            except Exception as error:
                self._fault(error)
                log.exception("an event could not be handled")

        return guarded

    def _down(self, event: AnyEvent) -> None:
        self.connected = False
        self._emit(event)

    def _on_connect_ended(self, task: "asyncio.Task[None]") -> None:
        """neonize's event loop is dead, yet whatsmeow may be online and acknowledging what nobody will
        read (H1): the socket is closed at once."""
        error = None if task.cancelled() else task.exception()
        self._down(ConnectEnded(text=redact(str(error)) if error else "the event loop ended"))
        if self._reachable:
            self._closing = asyncio.ensure_future(self.disconnect())

    def _on_login_status(self, _uuid: int, status: int) -> None:
        """Called on a Go thread while pairing; an end of pairing reaches Python in no other way (H3)."""
        text = (ctypes.string_at(status) or b"").decode()
        if text not in _PAIRING_GOES_ON:
            self._neonize.loop.call_soon_threadsafe(self._end_pairing, text)

    def _end_pairing(self, text: str) -> None:
        if text == "err-client-outdated":
            self._down(ClientOutdated())
        self._down(PairingEnded(text=redact(text)))

    def _on_pair_status(self, event: Any) -> None:
        if event.Status == pb.PairStatus.SUCCESS:
            self._emit(Paired(jid=Jid2String(event.ID)))
        else:
            self._down(PairingEnded(text=redact(event.Error)))

    def _on_connected(self, _: Any) -> None:
        self.connected = True
        self._emit(Connected(jid=Jid2String(self._neonize.me.JID)))  # `me` is always Go's first event

    def _on_keepalive_timeout(self, event: Any) -> None:
        self._emit(KeepAliveTimeout(failures=event.ErrorCount, last_success=float(event.LastSuccess)))

    def _on_logged_out(self, event: Any) -> None:
        self._down(LoggedOut(on_connect=event.OnConnect, reason=_WHATSAPP_CODES[event.Reason]))

    def _on_temporary_ban(self, event: Any) -> None:
        self._down(TemporaryBan(code=_BAN_CODES[event.Code], expire_s=float(event.Expire)))

    def _on_connect_failure(self, event: Any) -> None:
        self._down(ConnectFailure(reason=_WHATSAPP_CODES[event.Reason], text=redact(event.Message)))

    def _on_message(self, event: Any) -> None:
        source, message = event.Info.MessageSource, event.Message
        self._told.append(event.Info.ID)
        if not is_told(message):
            return
        self._emit(
            MessageReceived(
                id=event.Info.ID,
                chat=_plain(source.Chat),
                sender=_plain(source.Sender),
                sender_pn=next(
                    (_plain(jid) for jid in (source.Sender, source.SenderAlt) if _is_phone(jid)), None
                ),
                is_group=source.IsGroup,
                from_me=source.IsFromMe,
                timestamp=event.Info.Timestamp / 1000,  # milliseconds, unlike a receipt's
                text=message.conversation or message.extendedTextMessage.text,
                content=kind_of(message),
            )
        )

    def _on_receipt(self, event: Any) -> None:
        source = event.MessageSource
        receipt = Receipt(
            message_ids=tuple(event.MessageIDs),
            receipt=_RECEIPTS[event.Type],
            chat=_plain(source.Chat),
            sender=_plain(source.Sender),
            from_me=source.IsFromMe,
            timestamp=float(event.Timestamp),
        )
        if receipt.receipt is not ReceiptKind.RETRY:
            self._emit(receipt)
            return
        self._retries.append(receipt)
        if self._begun == self._over:  # else the id of the message may not be known yet
            self._tell_retries()

    def _tell_retries(self) -> None:
        for receipt in self._retries:
            resent = self._recent.holds(receipt.message_ids)
            self._emit(replace(receipt, resent_by_engine=resent))
            if resent:
                self._remember_answered(receipt)
        self._retries.clear()

    def _remember_answered(self, receipt: Receipt) -> None:
        """whatsmeow answers it beside us; should it fail, somebody else has to."""
        self._answered.update(dict.fromkeys(receipt.message_ids, receipt))
        while len(self._answered) > SIZE:
            self._answered.popitem(last=False)

    async def _upload(self, content: Media, data: bytes) -> Any:
        return await _call(self._asked().upload(data, _MEDIA_TYPES[type(content)]))


async def _call(doing: Awaitable[Any]) -> Any:
    try:
        return await doing
    except NeonizeError as error:
        raise EngineRefused(redact(_words(error))) from error


def _words(error: NeonizeError) -> str:
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)


def _jid(text: str) -> Any:
    user, _, server = text.rpartition("@")
    return pb.JID(User=user, Server=server, Device=0, RawAgent=0, Integrator=0, IsEmpty=False)


def _plain(jid: Any) -> str:
    """The JID as text, without device; empty for an empty one."""
    return f"{jid.User}@{jid.Server}" if jid.User else str(jid.Server)


def _is_phone(jid: Any) -> bool:
    return bool(jid.User) and jid.Server == "s.whatsapp.net"
