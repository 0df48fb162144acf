"""Answers to questions about groups: make one, who is in it, leave it (whatsmeow group.go, `w:g2`).

Groups are addressed by LID, as WhatsApp's are today.
"""

from service.simulator.accounts import Account, Directory, Group
from service.simulator.stanza import GROUP_SERVER, JID, Attributes, Node


class GroupQueries:
    """Answers `iq` stanzas in the space `w:g2`; a number is the error code to refuse with."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def answer(self, account: Account, node: Node, *, now: float) -> tuple[Node, ...] | int:
        """The content of the result. Raises SimulatorError when the query is malformed."""
        if (create := node.child("create")) is not None:
            return self._create(account, create, now)
        if node.child("participating") is not None:
            groups = self._directory.groups_of(account)
            return (Node("groups", {}, tuple(describe(group) for group in groups)),)
        if (leave := node.child("leave")) is not None:
            return self._leave(account, leave)
        group = self._directory.group(node.jid("to"))
        if group is None:
            return 404
        if account not in group.members:
            return 403
        return (describe(group),) if node.child("query") is not None else 501

    def _create(self, account: Account, create: Node, now: float) -> tuple[Node, ...] | int:
        members = [self._directory.account(part.jid("jid")) for part in create.children("participant")]
        if not create.get("subject") or None in members:
            return 406
        others = [member for member in members if member is not None]
        return (describe(self._directory.create_group(create.get("subject"), account, others, now=now)),)

    def _leave(self, account: Account, leave: Node) -> tuple[Node, ...] | int:
        left = leave.need("group").attrs.get("id")
        jid = left if isinstance(left, JID) else JID(str(left or ""), GROUP_SERVER)
        group = self._directory.group(jid)
        if group is None:
            return 404
        group.members.pop(account, None)
        return (Node("leave", {}, (Node("group", {"id": jid}),)),)


def describe(group: Group) -> Node:
    """A group as the server tells of it."""
    founded = str(int(group.founded))
    attrs: Attributes = {
        "id": group.id,
        "creation": founded,
        "creator": group.founder.lid,
        "subject": group.subject,
        "s_t": founded,
        "s_o": group.founder.lid,
        "addressing_mode": "lid",
        "size": str(len(group.members)),
    }
    return Node(
        "group",
        attrs,
        tuple(_participant(member, founder=member is group.founder) for member in group.members),
    )


def _participant(member: Account, *, founder: bool) -> Node:
    rank = {"type": "superadmin"} if founder else {}
    return Node("participant", {"jid": member.lid, "phone_number": member.pn, **rank})
