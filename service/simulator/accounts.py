"""Accounts and their devices: who exists, what was counted, which keys wait to be handed out."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from service.errors import SimulatorError
from service.simulator.link import Link
from service.simulator.mailbox import Mailbox
from service.simulator.noise import KeyPair
from service.simulator.stanza import GROUP_SERVER, JID, LID_SERVER, PHONE_SERVER, Node

_REMEMBERED = 100_000  # message ids that an account remembers to know a repetition

_STAYS = 1_000

_FIRST_GROUP = 120363 * 10**12  # ids of groups are of this form today


def lid_user(phone: str) -> str:
    """The user part of a phone number's LID: 15 digits that do not show the number."""
    return str(10**14 + int.from_bytes(hashlib.sha256(phone.encode()).digest()[:8], "big") % (9 * 10**14))


@dataclass(slots=True)
class Bundle:
    """The public keys with which a stranger begins a session: prekeys are handed out once each."""

    fixed: tuple[Node, ...]
    signed: Node
    prekeys: dict[bytes, Node]

    def take(self) -> tuple[Node, ...]:
        """The parts of one answer; without a one-time prekey when they are used up."""
        one = (self.prekeys.pop(next(iter(self.prekeys))),) if self.prekeys else ()
        return (*self.fixed, *one, self.signed)


@dataclass(slots=True, eq=False)
class Device:
    """One linked device: its addresses, its login key, and what waits for it."""

    account: "Account"
    number: int
    noise_key: bytes
    bundle: Bundle | None = None
    link: Link | None = None
    available: bool = False
    mailbox: Mailbox = field(default_factory=Mailbox)

    @property
    def lid(self) -> JID:
        """This device by its account's hidden number; the form that goes over the wire."""
        return JID(self.account.lid_user, LID_SERVER, self.number)

    @property
    def pn(self) -> JID:
        """This device by its phone number."""
        return JID(self.account.phone, PHONE_SERVER, self.number)


@dataclass(slots=True, eq=False)
class Stay:
    """One stay of a device, in monotonic seconds: from `success` until its connection had ended."""

    began: float
    ended: float | None = None


@dataclass(slots=True, eq=False)
class Account:
    """A phone number that is on WhatsApp, its linked devices, and what the server counted for it."""

    phone: str
    lid_user: str
    keys: KeyPair
    push_name: str = ""  # what others' phones show of it; nothing is told as long as it is empty
    devices: dict[int, Device] = field(default_factory=dict)
    next_device: int = 1
    logins: int = 0
    stays: deque[Stay] = field(default_factory=lambda: deque(maxlen=_STAYS))  # the latest logins, in order
    sent: int = 0  # messages accepted from it, each id once
    repeated: int = 0  # messages that came again under an id already accepted; acknowledged, not relayed
    nacked: int = 0  # messages refused by a scripted fault
    swallowed: int = 0  # messages that a scripted fault let vanish
    received: int = 0  # messages that its devices confirmed with a receipt, each once
    delivered: int = 0  # messages it sent that the recipient confirmed with a receipt, each once
    read: int = 0  # messages it sent that the recipient marked as read, each once
    retries: int = 0  # times its devices asked for a message again because they could not read it
    resent: int = 0  # messages it sent again to a device that had asked
    uploaded: int = 0  # files that the media servers took from it
    questions: int = 0  # times its devices asked for the blocked contacts, as Beacon does to test its hearing
    sent_ids: dict[str, None] = field(default_factory=dict)
    received_ids: dict[str, None] = field(default_factory=dict)
    delivered_ids: dict[str, None] = field(default_factory=dict)
    read_ids: dict[str, None] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether a device of this account is logged in."""
        return any(device.link is not None for device in self.devices.values())

    @property
    def ready(self) -> bool:
        """Whether a device of this account is logged in and has said that it listens."""
        return any(device.mailbox.is_open for device in self.devices.values())

    @property
    def waiting(self) -> int:
        """Stanzas that its devices have not taken yet."""
        return sum(len(device.mailbox) for device in self.devices.values())

    @property
    def lid(self) -> JID:
        """The account by its hidden number."""
        return JID(self.lid_user, LID_SERVER)

    @property
    def pn(self) -> JID:
        """The account by its phone number."""
        return JID(self.phone, PHONE_SERVER)


@dataclass(slots=True, eq=False)
class Group:
    """Accounts that read what each of them writes there. `members` in the order in which they came."""

    id: str
    subject: str
    founder: Account
    founded: float
    members: dict[Account, None]

    @property
    def jid(self) -> JID:
        """The group's address."""
        return JID(self.id, GROUP_SERVER)


def remember(ids: dict[str, None], message_id: str) -> bool:
    """Note an id; False when it was known. The oldest are forgotten after 100,000."""
    if message_id in ids:
        return False
    ids[message_id] = None
    if len(ids) > _REMEMBERED:
        del ids[next(iter(ids))]
    return True


class Directory:
    """Every account of the server, found by phone number or LID, and every group."""

    def __init__(self) -> None:
        self._by_phone: dict[str, Account] = {}
        self._by_lid: dict[str, Account] = {}
        self._groups: dict[str, Group] = {}

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Accounts by phone number."""
        return self._by_phone

    def devices(self) -> Iterator[Device]:
        """Every linked device."""
        for account in self._by_phone.values():
            yield from account.devices.values()

    def register(self, phone: str) -> Account:
        """The account of a phone number, made when it is new. Raises SimulatorError for no number."""
        if not (phone.isascii() and phone.isdigit() and 7 <= len(phone) <= 15):
            raise SimulatorError(f"{phone!r}: must be 7 to 15 digits")
        account = self._by_phone.get(phone)
        if account is None:
            account = Account(phone, lid_user(phone), KeyPair())
            self._by_phone[phone] = self._by_lid[account.lid_user] = account
        return account

    def account(self, jid: JID) -> Account | None:
        """The account that an address belongs to, if there is one."""
        known = {PHONE_SERVER: self._by_phone, "c.us": self._by_phone, LID_SERVER: self._by_lid}
        return known.get(jid.server, {}).get(jid.user)

    def group(self, jid: JID) -> Group | None:
        """The group at an address, if there is one."""
        return self._groups.get(jid.user) if jid.server == GROUP_SERVER else None

    def groups_of(self, account: Account) -> list[Group]:
        """The groups that an account is in."""
        return [group for group in self._groups.values() if account in group.members]

    def create_group(
        self, subject: str, founder: Account, members: Iterable[Account], *, now: float
    ) -> Group:
        """Make a group of these and its founder."""
        group = Group(f"{_FIRST_GROUP + len(self._groups)}", subject, founder, now, {founder: None})
        group.members.update(dict.fromkeys(members))
        self._groups[group.id] = group
        return group

    def device(self, jid: JID) -> Device | None:
        """The linked device at an address, if there is one."""
        account = self.account(jid)
        return account.devices.get(jid.device) if account else None

    def link(self, device: Device) -> None:
        """Add a new device to its account."""
        device.account.next_device = max(device.account.next_device, device.number + 1)
        device.account.devices[device.number] = device

    def unlink(self, device: Device) -> None:
        """Remove a device: its next login is refused as logged out, and what waited for it is gone."""
        device.account.devices.pop(device.number, None)
