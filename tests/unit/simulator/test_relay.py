"""The server's decisions about messages, receipts and questions, with links that only write down."""

from collections.abc import Iterable

import pytest

from service.clock import SystemClock
from service.errors import SimulatorError
from service.simulator.accounts import Account, Bundle, Device, Directory
from service.simulator.endings import Ending
from service.simulator.faults import Faults
from service.simulator.iq import Queries
from service.simulator.media import MediaServers
from service.simulator.relay import Relay
from service.simulator.stanza import JID, SERVER, Attributes, Node
from tests.people import ANN, BEN, CLEO


class Notebook:
    """A link that keeps what was posted."""

    def __init__(self) -> None:
        self.phone = None
        self.noise_key = b""
        self.deaf = False
        self.posted: list[Node] = []

    def post(self, node: Node) -> None:
        self.posted.append(node)

    def end(self, how: Ending) -> None:
        raise AssertionError(how)

    def cut(self) -> None:
        raise AssertionError

    def named(self, tag: str) -> list[Node]:
        return [node for node in self.posted if node.tag == tag]


class NoNetwork:
    """Faults of the network are not made here."""

    def links(self) -> Iterable[Notebook]:
        return ()

    def hang_up(self, link: object, how: Ending) -> None:
        raise AssertionError

    def cut_all(self) -> int:
        raise AssertionError

    def listen(self) -> None:
        raise AssertionError

    def refuse(self) -> None:
        raise AssertionError


