"""Messages and receipts from device to device. The server reads addresses, never content.

Addresses go over the wire as LIDs. What a device did not take waits in its mailbox.
"""

from service.clock import Clock
from service.errors import SimulatorError
from service.simulator.accounts import Account, Device, Directory, Group, remember
from service.simulator.faults import Faults
from service.simulator.link import Link
from service.simulator.mailbox import Key
from service.simulator.stanza import JID, Attributes, Node

_STALE_DEVICES = "2:stale"  # any hash that is not the client's makes it ask for the device list again


class Relay:
    """Takes stanzas from one device and delivers them to others."""

    def __init__(self, directory: Directory, faults: Faults, clock: Clock) -> None:
        self._directory = directory
        self._faults = faults
        self._clock = clock

    def message(self, sender: Device, link: Link, node: Node) -> None:
        """Accept a message, deliver it to the devices it is encrypted for, and acknowledge it.

        Raises SimulatorError when the stanza is not a message.
        """
        account, phone = sender.account, sender.account.phone
        message_id, to = node.get("id"), node.jid("to")
        if not message_id:
            raise SimulatorError("a message without an id")
        code = self._faults.next_nack(phone)
        if code is None:
            code = self._barred(account, to)
        if code is not None:
            account.nacked += 1
            link.post(self._ack(node, {"error": str(code)}))
            return
        if self._faults.takes_message(phone):
            account.swallowed += 1
            return
        participants = node.child("participants")
        extra: Attributes = {}
        if participants is None:
            self._deliver_again(sender, node)
        elif remember(account.sent_ids, message_id):
            account.sent += 1
            if not self._fan_out(sender, node, participants):
                extra["phash"] = _STALE_DEVICES
        else:
            account.repeated += 1
        if not self._faults.takes_ack(phone):
            link.post(self._ack(node, extra))

    def receipt(self, sender: Device, link: Link, node: Node) -> None:
        """Note what a receipt says, pass it on whole, and acknowledge it. Raises SimulatorError."""
        to, kind = node.jid("to"), node.get("type")
        ids = [
            node.get("id"),
            *(item.get("id") for part in node.children("list") for item in part.children()),
        ]
        if kind in ("", "inactive", "sender", "peer_msg"):
            for message_id in ids:
                sender.mailbox.taken(Key("message", message_id, str(to)), every=True)
        link.post(Node("ack", {"class": "receipt", "id": ids[0], "from": to, **_pick(node, "type")}))
        group = self._directory.group(to)
        written_by = node.jid("participant") if group else to
        author = self._directory.account(written_by)
        if author is None:
            return
        if kind == "retry":
            sender.account.retries += 1
        elif author is not sender.account:
            self._count(sender.account, author, kind, ids)
        attrs: Attributes = {"id": ids[0], "t": self._now(), **_pick(node, "type", "recipient")}
        attrs |= _from(sender, group) if group else _pick(node, "participant") | _from(sender, None)
        copy = Node("receipt", attrs, node.content)
        key = Key("receipt", ids[0], str(attrs["from"]), kind)
        for device in author.devices.values():
            if device is not sender and written_by.device in (0, device.number):
                device.mailbox.put(key, copy)

    def taken(self, device: Device, node: Node) -> None:
        """A device acknowledged a stanza: it will not be delivered again. Raises SimulatorError."""
        key = Key(node.get("class"), node.get("id"), str(node.jid("to")), node.get("type"))
        device.mailbox.taken(key, every=False)

    def _barred(self, account: Account, to: JID) -> int | None:
        """The code to refuse what this account writes there with, None when it may."""
        if (group := self._directory.group(to)) is not None:
            return None if account in group.members else 403
        return 404 if self._directory.account(to) is None else None

    def _fan_out(self, sender: Device, node: Node, participants: Node) -> bool:
        """Deliver to each participant; False when the sender's list of devices is not the present one.

        What a group shares (`skmsg`) goes to every device in it, also to one that was not given the key.
        """
        named = {part.jid("jid"): part for part in participants.children("to")}
        keys = {self._directory.device(jid): part.children("enc") for jid, part in named.items()}
        group, recipient = self._directory.group(node.jid("to")), self._directory.account(node.jid("to"))
        accounts = group.members if group else (sender.account, *((recipient,) if recipient else ()))
        devices = (device for account in accounts for device in account.devices.values())
        present = dict.fromkeys(device for device in devices if device is not sender)
        for device in keys if group is None else present:
            if device is not None:
                self._deliver(sender, device, node, keys.get(device, ()) + node.children("enc"))
        return keys.keys() == present.keys() and len(keys) == len(named)

    def _deliver_again(self, sender: Device, node: Node) -> None:
        """The answer to a retry receipt carries its `enc` directly and is for one device."""
        in_group = self._directory.group(node.jid("to")) is not None
        device = self._directory.device(node.jid("participant" if in_group else "to"))
        if device is not None:
            sender.account.resent += 1
            self._deliver(sender, device, node, node.children("enc"))

    def _deliver(self, sender: Device, device: Device, node: Node, encrypted: tuple[Node, ...]) -> None:
        group = self._directory.group(node.jid("to"))
        attrs: Attributes = {"id": node.get("id"), "t": self._now(), **_pick(node, "type", "edit")}
        if device.account is sender.account and group is None:
            attrs |= {"from": sender.lid, "recipient": node.jid("to").account()}
            attrs |= _pick(node, "peer_recipient_pn")
        else:
            attrs |= _from(sender, group)
            if sender.account.push_name:
                attrs["notify"] = sender.account.push_name
        # a client needs `meta` to know a poll from a vote
        beside = node.children("device-identity") + node.children("meta")
        key = Key("message", node.get("id"), str(attrs["from"]))
        device.mailbox.put(key, Node("message", attrs, encrypted + beside))

    def _count(self, reader: Account, author: Account, kind: str, ids: list[str]) -> None:
        for message_id in ids:
            if kind == "read":
                author.read += remember(author.read_ids, message_id)
            if kind in ("", "inactive", "read"):
                reader.received += remember(reader.received_ids, f"{author.phone} {message_id}")
                author.delivered += remember(author.delivered_ids, message_id)

    def _ack(self, node: Node, extra: Attributes) -> Node:
        to: JID = node.jid("to")
        attrs: Attributes = {"class": "message", "id": node.get("id"), "from": to, "t": self._now(), **extra}
        return Node("ack", attrs)

    def _now(self) -> str:
        return str(int(self._clock.now()))


def _from(sender: Device, group: Group | None) -> Attributes:
    """How others are told who wrote: in a group by LID, with the phone number beside it."""
    if group is None:
        return {"from": sender.lid, "sender_pn": sender.account.pn}
    return {
        "from": group.jid,
        "participant": sender.lid,
        "participant_pn": sender.account.pn,
        "addressing_mode": "lid",
    }


def _pick(node: Node, *names: str) -> Attributes:
    return {name: node.attrs[name] for name in names if name in node.attrs}
