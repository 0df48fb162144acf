"""The table of endings is complete and can be named."""

import pytest

from service.errors import SimulatorError
from service.simulator.endings import ENDINGS, ending, temporary_ban


def test_every_reason_and_code_that_can_end_a_connection_is_there() -> None:
    reasons = {int(it.node.get("reason")) for it in ENDINGS.values() if it.node.tag == "failure"}
    assert reasons == {400, 401, 402, 403, 405, 406, 409, 413, 414, 415, 418, 500, 501, 503}
    errors = {it.name: it.node.get("code") for it in ENDINGS.values() if it.node.tag == "stream:error"}
    assert errors == {
        "restart": "515",
        "restarting_soon": "503",
        "device_removed": "401",
        "replaced": "",
        "other": "599",
        "malformed": "",
    }


def test_the_server_forgets_a_device_exactly_when_the_client_deletes_its_session() -> None:
    forgotten = {it.name for it in ENDINGS.values() if it.unlinks}
    assert forgotten == {"device_removed", "logged_out", "main_device_gone", "banned"}


def test_a_ban_says_its_code_and_how_long() -> None:
    ban = temporary_ban(code=104, expire_s=90)
    assert (ban.node.get("reason"), ban.node.get("code"), ban.node.get("expire")) == ("402", "104", "90")
    assert (ban.row, temporary_ban(code=107, expire_s=0).row) == ("14", "14b")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SimulatorError, match=r"no ending 'explosion'.*restart.*logged_out"):
        ending("explosion")