class Town:
    """Ann and Ben with one listening device each."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.faults = Faults(NoNetwork())
        self.relay = Relay(self.directory, self.faults, SystemClock())
        media = MediaServers(self.faults, SystemClock())
        self.queries = Queries(self.directory, media, SystemClock())
        self.ann, self.ann_link = self.device(ANN)
        self.ben, self.ben_link = self.device(BEN)

    def device(self, phone: str) -> tuple[Device, Notebook]:
        account = self.directory.register(phone)
        device, link = Device(account, account.next_device, b""), Notebook()
        self.directory.link(device)
        device.link = link
        device.mailbox.open(link.post)
        return device, link

    def send(self, message_id: str, *devices: Device) -> None:
        """Ann writes to Ben; by default to the one device that he has."""
        participants = tuple(
            Node("to", {"jid": device.lid}, (Node("enc", {"type": "msg"}, b"?"),))
            for device in devices or (self.ben,)
        )
        attrs: Attributes = {"id": message_id, "type": "text", "to": self.ben.account.lid}
        self.relay.message(
            self.ann, self.ann_link, Node("message", attrs, (Node("participants", {}, participants),))
        )

    def resend(self, message_id: str) -> None:
        attrs: Attributes = {"id": message_id, "type": "text", "to": self.ben.lid}
        self.relay.message(
            self.ann, self.ann_link, Node("message", attrs, (Node("enc", {"type": "pkmsg"}, b"!"),))
        )

    def confirm(self, message_id: str, kind: str = "", *, content: tuple[Node, ...] | None = None) -> None:
        attrs: Attributes = {"id": message_id, "to": self.ann.lid, **({"type": kind} if kind else {})}
        self.relay.receipt(self.ben, self.ben_link, Node("receipt", attrs, content))


@pytest.fixture
def town() -> Town:
    return Town()


def test_a_message_is_relayed_whole_and_acknowledged(town: Town) -> None:
    town.send("A1")
    (relayed,) = town.ben_link.named("message")
    assert relayed.jid("from") == town.ann.lid
    assert relayed.jid("sender_pn") == town.ann.account.pn
    assert relayed.child("enc") == Node("enc", {"type": "msg"}, b"?")
    (ack,) = town.ann_link.named("ack")
    assert (ack.get("class"), ack.get("id"), ack.get("error")) == ("message", "A1", "")


def test_the_same_message_again_is_acknowledged_and_not_relayed_again(town: Town) -> None:
    town.send("A1")
    town.send("A1")
    assert len(town.ben_link.named("message")) == 1
    assert len(town.ann_link.named("ack")) == 2
    assert (town.ann.account.sent, town.ann.account.repeated) == (1, 1)


def test_acknowledgements_keep_the_order_of_the_messages(town: Town) -> None:
    for number in range(5):
        town.send(f"A{number}")
    assert [ack.get("id") for ack in town.ann_link.named("ack")] == [f"A{number}" for number in range(5)]


def test_a_receipt_counts_once_is_passed_on_and_takes_the_message(town: Town) -> None:
    town.send("A1")
    assert town.ben.account.waiting == 1
    town.confirm("A1", "inactive")
    town.confirm("A1", "inactive")
    assert (town.ben.account.received, town.ann.account.delivered, town.ben.account.waiting) == (1, 1, 0)
    assert [node.get("type") for node in town.ann_link.named("receipt")] == ["inactive", "inactive"]
    assert [node.get("class") for node in town.ben_link.named("ack")] == ["receipt", "receipt"]


def test_a_receipt_for_many_messages_counts_them_all(town: Town) -> None:
    for number in range(3):
        town.send(f"A{number}")
    items = tuple(Node("item", {"id": f"A{number}"}) for number in (1, 2))
    town.confirm("A0", "read", content=(Node("list", {}, items),))
    assert (town.ann.account.read, town.ann.account.delivered) == (3, 3)
    assert town.ann_link.named("receipt")[0].content == (Node("list", {}, items),)


def test_a_request_to_send_again_is_passed_on_whole_and_delivers_nothing(town: Town) -> None:
    town.send("A1")
    wish = (Node("retry", {"count": "2", "id": "A1"}), Node("keys", {}, (Node("type", {}, b"\5"),)))
    town.confirm("A1", "retry", content=wish)
    town.relay.taken(town.ben, Node("ack", {"class": "message", "id": "A1", "to": town.ann.lid}))
    assert town.ann_link.named("receipt")[0].content == wish
    assert (town.ann.account.delivered, town.ben.account.retries, town.ben.account.waiting) == (0, 1, 0)

    town.resend("A1")
    assert town.ben_link.named("message")[-1].child("enc") == Node("enc", {"type": "pkmsg"}, b"!")
    assert (town.ann.account.sent, town.ann.account.resent, town.ann.account.repeated) == (1, 1, 0)
    town.confirm("A1")
    assert (town.ann.account.delivered, town.ben.account.waiting) == (1, 0)


def test_the_senders_other_device_gets_its_copy_and_not_the_sender(town: Town) -> None:
    other, other_link = town.device(ANN)
    town.send("A1", town.ben, other)
    (copy,) = other_link.named("message")
    assert copy.jid("recipient") == town.ben.account.lid
    assert town.ann_link.named("message") == []


def test_a_sender_with_an_old_list_of_devices_is_told_so(town: Town) -> None:
    town.send("A1")
    town.device(BEN)
    town.send("A2")
    first, second = town.ann_link.named("ack")
    assert (bool(first.get("phash")), bool(second.get("phash"))) == (False, True)


def test_a_message_to_nobody_is_refused(town: Town) -> None:
    stranger = JID("999999999999999", "lid")
    participants = Node("participants")
    attrs: Attributes = {"id": "A1", "type": "text", "to": stranger}
    town.relay.message(town.ann, town.ann_link, Node("message", attrs, (participants,)))
    assert town.ann_link.named("ack")[0].get("error") == "404"


def test_a_nack_is_used_up_and_nothing_is_relayed(town: Town) -> None:
    town.faults.nack(463, ANN)
    town.send("A1")
    town.send("A2")
    assert [ack.get("error") for ack in town.ann_link.named("ack")] == ["463", ""]
    assert [node.get("id") for node in town.ben_link.named("message")] == ["A2"]
    assert town.ann.account.nacked == 1


def test_a_nack_for_all_lasts_until_healed(town: Town) -> None:
    town.faults.nack(429, times=None)
    town.send("A1")
    town.send("A2")
    town.faults.heal()
    town.send("A3")
    assert [ack.get("error") for ack in town.ann_link.named("ack")] == ["429", "429", ""]


def test_a_fault_for_somebody_else_touches_nobody(town: Town) -> None:
    town.faults.nack(463, CLEO)
    town.faults.swallow_messages(BEN)
    town.send("A1")
    assert town.ann.account.sent == 1


def test_a_swallowed_ack_is_a_message_that_arrived(town: Town) -> None:
    town.faults.swallow_acks(ANN)
    town.send("A1")
    assert town.ann_link.named("ack") == []
    assert len(town.ben_link.named("message")) == 1


def test_a_swallowed_message_never_was(town: Town) -> None:
    town.faults.swallow_messages(ANN, times=1)
    town.send("A1")
    town.send("A1")
    assert (town.ann.account.swallowed, town.ann.account.sent, town.ann.account.repeated) == (1, 1, 0)


@pytest.mark.parametrize(
    "node",
    [
        Node("message", {"id": "A1"}),
        Node("message", {"to": JID(BEN, "s.whatsapp.net")}),
        Node(
            "message",
            {"id": "A1", "to": JID(BEN, "s.whatsapp.net")},
            (Node("participants", {}, (Node("to"),)),),
        ),
    ],
    ids=["no-address", "no-id", "participant-without-address"],
)
def test_a_message_that_is_none_is_an_error(town: Town, node: Node) -> None:
    with pytest.raises(SimulatorError):
        town.relay.message(town.ann, town.ann_link, node)


class TestQuestions:
    """What a device may ask."""

    @staticmethod
    def ask(town: Town, space: str, *content: Node) -> Node:
        attrs: Attributes = {"id": "7", "type": "get", "xmlns": space, "to": SERVER}
        return town.queries.answer(town.ann, Node("iq", attrs, content))

    def test_prekeys_are_handed_out_once_each(self, town: Town) -> None:
        keys = tuple(Node("key", {}, (Node("id", {}, bytes([0, 0, number])),)) for number in (1, 2))
        fixed = tuple(Node(tag, {}, b"x") for tag in ("registration", "type", "identity"))
        self.ask(town, "encrypt", *fixed, Node("list", {}, keys), Node("skey", {}, b"s"))
        count = self.ask(town, "encrypt", Node("count")).need("count")
        assert count.get("value") == "2"
        users = Node("key", {}, (Node("user", {"jid": town.ann.lid}),))
        given = [self.ask(town, "encrypt", users).need("list").children()[0] for _ in range(3)]
        assert [user.child("key") for user in given] == [*keys, None]
        assert all(user.child("skey") == Node("skey", {}, b"s") for user in given)

    def test_prekeys_of_nobody_are_not_found(self, town: Town) -> None:
        users = Node("key", {}, (Node("user", {"jid": JID("1", "lid", 4)}),))
        (user,) = self.ask(town, "encrypt", users).need("list").children()
        assert user.need("error").get("code") == "404"

    def test_a_number_is_known_by_its_lid_and_devices(self, town: Town) -> None:
        town.device(BEN)
        users = tuple(
            Node("user", {"jid": jid}) for jid in (town.ben.account.pn, JID(CLEO, "s.whatsapp.net"))
        )
        answer = self.ask(town, "usync", Node("usync", {}, (Node("list", {}, users),)))
        known, unknown = answer.need("usync").need("list").children()
        assert known.need("lid").jid("val") == town.ben.account.lid
        devices = known.need("devices").need("device-list").children()
        assert [device.get("id") for device in devices] == ["1", "2"]
        assert unknown.child("lid") is None

    def test_what_is_not_known_gets_an_empty_result(self, town: Town) -> None:
        answer = self.ask(town, "w:mex", Node("query"))
        assert (answer.get("type"), answer.get("id"), answer.content) == ("result", "7", None)

    def test_nobody_removes_somebody_elses_device(self, town: Town) -> None:
        with pytest.raises(SimulatorError, match="not a device of this account"):
            self.ask(town, "md", Node("remove-companion-device", {"jid": town.ben.pn}))
        self.ask(town, "md", Node("remove-companion-device", {"jid": town.ann.pn}))
        assert town.ann.account.devices == {}


def test_a_lid_does_not_show_the_number() -> None:
    account: Account = Directory().register(ANN)
    assert len(account.lid_user) == 15
    assert ANN not in account.lid_user


@pytest.mark.parametrize("phone", ["", "123", "+12025550101", "1" * 16, "١٢٣٤٥٦٧٨"])
def test_what_is_no_number_is_no_account(phone: str) -> None:
    with pytest.raises(SimulatorError, match="7 to 15 digits"):
        Directory().register(phone)


def test_a_bundle_without_prekeys_still_has_the_signed_one() -> None:
    bundle = Bundle((Node("identity"),), Node("skey"), {})
    assert bundle.take() == (Node("identity"), Node("skey"))
