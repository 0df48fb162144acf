"""What backups are sealed with: 32-byte keys, the first for writing, all for reading.

Of each key three things are derived with HKDF-SHA256 (RFC 5869): a key for AES-256-GCM, a key for the names
of chunks, and the id by which a backup says what sealed it. A new first key therefore gives every chunk a new
name: the next backup is stored whole, and nothing of it depends on the key that was given up.
"""

import base64
import binascii
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from service.errors import BackupKeyMissing, BackupUnreadable, DataDirUnusable, SettingsError

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
CHUNK_ID_BYTES: Final = 16
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_RULE: Final = "must be 32 random bytes as 64 hex digits or as base64 (openssl rand -hex 32)"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as what is derived of it."""

    id: str
    cipher: AESGCM = field(repr=False)
    naming: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """From its 32 bytes."""
        return cls(
            id=_derived(secret, "id", KEY_ID_BYTES).hex(),
            cipher=AESGCM(_derived(secret, "seal", 32)),
            naming=_derived(secret, "name", 32),
        )

    def name(self, data: bytes, *, account: str) -> bytes:
        """The name of a chunk or a page of this account: equal for equal bytes, telling nothing without
        the key (keyed BLAKE2b, RFC 7693)."""
        digest = hashlib.blake2b(key=self.naming, digest_size=CHUNK_ID_BYTES, person=b"beacon chunk")
        owner = account.encode()
        digest.update(len(owner).to_bytes(2, "big") + owner)
        digest.update(data)
        return digest.digest()

    def seal(self, data: bytes, *, bound_to: bytes) -> bytes:
        """A random nonce and the ciphertext with its tag, of use only together with `bound_to`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, data, bound_to)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys, the one that seals first. `local` says that it exists on this machine alone."""

    all: tuple[Key, ...]
    local: bool = False

    @classmethod
    def load(cls, backup_keys: tuple[SecretStr, ...] | None, *, key_file: Path) -> Self:
        """The keys of the setting; without any, the one of the key file, which is made when it is missing.

        Raises SettingsError, DataDirUnusable.
        """
        if backup_keys:
            return cls(tuple(Key.of(_parsed(key.get_secret_value())) for key in backup_keys))
        return cls((Key.of(_kept(key_file)),), local=True)

    @property
    def sealing(self) -> Key:
        """What new backups are sealed with."""
        return self.all[0]

    def get(self, key_id: str) -> Key:
        """The key of that id. Raises BackupKeyMissing."""
        for key in self.all:
            if key.id == key_id:
                return key
        raise BackupKeyMissing(key_id)


def _parsed(text: str) -> bytes:
    text = text.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        secret = base64.b64decode(padded, altchars=b"-_" if set("-_") & set(text) else None, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError([f"BACKUP_KEYS=***: each {_RULE}"])
    return secret


def _kept(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirUnusable(f"{path}: the key of backups cannot be kept there: {error}") from error
    if not _HEX.fullmatch(text):
        raise BackupUnreadable(f"{path}: is not a key of backups; it {_RULE}")
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _derived(secret: bytes, purpose: str, length: int) -> bytes:
    info = f"beacon backup v1 {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)
