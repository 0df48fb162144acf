"""Session databases as whatsmeow's schema 15 has them, of any size, full of made-up keys.

Their shape follows a year of traffic: few contacts write often and most seldom, a message leaves its secret,
a contact an identity, a session and a name.
"""

import json
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from tests.people import BEACON

DEVICE: Final = f"{BEACON}:7@s.whatsapp.net"
NAME: Final = "Rosalind Quill"
BYTES_A_PEER: Final = 8000

_OWNED: Final = "our_jid TEXT REFERENCES whatsmeow_device (jid) ON DELETE CASCADE ON UPDATE CASCADE"
SCHEMA: Final = f"""
CREATE TABLE whatsmeow_version (version INTEGER, compat INTEGER);
INSERT INTO whatsmeow_version VALUES (15, 8);
CREATE TABLE whatsmeow_device (jid TEXT PRIMARY KEY, lid TEXT, registration_id BIGINT NOT NULL,
    noise_key bytea NOT NULL, identity_key bytea NOT NULL, platform TEXT NOT NULL DEFAULT '');
CREATE TABLE whatsmeow_identity_keys ({_OWNED}, their_id TEXT, identity bytea NOT NULL,
    PRIMARY KEY (our_jid, their_id));
CREATE TABLE whatsmeow_pre_keys ({_OWNED.replace("our_jid", "jid", 1)}, key_id INTEGER, key bytea NOT NULL,
    uploaded BOOLEAN NOT NULL, PRIMARY KEY (jid, key_id));
CREATE TABLE whatsmeow_sessions ({_OWNED}, their_id TEXT, session bytea, PRIMARY KEY (our_jid, their_id));
CREATE TABLE whatsmeow_sender_keys ({_OWNED}, chat_id TEXT, sender_id TEXT, sender_key bytea NOT NULL,
    PRIMARY KEY (our_jid, chat_id, sender_id));
CREATE TABLE whatsmeow_app_state_sync_keys ({_OWNED.replace("our_jid", "jid", 1)}, key_id bytea,
    key_data bytea NOT NULL, PRIMARY KEY (jid, key_id));
CREATE TABLE whatsmeow_contacts ({_OWNED}, their_jid TEXT, full_name TEXT, push_name TEXT,
    PRIMARY KEY (our_jid, their_jid));
CREATE TABLE whatsmeow_message_secrets ({_OWNED}, chat_jid TEXT, sender_jid TEXT, message_id TEXT,
    key bytea NOT NULL, PRIMARY KEY (our_jid, chat_jid, sender_jid, message_id));
CREATE TABLE whatsmeow_lid_map (lid TEXT PRIMARY KEY, pn TEXT UNIQUE NOT NULL);
"""


class Session:
    """A session database under way; `rng` makes it the same every time."""

    def __init__(self, path: Path, *, seed: int = 1) -> None:
        self.path = path
        self.rng = Random(seed)
        self.peers: list[int] = []

    def make(
        self, *, size_bytes: int = 0, peers: int = 12, messages: int = 300, pre_keys: int = 50
    ) -> "Session":
        """Of this size, or with so many peers and messages."""
        if size_bytes:
            peers, messages, pre_keys = size_bytes // BYTES_A_PEER, size_bytes // 400, 812
        with closing(sqlite3.connect(self.path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
            with database:
                secrets = self.rng.randbytes(64)
                database.execute(
                    "INSERT INTO whatsmeow_device VALUES (?, ?, ?, ?, ?, 'android')",
                    (DEVICE, "900100@lid", self.rng.getrandbits(31), secrets[:32], secrets[32:]),
                )
                keys = [(DEVICE, key_id, self.rng.randbytes(32), True) for key_id in range(1, pre_keys + 1)]
                database.executemany("INSERT INTO whatsmeow_pre_keys VALUES (?, ?, ?, ?)", keys)
                sync = [(DEVICE, self.rng.randbytes(6), self.rng.randbytes(32)) for _ in range(20)]
                database.executemany("INSERT INTO whatsmeow_app_state_sync_keys VALUES (?, ?, ?)", sync)
                self._meet(database, peers)
                self._exchange(database, messages, among=self.peers)
        return self

    def live(self, *, active: int = 4, messages: int = 40) -> None:
        """So many messages with these few peers: a while of traffic."""
        with closing(sqlite3.connect(self.path)) as database, database:
            among = self.rng.sample(self.peers, active)
            self._exchange(database, messages, among=among)
            for peer in among:
                database.execute(
                    "UPDATE whatsmeow_sessions SET session = ? WHERE their_id = ?",
                    (self._ratchet(), f"{peer}_1:0"),
                )

    def _meet(self, database: sqlite3.Connection, peers: int) -> None:
        for _ in range(peers):
            peer = self.rng.randrange(10**14, 10**15)
            self.peers.append(peer)
            identity = f"{peer}_1:0"
            database.execute(
                "INSERT INTO whatsmeow_identity_keys VALUES (?, ?, ?)",
                (DEVICE, identity, self.rng.randbytes(32)),
            )
            database.execute(
                "INSERT INTO whatsmeow_sessions VALUES (?, ?, ?)", (DEVICE, identity, self._ratchet())
            )
            database.execute(
                "INSERT INTO whatsmeow_contacts VALUES (?, ?, ?, ?)",
                (DEVICE, f"{peer}@lid", NAME, NAME.split()[0]),
            )
            database.execute("INSERT INTO whatsmeow_lid_map VALUES (?, ?)", (str(peer), f"1{peer}"))
            if self.rng.random() < 0.25:
                database.execute(
                    "INSERT INTO whatsmeow_sender_keys VALUES (?, ?, ?, ?)",
                    (DEVICE, f"{peer}@g.us", identity, self._ratchet()),
                )

    def _exchange(self, database: sqlite3.Connection, messages: int, *, among: list[int]) -> None:
        weights = [1 / rank for rank in range(1, len(among) + 1)]
        for peer in self.rng.choices(among, weights, k=messages):
            sender = self.rng.choice((f"{peer}@lid", "900100@lid"))
            message_id = "3EB0" + self.rng.randbytes(9).hex().upper()
            database.execute(
                "INSERT INTO whatsmeow_message_secrets VALUES (?, ?, ?, ?, ?)",
                (DEVICE, f"{peer}@lid", sender, message_id, self.rng.randbytes(32)),
            )

    def _ratchet(self) -> bytes:
        """As libsignal's Go port writes them: JSON around base64, more of it the longer two people talk."""
        chains = [
            {"SenderRatchetKeyPublic": self._base64(33), "ChainKey": {"Key": self._base64(32), "Index": 3}}
            for _ in range(self.rng.randint(1, 5))
        ]
        state: dict[str, object] = {"LocalIdentityPublic": "BeQf+EfgF6qBjKbY7OhVqasedMYhn8OJY/S44E7TN64+"}
        state |= {"ReceiverChains": chains, "PendingKeyExchange": None, "RootKey": self._base64(32)}
        state["SenderChain"] = {"ChainKey": {"Key": self._base64(32), "Index": 7}, "MessageKeys": []}
        old = [{"RootKey": self._base64(32), "Chain": self._base64(600)}] * self.rng.randint(0, 1)
        old += [
            {"RootKey": self._base64(32), "Chain": self._base64(200)} for _ in range(self.rng.randint(0, 2))
        ]
        return json.dumps({"SessionState": state, "PreviousStates": old}).encode()

    def _base64(self, size_bytes: int) -> str:
        return b64encode(self.rng.randbytes(size_bytes)).decode()
