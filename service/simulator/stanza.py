"""Stanzas: WhatsApp's binary XML, as values and as bytes.

The format is that of whatsmeow's `binary` package (encoder.go, decoder.go, token/token.go): a flag byte
(bit 2: zlib), then one node of tokens, packed digits, JIDs and raw bytes. Content is always bytes or
nodes here: a token or a JID in the place of content is read as its text in UTF-8.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from service.errors import SimulatorError

MAX_STANZA_BYTES: Final = 4 << 20
MAX_PARTS: Final = 100_000
MAX_DEPTH: Final = 32

PHONE_SERVER: Final = "s.whatsapp.net"
LID_SERVER: Final = "lid"
GROUP_SERVER: Final = "g.us"

_DICTIONARIES: Final = range(236, 240)
_DEVICE_JID, _LIST_8, _LIST_16, _JID_PAIR, _HEX, _BYTES_8, _BYTES_20, _BYTES_32, _NIBBLES = range(247, 256)
_DOMAINS: Final = {0: PHONE_SERVER, 1: LID_SERVER, 128: "hosted", 129: "hosted.lid"}
_DOMAIN_OF: Final = {server: domain for domain, server in _DOMAINS.items()}
_COMPRESSED: Final = 2

_NIBBLE_TEXT: Final = re.compile(r"[0-9.\-]{0,127}")
_HEX_TEXT: Final = re.compile(r"[0-9A-F]{0,127}")
_NIBBLE_VALUES: Final = {character: value for value, character in enumerate("0123456789-.")}
_HEX_VALUES: Final = {character: value for value, character in enumerate("0123456789ABCDEF")}
_NIBBLE_CHARACTERS: Final = "0123456789-.???\0"  # 12 to 14 are refused before they are looked up
_HEX_CHARACTERS: Final = "0123456789ABCDEF"


@dataclass(frozen=True, slots=True)
class JID:
    """An address: an account, or one device of it. `user` is empty for the server itself."""

    user: str
    server: str
    device: int = 0

    def account(self) -> "JID":
        """The same address without its device."""
        return JID(self.user, self.server)

    def __str__(self) -> str:
        if not self.user:
            return self.server
        return f"{self.user}:{self.device}@{self.server}" if self.device else f"{self.user}@{self.server}"


SERVER: Final = JID("", PHONE_SERVER)

Attribute: TypeAlias = str | JID
Attributes: TypeAlias = dict[str, Attribute]


@dataclass(frozen=True, slots=True)
class Node:
    """One element. Empty content and no content are the same on the wire, and here `None`."""

    tag: str
    attrs: Mapping[str, Attribute] = field(default_factory=dict)
    content: "bytes | tuple[Node, ...] | None" = None

    def children(self, tag: str | None = None) -> "tuple[Node, ...]":
        """The child nodes, all or those with this tag; none when the content is bytes."""
        nodes = self.content if isinstance(self.content, tuple) else ()
        return nodes if tag is None else tuple(node for node in nodes if node.tag == tag)

    def child(self, tag: str) -> "Node | None":
        """The first child with this tag."""
        return next((node for node in self.children() if node.tag == tag), None)

    def need(self, tag: str) -> "Node":
        """The first child with this tag. Raises SimulatorError when there is none."""
        found = self.child(tag)
        if found is None:
            raise SimulatorError(f"<{self.tag}> has no <{tag}>")
        return found

    def data(self) -> bytes:
        """The content as bytes. Raises SimulatorError when it is not."""
        if not isinstance(self.content, bytes):
            raise SimulatorError(f"<{self.tag}> does not hold bytes")
        return self.content

    def get(self, name: str) -> str:
        """An attribute as text, empty when it is absent."""
        return str(self.attrs.get(name, ""))

    def jid(self, name: str) -> JID:
        """An attribute that must be an address. Raises SimulatorError when it is not."""
        value = self.attrs.get(name)
        if not isinstance(value, JID):
            raise SimulatorError(f"<{self.tag}>: {name} must be a JID")
        return value


@dataclass(frozen=True, slots=True)
class Tokens:
    """The dictionaries of one client build: 236 single-byte tokens and four tables of 256."""

    single: tuple[str, ...]
    double: tuple[tuple[str, ...], ...]


class Codec:
    """Between nodes and bytes, with the dictionaries of the client at the other end."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._codes: dict[str, bytes] = {}
        for index, token in enumerate(tokens.single):
            if token:
                self._codes.setdefault(token, bytes([index]))
        for dictionary, table in zip(_DICTIONARIES, tokens.double, strict=True):
            for index, token in enumerate(table):
                self._codes.setdefault(token, bytes([dictionary, index]))

    def encode(self, node: Node) -> bytes:
        """The node as a stanza, not compressed. Raises SimulatorError when it cannot be written."""
        out = bytearray(1)
        self._node(out, node)
        if len(out) > MAX_STANZA_BYTES:
            raise SimulatorError(f"stanza of {len(out)} bytes: at most {MAX_STANZA_BYTES} are allowed")
        return bytes(out)

    def decode(self, stanza: bytes) -> Node:
        """The one node of a stanza. Raises SimulatorError for anything that is not exactly that."""
        if not stanza:
            raise SimulatorError("an empty stanza")
        body = _inflate(stanza[1:]) if stanza[0] & _COMPRESSED else stanza[1:]
        if len(body) > MAX_STANZA_BYTES:
            raise SimulatorError(f"stanza of {len(body)} bytes: at most {MAX_STANZA_BYTES} are allowed")
        reader = _Reader(body, self._tokens)
        node = reader.node(0)
        if reader.at != len(body):
            raise SimulatorError(f"{len(body) - reader.at} bytes behind the end of a stanza")
        return node

    def _node(self, out: bytearray, node: Node) -> None:
        if not node.tag:
            raise SimulatorError("a node without a tag")
        content = node.content
        if content == ():
            content = None
        _list_size(out, 1 + 2 * len(node.attrs) + (content is not None))
        self._text(out, node.tag)
        for name, value in node.attrs.items():
            self._text(out, name)
            if isinstance(value, JID):
                self._jid(out, value)
            else:
                self._text(out, value)
        if isinstance(content, bytes):
            _bytes(out, content)
        elif content is not None:
            _list_size(out, len(content))
            for child in content:
                self._node(out, child)

    def _jid(self, out: bytearray, jid: JID) -> None:
        domain = _DOMAIN_OF.get(jid.server)
        if domain is not None and (jid.device or domain >= 128):
            if not 0 <= jid.device < 256:
                raise SimulatorError(f"device {jid.device}: must be from 0 to 255")
            out += bytes((_DEVICE_JID, domain, jid.device))
            self._text(out, jid.user)
            return
        if jid.device:
            raise SimulatorError(f"an address at {jid.server} has no device")
        out.append(_JID_PAIR)
        if jid.user:
            self._text(out, jid.user)
        else:
            out.append(0)
        self._text(out, jid.server)

    def _text(self, out: bytearray, text: str) -> None:
        code = self._codes.get(text)
        if code is not None:
            out += code
        elif _NIBBLE_TEXT.fullmatch(text):
            _packed(out, _NIBBLES, text, _NIBBLE_VALUES)
        elif _HEX_TEXT.fullmatch(text):
            _packed(out, _HEX, text, _HEX_VALUES)
        else:
            _bytes(out, text.encode())


