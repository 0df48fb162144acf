"""Answers to a device's questions: prekeys, who has which devices, groups, where files go, keep-alive.

What the server does not know gets an empty result, so that a client goes on as it does with WhatsApp.
"""

from service.clock import Clock
from service.errors import SimulatorError
from service.simulator.accounts import Bundle, Device, Directory
from service.simulator.groups import GroupQueries
from service.simulator.media import MediaServers
from service.simulator.stanza import JID, SERVER, Node

_NOT_FOUND = Node("error", {"code": "404", "text": "item-not-found"})

_WORDS = {
    400: "bad-request",
    401: "not-authorized",
    403: "forbidden",
    404: "item-not-found",
    405: "not-allowed",
    406: "not-acceptable",
    429: "rate-overlimit",
    500: "internal-server-error",
    503: "service-unavailable",
}
"""What whatsmeow compares beside the code (errors.go)."""


def refusal(node: Node, code: int) -> Node:
    """The error with that code for one query."""
    error = Node("error", {"code": str(code), "text": _WORDS.get(code, "refused")})
    return Node("iq", {"from": SERVER, "id": node.get("id"), "type": "error"}, (error,))


class Queries:
    """Answers `iq` stanzas of type get and set."""

    def __init__(self, directory: Directory, media: MediaServers, clock: Clock) -> None:
        self._directory = directory
        self._media = media
        self._groups = GroupQueries(directory)
        self._clock = clock

    def answer(self, device: Device, node: Node) -> Node:
        """The result for one query. Raises SimulatorError when it is malformed."""
        content: tuple[Node, ...] | None = None
        space = node.get("xmlns")
        if space == "encrypt":
            content = self._encrypt(device, node)
        elif space == "usync":
            content = (self._usync(node.need("usync")),)
        elif space == "blocklist":
            content = (Node("list", {}),)
        elif space == "w:m":
            content = (self._media.connection(device.account),)
        elif space == "w:g2":
            told = self._groups.answer(device.account, node, now=self._clock.now())
            if isinstance(told, int):
                return refusal(node, told)
            content = told
        elif space == "md" and (removed := node.child("remove-companion-device")) is not None:
            self._remove(device, removed)
        return Node("iq", {"from": SERVER, "id": node.get("id"), "type": "result"}, content)

    def _encrypt(self, device: Device, node: Node) -> tuple[Node, ...] | None:
        if node.child("count") is not None:
            count = len(device.bundle.prekeys) if device.bundle else 0
            return (Node("count", {"value": str(count)}),)
        if (keys := node.child("key")) is not None:
            return (Node("list", {}, tuple(self._keys(user.jid("jid")) for user in keys.children("user"))),)
        if (uploaded := node.child("list")) is not None:
            fixed = tuple(node.need(tag) for tag in ("registration", "type", "identity"))
            prekeys = {key.need("id").data(): key for key in uploaded.children("key")}
            known = device.bundle.prekeys if device.bundle else {}
            device.bundle = Bundle(fixed, node.need("skey"), {**known, **prekeys})
        return None

    def _keys(self, jid: JID) -> Node:
        device = self._directory.device(jid)
        content = device.bundle.take() if device and device.bundle else (_NOT_FOUND,)
        return Node("user", {"jid": jid}, content)

    def _usync(self, node: Node) -> Node:
        return Node(
            "usync", {}, (Node("list", {}, tuple(map(self._user, node.need("list").children("user")))),)
        )

    def _user(self, user: Node) -> Node:
        contact = user.child("contact")
        if contact is not None:  # a number that is asked for as text, "+4915..." or "4915...@c.us"
            number = contact.data().decode("ascii", "replace").lstrip("+").partition("@")[0]
            jid = JID(number, SERVER.server)
        else:
            jid = user.jid("jid")
        account = self._directory.account(jid)
        if account is None:
            return Node("user", {"jid": jid}, (Node("contact", {"type": "out"}),))
        devices = tuple(Node("device", {"id": str(number)}) for number in account.devices)
        content = (
            Node("contact", {"type": "in"}),
            Node("lid", {"val": account.lid}),
            Node("devices", {}, (Node("device-list", {}, devices),)),
        )
        return Node("user", {"jid": jid}, content)

    def _remove(self, device: Device, removed: Node) -> None:
        target = self._directory.device(removed.jid("jid"))
        if target is None or target.account is not device.account:
            raise SimulatorError("the device to remove is not a device of this account")
        self._directory.unlink(target)
