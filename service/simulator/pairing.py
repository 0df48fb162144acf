"""Linking a new device: what the server does, and what the person's phone does, by QR or by code.

The phone certifies the device's identity key with the account key and proves with a shared secret that
it saw the QR code or the pairing code. The phone's side of the code exchange is the mirror of
whatsmeow's pair-code.go; the server only carries it.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.clock import Clock
from service.errors import SimulatorError
from service.simulator import protobuf
from service.simulator.accounts import Account, Device, Directory
from service.simulator.endings import RESTART
from service.simulator.link import Link
from service.simulator.noise import KeyPair
from service.simulator.stanza import SERVER, Attributes, Node

_REFS: Final = 6
_CODE_ROUNDS: Final = 2 << 16
_ANSWER_S: Final = 15.0
T = TypeVar("T")
_BUNDLE_INFO: Final = b"link_code_pairing_key_bundle_encryption_key"


class Candidate:
    """A connected device that waits to be linked."""

    def __init__(self, connection: Link) -> None:
        self.connection = connection
        self.refs = frozenset(f"2@{secrets.token_urlsafe(24)}" for _ in range(_REFS))
        self.code_phone: str | None = None
        self.code_ref = b""
        self.companion_key = b""  # the device's ephemeral key, wrapped with the pairing code
        self.finish: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def give_up(self, reason: str) -> None:
        """Nobody need wait for this device any more."""
        for future in (self.finish, self.outcome):
            if not future.done():
                future.set_exception(SimulatorError(reason))
                future.exception()  # whoever waits gets it; when nobody does, that is no fault


class Pairing:
    """All devices that wait to be linked."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._candidates: dict[bytes, Candidate] = {}

    @property
    def waiting(self) -> int:
        """Devices that show a QR code now."""
        return len(self._candidates)

    def begin(self, connection: Link) -> Candidate:
        """A new device has connected: give it what its QR codes are made of."""
        candidate = self._candidates[connection.noise_key] = Candidate(connection)
        refs = tuple(Node("ref", {}, ref.encode()) for ref in sorted(candidate.refs))
        attrs: Attributes = {"from": SERVER, "id": secrets.token_hex(4), "type": "set"}
        connection.post(Node("iq", attrs, (Node("pair-device", {}, refs),)))
        return candidate

    def end(self, candidate: Candidate) -> None:
        """The device has gone, linked or not."""
        if self._candidates.get(candidate.connection.noise_key) is candidate:
            del self._candidates[candidate.connection.noise_key]
        candidate.give_up("the device hung up before it was linked")

    def handle(self, candidate: Candidate, node: Node) -> None:
        """A stanza of a device that is not linked yet. Raises SimulatorError."""
        if node.tag != "iq":
            return
        if node.get("type") == "error":
            text = " ".join(f"{error.get('code')} {error.get('text')}" for error in node.children("error"))
            candidate.give_up(f"the device refused to be linked: {text}")
        elif node.child("pair-device-sign") is not None and not candidate.outcome.done():
            candidate.outcome.set_result(None)
        elif (step := node.child("link_code_companion_reg")) is not None:
            self._carry(candidate, node, step)
        elif node.get("type") in ("get", "set"):
            self._reply(candidate, node)

    async def scan(self, qr: str, phone: str) -> None:
        """The phone scans a QR text. Returns when the device is linked. Raises SimulatorError."""
        try:
            ref, noise, identity, secret, *_ = qr.rpartition("#")[2].split(",")
            noise_key, identity_key, adv_secret = (
                base64.b64decode(part, validate=True) for part in (noise, identity, secret)
            )
        except (ValueError, binascii.Error) as error:
            raise SimulatorError("that is no QR code of a new device") from error
        candidate = self._candidates.get(noise_key)
        if candidate is None or ref not in candidate.refs:
            raise SimulatorError("no connected device shows this QR code (any more)")
        await self._certify(candidate, self._directory.register(phone), identity_key, adv_secret)

    async def enter_code(self, code: str, phone: str) -> None:
        """The person types a pairing code into the phone. Returns when the device is linked.

        Raises SimulatorError, also for a wrong code.
        """
        waiting = [found for found in self._candidates.values() if found.code_phone == phone]
        if not waiting:
            raise SimulatorError("no connected device has asked for a code for this number")
        candidate, plain_code = waiting[-1], code.replace("-", "").strip().upper().encode()
        account, ephemeral = self._directory.register(phone), KeyPair()
        companion = _wrap(plain_code, candidate.companion_key[:48], candidate.companion_key[48:])
        head = secrets.token_bytes(48)
        wrapped = head + _wrap(plain_code, head, ephemeral.public)
        content = (
            Node("link_code_pairing_wrapped_primary_ephemeral_pub", {}, wrapped),
            Node("primary_identity_pub", {}, account.keys.public),
            Node("link_code_pairing_ref", {}, candidate.code_ref),
        )
        attrs: Attributes = {"from": SERVER, "id": secrets.token_hex(4), "type": "link_code_companion_reg"}
        step = Node("link_code_companion_reg", {"stage": "primary_hello"}, content)
        candidate.connection.post(Node("notification", {**attrs, "t": self._now()}, (step,)))
        finish = await _answer(candidate.finish)
        identity_key = finish.need("companion_identity_public").data()
        bundle = finish.need("link_code_pairing_wrapped_key_bundle").data()
        adv_secret = _open_bundle(bundle, account, ephemeral.agree(companion), identity_key)
        await self._certify(candidate, account, identity_key, adv_secret)

    async def _certify(
        self, candidate: Candidate, account: Account, identity_key: bytes, adv_secret: bytes
    ) -> None:
        device = Device(account, account.next_device, candidate.connection.noise_key)
        details = protobuf.device_details(key_index=device.number, timestamp=int(self._clock.now()))
        sealed = protobuf.signed_device_identity(
            details=details,
            account_key=account.keys.public,
            signature=account.keys.sign(b"\x06\x00" + details + identity_key),
            secret=adv_secret,
        )
        content = (
            Node("device-identity", {}, sealed),
            Node("device", {"jid": device.pn, "lid": device.lid}),
            Node("platform", {"name": "android"}),
        )
        attrs: Attributes = {"from": SERVER, "id": secrets.token_hex(4), "type": "set", "t": self._now()}
        candidate.connection.post(Node("iq", attrs, (Node("pair-success", {}, content),)))
        await _answer(candidate.outcome)
        self._directory.link(device)
        candidate.connection.end(RESTART)

    def _carry(self, candidate: Candidate, node: Node, step: Node) -> None:
        """The server's part of pairing by code: keep the hello, pass on the finish."""
        if step.get("stage") == "companion_hello":
            candidate.code_phone = step.jid("jid").user
            candidate.companion_key = step.need("link_code_pairing_wrapped_companion_ephemeral_pub").data()
            candidate.code_ref = secrets.token_bytes(16)
            if len(candidate.companion_key) != 80:
                raise SimulatorError("a wrapped companion key must have 80 bytes")
            ref = Node("link_code_pairing_ref", {}, candidate.code_ref)
            stage = {"stage": "companion_hello"}
            self._reply(candidate, node, (Node("link_code_companion_reg", stage, (ref,)),))
        else:
            self._reply(candidate, node)
            if not candidate.finish.done():
                candidate.finish.set_result(step)

    def _reply(self, candidate: Candidate, node: Node, content: tuple[Node, ...] | None = None) -> None:
        attrs: Attributes = {"from": SERVER, "id": node.get("id"), "type": "result"}
        candidate.connection.post(Node("iq", attrs, content))

    def _now(self) -> str:
        return str(int(self._clock.now()))


