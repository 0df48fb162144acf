"""Deliveries to one device: order, acknowledgement, what is delivered again."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.simulator.mailbox import WINDOW, Key, Mailbox
from service.simulator.stanza import Node


def letter(number: int) -> tuple[Key, Node]:
    return Key("message", str(number), "1:1@lid"), Node("message", {"id": str(number)})


def messages(posted: list[Node]) -> list[int]:
    return [int(node.get("id")) for node in posted if node.tag == "message"]


def marks(posted: list[Node]) -> list[str]:
    return [f"{child.tag} {child.get('count')}" for node in posted for child in node.children()]


def test_what_came_while_nobody_listened_comes_first_and_then_the_mark() -> None:
    mailbox, posted = Mailbox(), list[Node]()
    for number in range(3):
        mailbox.put(*letter(number))
    mailbox.open(posted.append)
    mailbox.put(*letter(3))
    assert messages(posted) == [0, 1, 2, 3]
    assert marks(posted) == ["offline_preview 3", "offline 3"]
    assert posted.index(letter(3)[1]) > posted.index(letter(2)[1]) + 1


def test_what_was_not_acknowledged_comes_again_in_its_old_place() -> None:
    mailbox, posted = Mailbox(), list[Node]()
    mailbox.open(posted.append)
    for number in range(4):
        mailbox.put(*letter(number))
    assert mailbox.taken(letter(1)[0], every=True)
    mailbox.close()
    mailbox.put(*letter(4))
    posted.clear()
    mailbox.open(posted.append)
    assert messages(posted) == [0, 2, 3, 4]


def test_an_acknowledgement_of_something_else_takes_nothing() -> None:
    mailbox = Mailbox()
    mailbox.open(lambda node: None)
    mailbox.put(*letter(1))
    assert not mailbox.taken(Key("message", "1", "2:1@lid"), every=True)
    assert len(mailbox) == 1


def test_the_late_acknowledgement_of_a_first_try_does_not_take_the_second() -> None:
    mailbox, posted = Mailbox(), list[Node]()
    mailbox.open(posted.append)
    mailbox.put(*letter(1))
    mailbox.put(*letter(1))
    mailbox.taken(letter(1)[0], every=False)
    assert len(mailbox) == 1


def test_no_more_than_the_window_is_on_the_wire() -> None:
    mailbox, posted = Mailbox(), list[Node]()
    for number in range(WINDOW + 10):
        mailbox.put(*letter(number))
    mailbox.open(posted.append)
    assert messages(posted) == list(range(WINDOW))
    assert marks(posted) == [f"offline_preview {WINDOW + 10}"]
    for number in range(10):
        mailbox.taken(letter(number)[0], every=True)
    assert messages(posted) == list(range(WINDOW + 10))
    mailbox.taken(letter(10)[0], every=True)
    assert marks(posted)[-1] == f"offline {WINDOW + 10}"


class AnyLife(RuleBasedStateMachine):
    """Whatever happens: within one listening, order; over all, nothing lost and nothing invented."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox()
        self.posted: list[Node] = []
        self.untaken: list[int] = []
        self.next = 0

    @rule()
    def put(self) -> None:
        self.mailbox.put(*letter(self.next))
        self.untaken.append(self.next)
        self.next += 1

    @rule()
    def open(self) -> None:
        self.posted = []
        self.mailbox.open(self.posted.append)

    @rule()
    def close(self) -> None:
        self.posted = []
        self.mailbox.close()

    @precondition(lambda self: bool(messages(self.posted)))
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(messages(self.posted)))
        assert self.mailbox.taken(letter(number)[0], every=True) is (number in self.untaken)
        if number in self.untaken:
            self.untaken.remove(number)

    @invariant()
    def nothing_is_lost_or_out_of_order(self) -> None:
        assert len(self.mailbox) == len(self.untaken)
        assert messages(self.posted) == sorted(set(messages(self.posted)))
        if self.mailbox.is_open:
            assert set(self.untaken) <= set(messages(self.posted))


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60)
