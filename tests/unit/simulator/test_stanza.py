"""Stanzas, with the dictionaries of the installed neonize."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SimulatorError
from service.simulator import library
from service.simulator.stanza import JID, MAX_STANZA_BYTES, SERVER, Codec, Node

TOKENS = library.tokens()
CODEC = Codec(TOKENS)

ALL_TOKENS = [text for table in (TOKENS.single, *TOKENS.double) for text in table if text]

token = st.integers(0, len(ALL_TOKENS) - 1).map(lambda index: ALL_TOKENS[index])
digits = st.text("0123456789.-", max_size=200)
hexadecimal = st.text("0123456789ABCDEF", max_size=200)
texts = token | digits | hexadecimal | st.text(max_size=300)
plain_jids = st.builds(JID, texts, st.sampled_from(["s.whatsapp.net", "lid", "g.us", "newsletter"]))
devices = st.builds(
    JID, texts, st.sampled_from(["s.whatsapp.net", "lid", "hosted", "hosted.lid"]), st.integers(1, 255)
)
attributes = st.dictionaries(texts, texts | plain_jids | devices, max_size=5)
contents = st.none() | st.binary(max_size=400)
nodes = st.recursive(
    st.builds(Node, texts.filter(bool), attributes, contents),
    lambda inner: st.builds(
        Node, texts.filter(bool), attributes, st.lists(inner, min_size=1, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


@given(nodes)
def test_what_is_encoded_decodes_to_the_same(node: Node) -> None:
    assert CODEC.decode(CODEC.encode(node)) == node


@given(nodes)
def test_a_compressed_stanza_is_the_same_stanza(node: Node) -> None:
    plain = CODEC.encode(node)
    assert CODEC.decode(b"\2" + zlib.compress(plain[1:])) == node


@given(st.binary(max_size=4096))
def test_arbitrary_bytes_are_a_node_or_an_error(data: bytes) -> None:
    _survives(data)


@given(nodes, st.data())
def test_a_damaged_stanza_is_a_node_or_an_error(node: Node, data: st.DataObject) -> None:
    stanza = bytearray(CODEC.encode(node))
    for _ in range(data.draw(st.integers(1, 4))):
        stanza[data.draw(st.integers(0, len(stanza) - 1))] = data.draw(st.integers(0, 255))
    _survives(bytes(stanza[: data.draw(st.integers(0, len(stanza)))]))


@pytest.mark.parametrize(
    ("stanza", "words"),
    [
        (b"", "empty"),
        (b"\0", "too early"),
        (b"\0\xf8\x01\xfc\x00", "without a tag"),
        (b"\0\xf8\x00", "without a tag"),
        (b"\0\xf8\x01\x07\x07", "behind the end"),
        (b"\0" + b"\xf8\x02\x07\xf8\x01" * 100, "nested deeper"),
        (b"\0\xf8\x02\x07\xf9\xff\xff" + b"\xf8\x01\x07" * 60_000, "parts"),
        (b"\0\xf8\x02\x07\xfe\xff\xff\xff\xff", "too early"),
        (b"\0" * (MAX_STANZA_BYTES + 2), "at most"),
        (b"\2" + zlib.compress(bytes(MAX_STANZA_BYTES + 1)), "over"),
        (b"\2" + zlib.compress(b"\xf8\x01\x07" * 9)[:-5], "cut off"),
        (b"\2nonsense", "inflate"),
        (b"\0\xf8\x03\x07\x07" + b"\xfa" * 3000, "inside an address"),
        (b"\0\xf8\x03\x07\x07\xf7\x09\x01\x07", "domain 9"),
        (b"\0\xf8\x01\xff\x81\xcc", "digit"),
        (b"\0\xf8\x01\xff\x80", "negative"),
        (b"\0\xf8\x01\xfc\x02\xc3\x28", "UTF-8"),
        (b"\0\xf8\x01\xf5", "no token"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malice_is_refused_at_once(stanza: bytes, words: str) -> None:
    with pytest.raises(SimulatorError, match=words):
        CODEC.decode(stanza)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Node(""), "without a tag"),
        (Node("a", {"to": JID("1", "lid", 256)}), "from 0 to 255"),
        (Node("a", {"to": JID("1", "g.us", 1)}), "has no device"),
        (Node("a", {}, bytes(MAX_STANZA_BYTES)), "at most"),
        (Node("a", {}, (Node("b"),) * 65536), "at most 65535"),
    ],
    ids=["tag", "device", "group-device", "size", "list"],
)
def test_what_the_format_cannot_hold_is_not_written(node: Node, words: str) -> None:
    with pytest.raises(SimulatorError, match=words):
        CODEC.encode(node)


def test_tokens_and_digits_are_written_as_whatsmeow_does() -> None:
    node = Node("iq", {"to": SERVER, "id": "123", "hash": "3EB0A"})
    assert CODEC.encode(node).hex() == "00f8071911fa000308ff82123f5ffb833eb0af"


def test_a_token_in_the_place_of_content_is_its_text() -> None:
    receipt = bytes([TOKENS.single.index("receipt")])
    assert CODEC.decode(b"\0\xf8\x02\x19" + receipt) == Node("iq", {}, b"receipt")


def _survives(data: bytes) -> None:
    try:
        decoded = CODEC.decode(data)
    except SimulatorError:
        return
    assert isinstance(decoded, Node)
