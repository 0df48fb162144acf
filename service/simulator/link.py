"""What the parts of the server may do with one connection."""

from typing import Protocol

from service.simulator.endings import Ending
from service.simulator.stanza import Node


class Link(Protocol):
    """One client's connection, from the websocket on."""

    deaf: bool
    """Nothing but pings and their answers passes."""

    @property
    def phone(self) -> str | None:
        """Whose it is; None for a new device, and before the client has said."""

    @property
    def noise_key(self) -> bytes:
        """The client's static key, which its login is known by."""

    def post(self, node: Node) -> None:
        """Send a stanza, behind those that were posted before; dropped when the link is ending."""

    def end(self, how: Ending) -> None:
        """Say why, then hang up."""

    def cut(self) -> None:
        """Break it without a word."""