async def _answer(future: asyncio.Future[T]) -> T:
    try:
        return await asyncio.wait_for(asyncio.shield(future), _ANSWER_S)
    except TimeoutError as error:
        raise SimulatorError(f"the device did not answer within {_ANSWER_S:.0f} s") from error


def _wrap(code: bytes, head: bytes, key: bytes) -> bytes:
    """A public key under a pairing code: AES-CTR, its own inverse. `head` is 32 bytes of salt, 16 of IV."""
    derived = hashlib.pbkdf2_hmac("sha256", code, head[:32], _CODE_ROUNDS, 32)
    stream = Cipher(algorithms.AES(derived), modes.CTR(head[32:48])).encryptor()
    return stream.update(key) + stream.finalize()


def _open_bundle(bundle: bytes, account: Account, shared: bytes, identity_key: bytes) -> bytes:
    """The secret for the device's certificate, from the bundle that only the right code could seal."""
    salt, nonce, sealed = bundle[:32], bundle[32:44], bundle[44:]
    try:
        plain = AESGCM(_derive(shared, salt, _BUNDLE_INFO)).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError) as error:
        raise SimulatorError("the pairing code is wrong") from error
    if plain[:32] != identity_key or plain[32:64] != account.keys.public or len(plain) != 96:
        raise SimulatorError("the device answered with keys that are not its own and the phone's")
    return _derive(shared + account.keys.agree(identity_key) + plain[64:], None, b"adv_secret")


def _derive(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)
