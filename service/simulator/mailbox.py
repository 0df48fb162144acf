"""What is on its way to one device: in order, and kept until the device has taken it.

A stanza that was written but not acknowledged before the link broke is written again at the next login,
as the real server does. At most `WINDOW` stanzas are on the wire unacknowledged: whatsmeow gives up the
order when more than 2048 wait in its handler queue (client.go, handleFrame).
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from service.simulator.stanza import SERVER, Node

WINDOW: Final = 512

Post: TypeAlias = Callable[[Node], None]


class Key(NamedTuple):
    """How a device names the stanza that it takes: its tag, its id, who sent it, its receipt type."""

    tag: str
    id: str
    sender: str
    type: str = ""


class _Letter(NamedTuple):
    number: int
    key: Key | None  # None for the server's own marks, which nobody acknowledges
    node: Node


class Mailbox:
    """The queue of one device; `open` while the device listens."""

    def __init__(self) -> None:
        self._waiting: deque[_Letter] = deque()
        self._flying: dict[Key, deque[_Letter]] = {}
        self._in_flight = 0
        self._size = 0
        self._count = 0
        self._post: Post | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def is_open(self) -> bool:
        """Whether a device listens."""
        return self._post is not None

    def put(self, key: Key, node: Node) -> None:
        """Deliver this, now or when the device next listens."""
        self._size += 1
        self._append(key, node)
        self._pump()

    def open(self, post: Post) -> None:
        """A device listens: write what waited, then the mark that this was all (`ib/offline`)."""
        self.close()
        tags = [letter.key.tag for letter in self._waiting if letter.key]
        count, messages = str(len(tags)), str(tags.count("message"))
        preview = {"count": count, "message": messages, "receipt": str(tags.count("receipt"))}
        attrs = {**preview, "appdata": "0", "notification": "0"}
        self._post = post
        post(Node("ib", {"from": SERVER}, (Node("offline_preview", attrs),)))
        self._append(None, Node("ib", {"from": SERVER}, (Node("offline", {"count": count}),)))
        self._pump()

    def close(self) -> None:
        """The device is gone: what it did not take waits again, in its old order."""
        self._post = None
        flying = [letter for letters in self._flying.values() for letter in letters]
        waiting = [letter for letter in self._waiting if letter.key is not None]
        self._waiting = deque(sorted(flying + waiting))
        self._flying.clear()
        self._in_flight = 0

    def taken(self, key: Key, *, every: bool) -> bool:
        """The device took the oldest stanza under this key, or every one; whether there was one."""
        letters = self._flying.get(key)
        if not letters:
            return False
        taken = len(letters) if every else 1
        for _ in range(taken):
            letters.popleft()
        if not letters:
            del self._flying[key]
        self._in_flight -= taken
        self._size -= taken
        self._pump()
        return True

    def _append(self, key: Key | None, node: Node) -> None:
        self._count += 1
        self._waiting.append(_Letter(self._count, key, node))

    def _pump(self) -> None:
        while self._post is not None and self._waiting and self._in_flight < WINDOW:
            letter = self._waiting.popleft()
            if letter.key is not None:
                self._flying.setdefault(letter.key, deque()).append(letter)
                self._in_flight += 1
            self._post(letter.node)
