"""Settings: a laptop needs none, a wrong one is named together with all the others."""

import re
from datetime import time

import pytest

from service import config
from service.config import Hours, Seconds, Settings
from service.errors import SettingsError

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_every_setting_has_a_default() -> None:
    settings = config.load()
    assert settings.port == 8000
    assert settings.listen_on == "127.0.0.1"


def test_with_a_token_it_listens_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    assert config.load().listen_on is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_token(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOST", host)
    assert config.load().listen_on == host


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "sesame")
    monkeypatch.setenv("WHATSAPP_PROXY", "ftp://user:sesame@host")
    with pytest.raises(SettingsError) as caught:
        config.load()
    assert "sesame" not in str(caught.value)
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.delenv("WHATSAPP_PROXY")
    assert TOKEN not in repr(config.load())


@pytest.mark.parametrize("name", ["WHATSAPP_PROXY", "KEEP_ALIVE_URL", "DATABASE_URL"])
def test_a_password_that_looks_like_a_port_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://user:ses/ame@host")
    with pytest.raises(SettingsError) as caught:
        config.load()
    assert "ses" not in str(caught.value)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_ADMINS", "+1 202-555-0101, 12025550102,")
    monkeypatch.setenv("BOT_PLUGINS", "one,two.three")
    settings = config.load()
    assert settings.bot_admins == ("12025550101", "12025550102")
    assert settings.bot_plugins == ("one", "two.three")


def test_ranges_and_hours_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_GAP", "1.5 - 4")
    monkeypatch.setenv("NEW_CHAT_GAP", "60")
    monkeypatch.setenv("QUIET_HOURS", "22:30-7:00")
    settings = config.load()
    assert settings.chat_gap == Seconds(1.5, 4)
    assert settings.new_chat_gap == Seconds(60, 60)
    assert settings.quiet_hours == Hours(time(22, 30), time(7))


def test_a_session_in_the_database_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_STORE", "postgres")
    with pytest.raises(SettingsError, match="SESSION_STORE=postgres: needs DATABASE_URL"):
        config.load()


@pytest.mark.parametrize(("backups", "made"), [(None, True), ("off", False)])
def test_a_session_in_the_database_is_backed_up_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, backups: str | None, made: bool
) -> None:
    monkeypatch.setenv("SESSION_STORE", "postgres")
    monkeypatch.setenv("DATABASE_URL", "postgres://db/d")
    monkeypatch.setenv("BACKUP_DIR", "/kept")
    if backups is not None:
        monkeypatch.setenv("BACKUP_ENABLED", backups)
    assert config.load().backup_enabled is made


@pytest.mark.parametrize(("written", "meant"), [("on", True), ("off", False), ("false", False), ("1", True)])
def test_a_switch_is_on_or_off(monkeypatch: pytest.MonkeyPatch, written: str, meant: bool) -> None:
    monkeypatch.setenv("PACING", written)
    assert config.load().pacing is meant


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "http", "PORT=http: input should be a valid integer"),
        ("PORT", "65536", "PORT=65536: input should be less than or equal to 65535"),
        ("ACCOUNT", "+12025550100", "ACCOUNT=+12025550100: string should match pattern"),
        ("DATABASE_URL", "mysql://ann:hidden@db/beacon", "DATABASE_URL=***: must be postgres://USER:"),
        ("DATABASE_URL", "postgres", "DATABASE_URL=***: must be postgres://USER:"),
        ("BOT_PREFIX", "////", "BOT_PREFIX=////: string should have at most 3 characters"),
        ("UNKNOWN_WAIT", "0", "UNKNOWN_WAIT=0: input should be greater than or equal to 0.1"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT=xml: input should be 'auto', 'json' or 'console'"),
        ("BOT_ADMINS", "ann", "BOT_ADMINS=ann: must be phone numbers of 7 to 15 digits"),
        ("KEEP_ALIVE_URL", "file:///etc/passwd", "KEEP_ALIVE_URL=***: must be an address that begins with"),
        ("KEEP_ALIVE_URL", "http://", "KEEP_ALIVE_URL=***: must be an address that begins with"),
        ("PACING", "maybe", "PACING=maybe: must be on or off"),
        ("SEND_RATE", "0", "SEND_RATE=0: input should be greater than or equal to 0.1"),
        ("CHAT_GAP", "8-3", "CHAT_GAP=8-3: must be a range of seconds such as 3-8"),
        ("CHAT_GAP", "nan", "CHAT_GAP=nan: must be a range of seconds such as 3-8"),
        ("NEW_CHAT_GAP", "1.2.3", "NEW_CHAT_GAP=1.2.3: must be a range of seconds such as 3-8"),
        ("NEW_CHAT_GAP", "0-90000", "NEW_CHAT_GAP=0-90000: must be a range of seconds such as 3-8"),
        ("QUIET_HOURS", "night", "QUIET_HOURS=night: must be two different times of day such as 22:00-07:00"),
        ("QUIET_HOURS", "22:00-25:00", "QUIET_HOURS=22:00-25:00: must be two different times of day"),
        ("QUIET_HOURS", "07:00-7:00", "QUIET_HOURS=07:00-7:00: must be two different times of day"),
        ("TZ", "Mars/Olympus", "TZ=Mars/Olympus: must be a time zone such as Europe/Berlin"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{re.escape(sentence)}"):
        config.load()
