"""What whatsmeow can still send again by itself: the last 256 messages that it began to send."""

from service.engine.recent import SIZE, Recent


def test_whatsmeow_still_has_the_last_256() -> None:
    recent = Recent()
    for number in range(SIZE + 1):
        recent.add(f"3EB0{number}")
    assert not recent.holds(("3EB00",))
    assert recent.holds(("3EB01",))
    assert recent.holds((f"3EB0{SIZE}", "3EB01"))


def test_one_unknown_message_among_several_is_enough_to_be_asked() -> None:
    recent = Recent()
    recent.add("3EB01")
    assert not recent.holds(("3EB01", "3EB02"))


def test_what_whatsmeow_failed_to_send_again_it_does_not_have() -> None:
    recent = Recent()
    recent.add("3EB01")
    recent.add("3EB02")
    recent.forget("3EB01")
    assert not recent.holds(("3EB01",))
    assert recent.holds(("3EB02",))


def test_an_attempt_without_an_id_takes_its_place() -> None:
    recent = Recent()
    recent.add("3EB01")
    for _ in range(SIZE - 1):
        recent.add(None)
    assert recent.holds(("3EB01",))
    recent.add(None)
    assert not recent.holds(("3EB01",))
