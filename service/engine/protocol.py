"""What parent and engine say to each other: length-prefixed msgpack frames of typed structs.

A frame is 4 bytes of big-endian length and that many bytes of msgpack. The parent sends commands,
the engine sends replies (one for each command, by its id) and events. The first frame from the
engine is `Hello`. A frame over `MAX_FRAME_BYTES`, or one that does not decode, ends the connection.
"""

import asyncio
import struct
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

import msgspec

from service.engine.content import AnyContent
from service.engine.turns import Use
from service.errors import FrameError

PROTOCOL_VERSION: Final = 1
MAX_FRAME_BYTES: Final = 1 << 20

_LENGTH: Final = struct.Struct(">I")


class Frame(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base of everything that crosses the socket pair."""


# --- commands: parent to engine ---------------------------------------------------------------


class Command(Frame, frozen=True):
    """Something the parent wants done. `id` is unique in the life of one engine.

    Deadlines are the parent's: past one, it ends the engine.
    """

    id: int


class Connect(Command, frozen=True, tag="connect"):
    """Open the session database and connect; without a paired device this leads to `QrCode`.

    An engine connects once: a second Connect is refused. No JID goes with it, because asking whatsmeow
    for a device that is not in its store kills the process (failure-modes.md H4). With `dsn` the session is
    in that PostgreSQL, and `database` only says where the engine's notes are.
    """

    database: str
    device_name: str
    proxy: str | None = None
    dsn: str | None = None

    def __repr__(self) -> str:
        """Without passwords: those of the proxy and of the database."""
        return f"Connect(id={self.id}, database={self.database!r}, device_name={self.device_name!r})"


class PairPhone(Command, frozen=True, tag="pair_phone"):
    """Ask for a pairing code for the phone with this number (digits only)."""

    phone: str


class Send(Command, frozen=True, tag="send"):
    """Send one message to one chat (a JID).

    `file` is the path of the bytes that the content's file names. `secret` is the 32-byte messageSecret
    that makes the send findable in whatsmeow's store. `token` is the sender's own number for it; `behind`
    is the token of an earlier Send to the same chat: if that one did not succeed, this one is not begun
    and is refused with `Refusal.SKIPPED`. `traceparent` (W3C) names the span that waits for it.
    """

    token: int
    chat: str
    content: AnyContent
    secret: bytes
    file: str | None = None
    behind: int | None = None
    traceparent: str | None = None


class SendPresence(Command, frozen=True, tag="presence"):
    """Tell WhatsApp that this device is available (or not)."""

    available: bool


class AskServer(Command, frozen=True, tag="ask_server"):
    """Ask WhatsApp something harmless that only its server can answer."""


class Logout(Command, frozen=True, tag="logout"):
    """Unlink this device; the session is gone afterwards."""


class Stop(Command, frozen=True, tag="stop"):
    """Finish the send in flight (for at most `within_s`), disconnect and end the process."""

    within_s: float


# --- replies: engine to parent, exactly one for each command ------------------------------------


class Refusal(StrEnum):
    """Why the engine did not do a command."""

    FAILED = "failed"  # neonize raised; the text says what
    SKIPPED = "skipped"  # not begun, because the send before it in the chat did not succeed
    NOT_CONNECTED = "not_connected"  # not begun, because there is no client to do it
    BUSY = "busy"  # not begun, because too much is at hand already


class Done(Frame, frozen=True, tag="done"):
    """The command was done."""

    id: int


class PairCode(Frame, frozen=True, tag="pair_code"):
    """The answer to PairPhone: the code that the person types into the phone."""

    id: int
    code: str


class Sent(Frame, frozen=True, tag="sent"):
    """The server acknowledged a Send. Times are Unix seconds; `took_s` is inside the engine."""

    id: int
    message_id: str
    timestamp: float
    took_s: float


class Answered(Frame, frozen=True, tag="answered"):
    """The server answered an AskServer; `refused`: with an error, which was heard as well."""

    id: int
    refused: bool


class Refused(Frame, frozen=True, tag="refused"):
    """The command was not done, or (FAILED, for a Send) may have been: the text decides."""

    id: int
    refusal: Refusal
    text: str


# --- events: engine to parent -------------------------------------------------------------------


class Hello(Frame, frozen=True, tag="hello"):
    """The first frame: who is speaking."""

    protocol: int
    pid: int
    neonize: str
    whatsmeow: str


class Heartbeat(Frame, frozen=True, tag="heartbeat"):
    """Every 5 s: is_connected and is_logged_in as neonize says, and how the child is.

    `unraisable`, `turns` and `turn_overruns` count from the child's start.
    """

    connected: bool
    logged_in: bool
    events_queued: int
    sends_at_hand: int
    resident_bytes: int
    threads: int
    open_fds: int
    unraisable: int
    turns: dict[Use, int] = {}
    turn_overruns: int = 0


class QrCode(Frame, frozen=True, tag="qr"):
    """The text that the phone must scan now; replaces the one before."""

    code: str


class Paired(Frame, frozen=True, tag="paired"):
    """The phone accepted this device; the engine should be recycled afterwards."""

    jid: str


class PairingEnded(Frame, frozen=True, tag="pairing_ended"):
    """Pairing is over without a device (codes used up, refused); the engine cannot go on (H3)."""

    text: str


class Connected(Frame, frozen=True, tag="connected"):
    """Authenticated and ready. `jid` is our own device."""

    jid: str


class Disconnected(Frame, frozen=True, tag="disconnected"):
    """The socket is gone; whatsmeow tries to reconnect by itself."""


class KeepAliveTimeout(Frame, frozen=True, tag="keepalive_timeout"):
    """Pings stay unanswered; no Disconnected comes with it."""

    failures: int
    last_success: float


class KeepAliveRestored(Frame, frozen=True, tag="keepalive_restored"):
    """Pings are answered again."""


class LoggedOut(Frame, frozen=True, tag="logged_out"):
    """The device is unlinked and its row deleted. `reason` is WhatsApp's own code (401, 403, 406)."""

    on_connect: bool
    reason: int


class StreamReplaced(Frame, frozen=True, tag="stream_replaced"):
    """Another process logged in with this session."""


class TemporaryBan(Frame, frozen=True, tag="temporary_ban"):
    """The account is banned for `expire_s` seconds (0: not said). `code` is WhatsApp's 101 to 106."""

    code: int
    expire_s: float


class ConnectFailure(Frame, frozen=True, tag="connect_failure"):
    """The server refused the login with one of its own codes (400, 409, 501 ...)."""

    reason: int
    text: str


class ClientOutdated(Frame, frozen=True, tag="client_outdated"):
    """The server refused this version of neonize (405)."""


class StreamError(Frame, frozen=True, tag="stream_error"):
    """A stream:error that whatsmeow has no rule for."""

    code: str


class ConnectEnded(Frame, frozen=True, tag="connect_ended"):
    """neonize's connect task ended: no more events will come, whatever the socket says (H1)."""

    text: str


class OfflineSynced(Frame, frozen=True, tag="offline_synced"):
    """Everything that waited at the server while we were away has been handed over."""

    count: int


class MessageReceived(Frame, frozen=True, tag="message"):
    """A message was decrypted. `chat` and `sender` are JIDs without device; `sender_pn` is the
    sender's phone-number JID where known. `content` is its kind by the tags of `engine.content`, "other"
    for what has none; `text` is empty for what is not text."""

    id: str
    chat: str
    sender: str
    sender_pn: str | None
    is_group: bool
    from_me: bool
    timestamp: float
    text: str
    content: str = "text"


class Unread(StrEnum):
    """What whatsmeow did with a message that it could not decrypt."""

    ASKED_AGAIN = "asked_again"  # its sender was asked to send it again
    GIVEN_UP = "given_up"  # its sender was asked four times, and is not any more
    OLD_COUNTER = "old_counter"  # its key was used before: dropped, confirmed, and nobody was asked


class Undecryptable(Frame, frozen=True, tag="undecryptable"):
    """A message came that could not be decrypted.

    OLD_COUNTER is a message that came twice, or one that its sender's own client spoiled.
    """

    id: str
    reason: Unread = Unread.ASKED_AGAIN


class ReceiptKind(StrEnum):
    """What a receipt says of a message (neonize's codes 1 to 11)."""

    DELIVERED = "delivered"
    SENDER = "sender"
    RETRY = "retry"
    READ = "read"
    READ_SELF = "read_self"
    PLAYED = "played"
    PLAYED_SELF = "played_self"
    SERVER_ERROR = "server_error"
    INACTIVE = "inactive"
    PEER = "peer"
    HISTORY_SYNC = "history_sync"


class Receipt(Frame, frozen=True, tag="receipt"):
    """One receipt for one or many messages that we sent, matched by their WhatsApp ids.

    `resent_by_engine`, for RETRY: whatsmeow still has the message and sends it again by itself.
    """

    message_ids: tuple[str, ...]
    receipt: ReceiptKind
    chat: str
    sender: str
    from_me: bool
    timestamp: float
    resent_by_engine: bool = False


class EventsDropped(Frame, frozen=True, tag="events_dropped"):
    """The bounded event queue was full; that many events were lost since the last such frame."""

    count: int


AnyCommand: TypeAlias = Connect | PairPhone | Send | SendPresence | AskServer | Logout | Stop
AnyReply: TypeAlias = Done | PairCode | Sent | Answered | Refused
AnyEvent: TypeAlias = (
    Hello
    | Heartbeat
    | QrCode
    | Paired
    | PairingEnded
    | Connected
    | Disconnected
    | KeepAliveTimeout
    | KeepAliveRestored
    | LoggedOut
    | StreamReplaced
    | TemporaryBan
    | ConnectFailure
    | ClientOutdated
    | StreamError
    | ConnectEnded
    | OfflineSynced
    | MessageReceived
    | Undecryptable
    | Receipt
    | EventsDropped
)

_ENCODER: Final = msgspec.msgpack.Encoder()
_COMMANDS: Final = msgspec.msgpack.Decoder(AnyCommand)
_ANSWERS: Final = msgspec.msgpack.Decoder(AnyReply | AnyEvent)


def encode(frame: Frame) -> bytes:
    """The frame as it goes over the wire, length included.

    Raises FrameError when it would be over `MAX_FRAME_BYTES` or holds text that has no UTF-8 form.
    """
    try:
        body = _ENCODER.encode(frame)
    except UnicodeEncodeError as error:
        raise FrameError(f"text that cannot be encoded: {error.reason}") from error
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {len(body)} bytes: at most {MAX_FRAME_BYTES} are allowed")
    return _LENGTH.pack(len(body)) + body


async def read_command(reader: asyncio.StreamReader) -> AnyCommand | None:
    """The next command, or None when the parent has closed its end. Raises FrameError."""
    body = await _read(reader)
    return None if body is None else _decode(_COMMANDS, body)


async def read_answer(reader: asyncio.StreamReader) -> AnyReply | AnyEvent | None:
    """The next reply or event, or None when the engine has closed its end. Raises FrameError."""
    body = await _read(reader)
    return None if body is None else _decode(_ANSWERS, body)


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"frame of {length} bytes: at most {MAX_FRAME_BYTES} are allowed")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as ended:
        if not ended.partial and ended.expected == _LENGTH.size:
            return None
        raise FrameError("the other side closed in the middle of a frame") from ended
    except ConnectionError:
        return None


T = TypeVar("T")


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"frame of {len(body)} bytes does not decode: {error}") from error