def _list_size(out: bytearray, size: int) -> None:
    if size < 256:
        out += bytes((_LIST_8, size))
    elif size < 65536:
        out.append(_LIST_16)
        out += size.to_bytes(2, "big")
    else:
        raise SimulatorError(f"a list of {size}: at most 65535 are allowed")


def _bytes(out: bytearray, data: bytes) -> None:
    if len(data) < 1 << 8:
        out += bytes((_BYTES_8, len(data)))
    elif len(data) < 1 << 20:
        out.append(_BYTES_20)
        out += len(data).to_bytes(3, "big")
    else:
        out.append(_BYTES_32)
        out += len(data).to_bytes(4, "big")
    out += data


def _packed(out: bytearray, kind: int, text: str, values: Mapping[str, int]) -> None:
    odd = len(text) & 1
    halves = [values[character] for character in text] + [15] * odd
    out += bytes((kind, len(halves) // 2 | odd << 7))
    out += bytes(high << 4 | low for high, low in zip(halves[::2], halves[1::2], strict=True))


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, MAX_STANZA_BYTES)
    except zlib.error as error:
        raise SimulatorError(f"a compressed stanza does not inflate: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise SimulatorError(f"a compressed stanza is cut off or over {MAX_STANZA_BYTES} bytes")
    return body


class _Reader:
    """One pass over a stanza's bytes; every part is counted, so that nothing can be made to take long."""

    def __init__(self, data: bytes, tokens: Tokens) -> None:
        self._data = data
        self._tokens = tokens
        self._parts = 0
        self.at = 0

    def node(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise SimulatorError(f"a stanza nested deeper than {MAX_DEPTH}")
        size = self._list_size(self._byte())
        if size == 0:
            raise SimulatorError("a node without a tag")
        tag = self._text()
        if not tag:
            raise SimulatorError("a node without a tag")
        attrs: dict[str, Attribute] = {}
        for _ in range((size - 1) >> 1):
            name = self._text()
            attrs[name] = self._attribute()
        return Node(tag, attrs, self._content(depth) if size % 2 == 0 else None)

    def _content(self, depth: int) -> bytes | tuple[Node, ...] | None:
        kind = self._byte()
        if kind == 0:
            return None
        if kind in (_LIST_8, _LIST_16):
            nodes = tuple(self.node(depth + 1) for _ in range(self._list_size(kind)))
            return nodes or None
        if kind in (_BYTES_8, _BYTES_20, _BYTES_32):
            return self._take(self._bytes_size(kind))
        return str(self._scalar(kind)).encode()

    def _attribute(self) -> Attribute:
        kind = self._byte()
        return "" if kind == 0 else self._scalar(kind)

    def _text(self) -> str:
        value = self._scalar(self._byte())
        if not isinstance(value, str):
            raise SimulatorError("an address stands where text belongs")
        return value

    def _scalar(self, kind: int) -> Attribute:
        self._count()
        if kind in _DICTIONARIES:
            return self._tokens.double[kind - _DICTIONARIES.start][self._byte()]
        if kind in (_BYTES_8, _BYTES_20, _BYTES_32):
            return self._utf8(self._bytes_size(kind))
        if kind in (_NIBBLES, _HEX):
            return self._unpack(kind)
        if kind == _JID_PAIR:
            first = self._byte()
            user = "" if first == 0 else self._plain(first)
            return JID(user, self._plain(self._byte()))
        if kind == _DEVICE_JID:
            domain, device = self._byte(), self._byte()
            if domain not in _DOMAINS:
                raise SimulatorError(f"a device JID in domain {domain}: known are {sorted(_DOMAINS)}")
            return JID(self._plain(self._byte()), _DOMAINS[domain], device)
        if 1 <= kind < len(self._tokens.single):
            return self._tokens.single[kind]
        raise SimulatorError(f"no token {kind} at {self.at - 1}")

    def _plain(self, kind: int) -> str:
        if kind in (_JID_PAIR, _DEVICE_JID):  # an address inside an address would recurse without bound
            raise SimulatorError("an address stands inside an address")
        return str(self._scalar(kind))

    def _unpack(self, kind: int) -> str:
        head = self._byte()
        packed = self._take(head & 127)
        characters = []
        for byte in packed:
            for value in (byte >> 4, byte & 15):
                if kind == _NIBBLES and 12 <= value < 15:
                    raise SimulatorError(f"no digit {value} in packed text")
                characters.append((_NIBBLE_CHARACTERS if kind == _NIBBLES else _HEX_CHARACTERS)[value])
        if head >> 7:
            if not characters:
                raise SimulatorError("packed text of a negative length")
            characters.pop()
        return "".join(characters)

    def _list_size(self, kind: int) -> int:
        self._count()
        if kind == 0:
            return 0
        if kind == _LIST_8:
            return self._byte()
        if kind == _LIST_16:
            return int.from_bytes(self._take(2), "big")
        raise SimulatorError(f"{kind} stands where a list begins, at {self.at - 1}")

    def _bytes_size(self, kind: int) -> int:
        if kind == _BYTES_8:
            return self._byte()
        if kind == _BYTES_20:
            return int.from_bytes(self._take(3), "big") & 0xFFFFF
        return int.from_bytes(self._take(4), "big")

    def _utf8(self, size: int) -> str:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise SimulatorError(f"text that is not UTF-8: {error}") from error

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise SimulatorError("a stanza ends too early")
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise SimulatorError("a stanza ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise SimulatorError(f"a stanza of more than {MAX_PARTS} parts")
