"""Which messages a caller wants listed, from the query of a URL, and the cursor to the page that follows."""

import base64
import re
from collections.abc import Iterable
from typing import Final

from multidict import MultiMapping

from service.errors import InvalidInput
from service.queue.address import parse_chat
from service.queue.model import Page, Query
from service.queue.model import State as MessageState
from service.web import limits
from service.web.problem import from_inputs
from service.web.schemas import shown, shown_name

DEFAULT_LIMIT: Final = 100
PARAMETERS: Final = ("state", "chat", "cursor", "limit")
MAX_SEQ: Final = 2**63 - 1

_CURSOR: Final = re.compile(r"before:([1-9][0-9]{0,18})")


def query_from(given: MultiMapping[str]) -> Query:
    """What to find. Several states stand as `state=dead&state=held` or `state=dead,held`. Raises Problem."""
    faults = [
        InvalidInput(shown_name(name), f"is not a parameter; allowed are {', '.join(PARAMETERS)}")
        for name in given
        if name not in PARAMETERS
    ]
    faults += [
        InvalidInput(name, "must be given once") for name in PARAMETERS[1:] if len(given.getall(name, [])) > 1
    ]
    if faults:
        raise from_inputs(faults)
    try:
        return Query(
            states=_states(given.getall("state", [])),
            chat=_chat(given.get("chat")),
            before=_before(given.get("cursor")),
            limit=_limit(given.get("limit")),
        )
    except InvalidInput as fault:
        raise from_inputs([fault]) from None


def cursor_of(page: Page) -> str | None:
    """What `cursor` must be to get the page that follows; None on the last one."""
    if page.next is None:
        return None
    return base64.urlsafe_b64encode(f"before:{page.next}".encode()).decode().rstrip("=")


def _states(given: Iterable[str]) -> frozenset[MessageState]:
    names = [name for some in given for name in some.split(",")]
    try:
        return frozenset(MessageState(name) for name in names)
    except ValueError:
        wrong = next(name for name in names if name not in set(map(str, MessageState)))
        raise InvalidInput("state", f"{shown(wrong)}: must be of {', '.join(MessageState)}") from None


def _chat(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return parse_chat(given, field="chat")
    except InvalidInput as fault:
        raise InvalidInput("chat", f"{shown(given)}: {fault.sentence}") from None


def _before(given: str | None) -> int | None:
    if given is None:
        return None
    try:
        padded = given + "=" * (-len(given) % 4)
        found = _CURSOR.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii"))
    except ValueError:  # also what is no base64, and no ASCII
        found = None
    if found is None or int(found[1]) > MAX_SEQ:
        raise InvalidInput("cursor", f"{shown(given)}: must be the next_cursor of a page")
    return int(found[1])


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,9}", given, re.ASCII) or not 1 <= int(given) <= limits.LIST_MESSAGES:
        raise InvalidInput(
            "limit", f"{shown(given)}: must be a whole number from 1 to {limits.LIST_MESSAGES}"
        )
    return int(given)
