"""Noise_XX_25519_AESGCM_SHA256, the server's side, and the certificates that vouch for its static key.

Source of the rules: noiseprotocol.org revision 34, and whatsmeow's handshake.go and
socket/noisehandshake.go. A certificate chain is root -> intermediate -> static key, signed with XEdDSA.
"""

import hashlib
import secrets
import struct
from typing import Final

import xeddsa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.errors import SimulatorError
from service.simulator import protobuf

PATTERN: Final = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
HEADER_BYTES: Final = 4  # "WA", 6, and the version of the dictionaries
_DAY_S: Final = 86400


class KeyPair:
    """A Curve25519 key pair that can agree and, as WhatsApp has it, sign (XEdDSA)."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """The shared secret with the owner of a public key. Raises SimulatorError for a bad key."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise SimulatorError(f"not a Curve25519 public key: {error}") from error

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature that verifies against the public key."""
        scalar = bytearray(self._private.private_bytes_raw())
        scalar[0] &= 248
        scalar[31] = scalar[31] & 127 | 64
        signing = xeddsa.priv_force_sign(bytes(scalar), False)
        return bytes(xeddsa.ed25519_priv_sign(signing, message, secrets.token_bytes(64)))


class Cipher:
    """One direction of an established link: AES-GCM with a counter as its nonce."""

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)
        self._count = 0

    def seal(self, plain: bytes) -> bytes:
        """The next frame of this direction, encrypted."""
        return self._key.encrypt(self._nonce(), plain, None)

    def open(self, sealed: bytes) -> bytes:
        """The next frame of this direction, decrypted. Raises SimulatorError when it is not that."""
        try:
            return self._key.decrypt(self._nonce(), sealed, None)
        except InvalidTag as error:
            raise SimulatorError("a frame does not decrypt") from error

    def _nonce(self) -> bytes:
        self._count += 1
        return struct.pack(">QI", 0, self._count - 1)


class Handshake:
    """The symmetric state of a handshake; both sides go through the same steps."""

    def __init__(self, header: bytes) -> None:
        self._hash = self._salt = PATTERN
        self._key = AESGCM(PATTERN)
        self._count = 0
        self.authenticate(header)

    def authenticate(self, data: bytes) -> None:
        """Mix what went over the wire in the clear into the hash."""
        self._hash = hashlib.sha256(self._hash + data).digest()

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt with the hash so far as associated data."""
        sealed = self._key.encrypt(self._nonce(), plain, self._hash)
        self.authenticate(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        """The other side's `encrypt`. Raises SimulatorError when it does not open."""
        try:
            plain = self._key.decrypt(self._nonce(), sealed, self._hash)
        except (InvalidTag, ValueError) as error:
            raise SimulatorError("a part of the handshake does not decrypt") from error
        self.authenticate(sealed)
        return plain

    def mix(self, secret: bytes) -> None:
        """Go on with keys that also depend on this shared secret."""
        self._salt, key = self._expand(secret)
        self._key = AESGCM(key)
        self._count = 0

    def split(self) -> tuple[Cipher, Cipher]:
        """The two ciphers of the link: client to server, server to client."""
        first, second = self._expand(b"")
        return Cipher(first), Cipher(second)

    def _expand(self, secret: bytes) -> tuple[bytes, bytes]:
        out = HKDF(hashes.SHA256(), 64, self._salt, b"").derive(secret)
        return out[:32], out[32:]

    def _nonce(self) -> bytes:
        self._count += 1
        return struct.pack(">QI", 0, self._count - 1)


class Identity:
    """The server's keys. Whoever trusts `root_key` trusts this server."""

    def __init__(self, now: float) -> None:
        root, intermediate = KeyPair(), KeyPair()
        self.static = KeyPair()
        self.root_key = root.public
        valid = (int(now) - _DAY_S, int(now) + 30 * _DAY_S)
        middle = protobuf.certificate(serial=1, issuer=0, key=intermediate.public, valid=valid)
        leaf = protobuf.certificate(serial=2, issuer=1, key=self.static.public, valid=valid)
        self.chain = protobuf.certificate_chain(
            intermediate=(middle, root.sign(middle)), leaf=(leaf, intermediate.sign(leaf))
        )


class ServerHandshake:
    """The responder: `respond` to the first frame, then `finish` with the second."""

    def __init__(self, identity: Identity, header: bytes) -> None:
        self._identity = identity
        self._state = Handshake(header)
        self._ephemeral = KeyPair()

    def respond(self, frame: bytes) -> bytes:
        """The server's hello to a client's. Raises SimulatorError."""
        theirs = protobuf.client_ephemeral(frame)
        state, ours = self._state, self._ephemeral
        state.authenticate(theirs)
        state.authenticate(ours.public)
        state.mix(ours.agree(theirs))
        static = state.encrypt(self._identity.static.public)
        state.mix(self._identity.static.agree(theirs))
        return protobuf.server_hello(ours.public, static, state.encrypt(self._identity.chain))

    def finish(self, frame: bytes) -> tuple[bytes, bytes, Cipher, Cipher]:
        """The client's static key and payload, then the ciphers to read and to write with.

        Raises SimulatorError.
        """
        static, payload = protobuf.client_finish(frame)
        public = self._state.decrypt(static)
        self._state.mix(self._ephemeral.agree(public))
        plain = self._state.decrypt(payload)
        return public, plain, *self._state.split()
