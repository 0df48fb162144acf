"""What is the same news, and what is a reminder."""

from typing import Any

from service.alerting.model import REPEAT_S
from service.web.webhooks import NotificationIn
from tests.notifications import alert, alertmanager

CHAT = "12025550101@s.whatsapp.net"
FIRED_AT = 1_795_306_203.123456


def key(body: dict[str, Any], *, after_s: float = 30.0, chat: str = CHAT) -> str:
    notification = NotificationIn.model_validate(body).notification()
    return notification.key(chat, now=FIRED_AT + after_s)


def test_the_same_news_from_two_alertmanagers_is_the_same() -> None:
    assert key(alertmanager(alert(1), alert(2))) == key(alertmanager(alert(2), alert(1)), after_s=45.0)
    assert key(alertmanager()) == key(alertmanager(externalURL="http://the-other.example"))


def test_one_that_is_tried_again_for_minutes_is_the_same() -> None:
    assert key(alertmanager()) == key(alertmanager(), after_s=300.0)


def test_a_reminder_after_hours_is_not() -> None:
    assert len({key(alertmanager(), after_s=30.0 + n * REPEAT_S) for n in range(10)}) == 10


def test_what_changed_is_news() -> None:
    bodies = [
        alertmanager(alert(1)),
        alertmanager(alert(1, "resolved")),
        alertmanager(alert(1), alert(2)),
        alertmanager(alert(1), alert(2, "resolved")),
        alertmanager(alert(1) | {"startsAt": "2026-11-22T00:09:00Z"}),
        alertmanager(groupKey="another"),
    ]
    assert len({key(body) for body in bodies}) == len(bodies)


def test_every_chat_has_its_own() -> None:
    assert key(alertmanager()) != key(alertmanager(), chat="12025550102@s.whatsapp.net")


def test_alerts_without_a_fingerprint_are_told_apart_by_their_labels() -> None:
    one, two = ({**alert(number), "fingerprint": ""} for number in (1, 2))
    assert key(alertmanager(one)) != key(alertmanager(two))
