"""The Noise handshake, against a client written from the same specification."""

import pytest
import xeddsa
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SimulatorError
from service.simulator import library, protobuf
from service.simulator.noise import Handshake, Identity, KeyPair, ServerHandshake

HEADER = b"WA\x06\x03"
WA6 = library.module("neonize.proto.waWa6.WAWebProtobufsWa6_pb2")
CERT = library.module("neonize.proto.waCert.WACert_pb2")
IDENTITY = Identity(now=1_800_000_000)


def hello(ephemeral: KeyPair) -> bytes:
    message = WA6.HandshakeMessage(clientHello=WA6.HandshakeMessage.ClientHello(ephemeral=ephemeral.public))
    return bytes(message.SerializeToString())


def finish(static: bytes, payload: bytes) -> bytes:
    client = WA6.HandshakeMessage.ClientFinish(static=static, payload=payload)
    return bytes(WA6.HandshakeMessage(clientFinish=client).SerializeToString())


def verified(key: bytes, message: bytes, signature: bytes) -> bool:
    sign_bit = bool(signature[63] & 128)
    edwards = xeddsa.curve25519_pub_to_ed25519_pub(key, sign_bit)
    plain = signature[:63] + bytes([signature[63] & 127])
    return bool(xeddsa.ed25519_verify(plain, edwards, message))


def test_both_sides_end_with_the_same_keys_and_the_chain_leads_to_the_root() -> None:
    server = ServerHandshake(IDENTITY, HEADER)
    ephemeral, static, client = KeyPair(), KeyPair(), Handshake(HEADER)

    client.authenticate(ephemeral.public)
    reply = WA6.HandshakeMessage.FromString(server.respond(hello(ephemeral))).serverHello
    client.authenticate(reply.ephemeral)
    client.mix(ephemeral.agree(reply.ephemeral))
    server_key = client.decrypt(reply.static)
    client.mix(ephemeral.agree(server_key))
    chain = CERT.CertChain.FromString(client.decrypt(reply.payload))
    sealed = client.encrypt(static.public)
    client.mix(static.agree(reply.ephemeral))
    payload = WA6.ClientPayload(username=12025550100, device=7).SerializeToString()
    noise_key, received, reading, writing = server.finish(finish(sealed, client.encrypt(payload)))

    assert noise_key == static.public
    assert protobuf.client_payload(received) == protobuf.Login("12025550100", 7)
    to_server, to_client = client.split()
    for text in (b"first", b"second"):
        assert reading.open(to_server.seal(text)) == text
        assert to_client.open(writing.seal(text)) == text

    middle = CERT.CertChain.NoiseCertificate.Details.FromString(chain.intermediate.details)
    leaf = CERT.CertChain.NoiseCertificate.Details.FromString(chain.leaf.details)
    assert verified(IDENTITY.root_key, chain.intermediate.details, chain.intermediate.signature)
    assert verified(middle.key, chain.leaf.details, chain.leaf.signature)
    assert (middle.issuerSerial, leaf.issuerSerial, leaf.key) == (0, middle.serial, server_key)


@given(st.binary(max_size=200))
def test_a_first_frame_of_garbage_is_an_error(frame: bytes) -> None:
    with pytest.raises(SimulatorError):
        ServerHandshake(IDENTITY, HEADER).respond(frame)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_second_frame_that_was_not_sealed_with_the_keys_is_an_error(static: bytes, payload: bytes) -> None:
    server = ServerHandshake(IDENTITY, HEADER)
    server.respond(hello(KeyPair()))
    with pytest.raises(SimulatorError):
        server.finish(finish(static, payload))


def test_a_replayed_frame_does_not_open() -> None:
    state = Handshake(HEADER)
    reading, _ = state.split()
    writing, _ = state.split()
    frame = writing.seal(b"once")
    reading.open(frame)
    with pytest.raises(SimulatorError):
        reading.open(frame)
