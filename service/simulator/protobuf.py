"""The few protobuf messages that the server itself reads and writes, as plain functions.

Their classes are the installed neonize's own. Everything that comes from a client raises SimulatorError
when it does not parse.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from service.errors import SimulatorError
from service.simulator import library

_WA6 = "neonize.proto.waWa6.WAWebProtobufsWa6_pb2"
_ADV = "neonize.proto.waAdv.WAAdv_pb2"
_CERT = "neonize.proto.waCert.WACert_pb2"


@dataclass(frozen=True, slots=True)
class Login:
    """Who a client says it is: a device of a phone number, or (`phone` is None) a new device."""

    phone: str | None
    device: int


def _parse(kind: Any, data: bytes) -> Any:
    decode_error = library.module("google.protobuf.message").DecodeError
    try:
        return kind.FromString(data)
    except decode_error as error:
        raise SimulatorError(f"{len(data)} bytes that are no {kind.DESCRIPTOR.name}: {error}") from error


def client_ephemeral(frame: bytes) -> bytes:
    """The client's ephemeral key in its first handshake frame."""
    return bytes(_parse(library.module(_WA6).HandshakeMessage, frame).clientHello.ephemeral)


def server_hello(ephemeral: bytes, static: bytes, payload: bytes) -> bytes:
    """The server's handshake frame; `static` and `payload` are sealed."""
    wa6 = library.module(_WA6)
    hello = wa6.HandshakeMessage.ServerHello(ephemeral=ephemeral, static=static, payload=payload)
    return bytes(wa6.HandshakeMessage(serverHello=hello).SerializeToString())


def client_finish(frame: bytes) -> tuple[bytes, bytes]:
    """The sealed static key and the sealed payload in the client's second handshake frame."""
    finish = _parse(library.module(_WA6).HandshakeMessage, frame).clientFinish
    return bytes(finish.static), bytes(finish.payload)


def client_payload(data: bytes) -> Login:
    """Who logs in."""
    payload = _parse(library.module(_WA6).ClientPayload, data)
    if payload.HasField("devicePairingData"):
        return Login(None, 0)
    return Login(str(payload.username), int(payload.device))


def certificate(*, serial: int, issuer: int, key: bytes, valid: tuple[int, int]) -> bytes:
    """The part of a certificate that is signed. `valid` is from and until, in Unix seconds."""
    details = library.module(_CERT).CertChain.NoiseCertificate.Details(
        serial=serial, issuerSerial=issuer, key=key, notBefore=valid[0], notAfter=valid[1]
    )
    return bytes(details.SerializeToString())


def certificate_chain(*, intermediate: tuple[bytes, bytes], leaf: tuple[bytes, bytes]) -> bytes:
    """Two certificates, each as its signed part and the signature."""
    chain = library.module(_CERT).CertChain
    parts = {
        name: chain.NoiseCertificate(details=details, signature=signature)
        for name, (details, signature) in (("intermediate", intermediate), ("leaf", leaf))
    }
    return bytes(chain(**parts).SerializeToString())


def device_details(*, key_index: int, timestamp: int) -> bytes:
    """What the phone certifies about a new device."""
    details = library.module(_ADV).ADVDeviceIdentity(rawID=1, timestamp=timestamp, keyIndex=key_index)
    return bytes(details.SerializeToString())


def signed_device_identity(*, details: bytes, account_key: bytes, signature: bytes, secret: bytes) -> bytes:
    """The phone's certificate for a new device, authenticated with the secret that both know."""
    adv = library.module(_ADV)
    signed = adv.ADVSignedDeviceIdentity(
        details=details, accountSignatureKey=account_key, accountSignature=signature
    ).SerializeToString()
    tag = hmac.new(secret, signed, hashlib.sha256).digest()
    return bytes(adv.ADVSignedDeviceIdentityHMAC(details=signed, HMAC=tag).SerializeToString())
