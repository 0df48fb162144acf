"""Settings: environment variables with a default that works on a laptop, all checked at once."""

import base64
import binascii
import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import SettingsError


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"  # coloured on a terminal, JSON elsewhere
    JSON = "json"
    CONSOLE = "console"


class SessionStore(StrEnum):
    """Where the WhatsApp session is."""

    FILE = "file"  # in DATA_DIR
    POSTGRES = "postgres"  # in the database of DATABASE_URL


class LogLevel(StrEnum):
    """The least important log line that is still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LOOPBACK: Final = "127.0.0.1"
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Seconds:
    """A length of time that is drawn anew each time, from `least` to `most` seconds."""

    least: float
    most: float

    @classmethod
    def parse(cls, text: str) -> "Seconds":
        """From `3-8`, or `5` for always the same. Raises ValueError."""
        found = re.fullmatch(r"([0-9.]+)(?:-([0-9.]+))?", text.replace(" ", ""))
        try:
            range_ = cls(float(found[1]), float(found[2] or found[1])) if found else None
        except ValueError:
            range_ = None
        if range_ is None or not range_.least <= range_.most <= DAY_S:
            raise ValueError("must be a range of seconds such as 3-8, at most 86400")
        return range_

    def __str__(self) -> str:
        return f"{self.least:g}-{self.most:g}"


@dataclass(frozen=True, slots=True)
class Hours:
    """Every day from `start` to `end`, over midnight when `end` is the earlier one."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """From `22:00-07:00`. Raises ValueError."""
        found = re.fullmatch(r"([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})", text.replace(" ", ""))
        try:
            hours = cls(*(time.fromisoformat(part.zfill(5)) for part in found.groups())) if found else None
        except ValueError:
            hours = None
        if hours is None or hours.start == hours.end:
            raise ValueError("must be two different times of day such as 22:00-07:00")
        return hours

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


class Settings(BaseSettings):
    """What can be set. Field descriptions are the documentation (`beacon settings`, README)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Field(
        Path("beacon-data"), description="Folder for the session, the queue and keys; one process at a time."
    )
    host: str | None = Field(
        None,
        description="Address to listen on. Default: every address when API_TOKEN is set, else 127.0.0.1; "
        "without API_TOKEN nothing beyond loopback is allowed.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token for the API, the page and metrics (`Authorization: Bearer ...`). "
        "At least 16 characters.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="Token that opens /metrics and nothing else."
    )
    alerts_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token with which alerts can be handed in (POST /api/v1/alerts), and nothing else.",
    )
    alert_chats: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Whom alerts of Alertmanager or Grafana are told (docs/alerts.md): phone numbers or "
        "JIDs, separated by commas.",
    )
    alert_template: Path | None = Field(
        None,
        description="File with a Jinja template for such messages. Default: the shipped one "
        "(service/alerting/message.txt.j2).",
    )
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL that keeps the queue, and decides which of several processes with the same "
        "ACCOUNT may connect: one, and another within seconds when that one ends. Another machine is spoken "
        "to over TLS unless `sslmode` in the URL says otherwise. Default: the queue is a file in DATA_DIR.",
    )
    whatsapp_proxy: SecretStr | None = Field(
        None, description="Proxy to WhatsApp: http://, https:// or socks5://, user and password allowed."
    )
    keep_alive_url: SecretStr | None = Field(
        None,
        description="Address that is fetched about every 10 minutes, so that a platform that puts idle "
        "programs to sleep sees traffic: this service's own public `/livez`, for example.",
    )
    account: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        description="Name of this account in metrics and traces; never a phone number.",
    )
    device_name: str = Field(
        "Beacon", min_length=1, max_length=50, description="Name shown in the phone's list of linked devices."
    )
    memory_limit_mb: int | None = Field(
        None,
        ge=128,  # an engine at rest takes about 80
        description="Memory in MB (10^6 bytes) above which the process that runs WhatsApp is replaced, at "
        "most every 10 minutes. Default: 60 % of MEMORY_MB; without that, no limit.",
    )
    memory_mb: int | None = Field(
        None,
        ge=128,
        description="Memory in MB (10^6 bytes) that the service and that process may take together, which "
        "metrics and alerts measure against. Default: the container's memory; outside of one, no limit.",
    )
    bot_prefix: str = Field("!", min_length=1, max_length=3, description="What a command starts with.")
    bot_admins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Phone numbers that may ask for !status, separated by commas."
    )
    bot_plugins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Python modules that add commands, separated by commas."
    )
    pacing: bool = Field(
        True,
        description="Whether sending is slowed down to what WhatsApp may take for a person (docs/pacing.md). "
        "Off is for those who know what they risk: accounts that send like machines are banned.",
    )
    send_rate: float = Field(
        20.0, ge=0.1, le=6000, description="Messages a minute, at most, over any longer while."
    )
    send_burst: int = Field(
        10, ge=1, le=1000, description="Messages that may go out at once after a quiet while."
    )
    chat_gap: Annotated[Seconds, NoDecode] = Field(
        Seconds(3, 8),
        description="Seconds between two messages to one chat, drawn anew each time from this range.",
    )
    new_chats_per_day: int = Field(
        10,
        ge=0,
        le=1000,
        description="How many people who never wrote to this account may be written to for the first time in "
        "any 24 hours; the others wait. Groups do not count.",
    )
    new_chat_gap: Annotated[Seconds, NoDecode] = Field(
        Seconds(45, 120), description="Seconds between two such first messages, drawn anew each time."
    )
    quiet_hours: Annotated[Hours | None, NoDecode] = Field(
        None,
        description="Hours in which nothing at all is sent, such as 22:00-07:00, in the time zone TZ or else "
        "in UTC. Default: none, because a notification that waits until the morning is none.",
    )
    unknown_wait: float = Field(
        120.0,
        ge=0.1,
        le=3600,
        description="Seconds to wait, connected, for a receipt of a message whose outcome is unknown, before "
        "it is sent again or held.",
    )
    media_max_mb: int = Field(
        16,
        ge=1,
        le=100,
        description="Largest picture, film, sound or document in MB (10^6 bytes), handed in or fetched; it "
        "is kept with its message.",
    )
    media_private_urls: bool = Field(
        False,
        description="Whether a message may name a file by a URL inside of this network (loopback, private "
        "and link-local addresses).",
    )
    session_store: SessionStore = Field(
        SessionStore.FILE,
        description="Where the WhatsApp session is: `file`, in DATA_DIR, or `postgres`, in the database of "
        "DATABASE_URL (docs/session-store.md).",
    )
    backup_enabled: bool = Field(
        True,
        description="Whether the session is backed up, and brought back when it is lost (docs/backup.md).",
    )
    backup_interval: int = Field(
        30,
        ge=1,
        le=1440,
        description="Minutes after which the session is backed up even if nothing was seen to change; what "
        "changed is backed up within half a minute.",
    )
    backup_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Keys of the backups, separated by commas: the first seals, all unseal. Each is 32 "
        "random bytes as 64 hex digits or base64 (`openssl rand -hex 32`). Default: one is made in DATA_DIR, "
        "and lost with it.",
    )
    backup_dir: Path | None = Field(
        None,
        description="Folder that keeps the backups; the folder it is in must be there. Default: the database "
        "of DATABASE_URL, else a folder in DATA_DIR.",
    )
    log_format: LogFormat = Field(LogFormat.AUTO, description="auto, json or console.")
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error.")
    trace_messages_per_second: float = Field(
        10.0,
        ge=0,
        le=10_000,
        description="Messages whose way is recorded, of those accepted within a second, where traces are "
        "pushed; ten seconds' worth at once after a quiet while. 0 sets no bound (docs/observability.md).",
    )
    tz: str | None = Field(
        None, description="Time zone of QUIET_HOURS and of times shown to people, such as Europe/Berlin."
    )

    @field_validator("alert_chats", "bot_admins", "bot_plugins", "backup_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("bot_admins")
    @classmethod
    def _digits(cls, numbers: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(number.removeprefix("+").replace(" ", "").replace("-", "") for number in numbers)
        if not all(number.isascii() and number.isdigit() and 7 <= len(number) <= 15 for number in plain):
            raise ValueError("must be phone numbers of 7 to 15 digits with country code, separated by commas")
        return plain

    @field_validator("backup_keys")
    @classmethod
    def _keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_is_key(key.get_secret_value()) for key in keys):
            raise ValueError("each must be 32 random bytes as 64 hex digits or base64 (openssl rand -hex 32)")
        return keys

    @field_validator("chat_gap", "new_chat_gap", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return Seconds.parse(value) if isinstance(value, str) else value

    @field_validator("quiet_hours", mode="before")
    @classmethod
    def _hours(cls, value: object) -> object:
        return Hours.parse(value) if isinstance(value, str) else value

    @field_validator("tz")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError("must be a time zone such as Europe/Berlin") from error
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in {"postgres", "postgresql"}:
                raise ValueError("must be postgres://USER:PASSWORD@HOST:PORT/NAME")
        return value

    @field_validator("whatsapp_proxy")
    @classmethod
    def _proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_address(value, schemes={"http", "https", "socks5"}):
            raise ValueError("must be http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
        return value

    @field_validator("keep_alive_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_address(value, schemes={"http", "https"}):
            raise ValueError("must be an address that begins with http:// or https://")
        return value

    @model_validator(mode="after")
    def _closed_without_token(self) -> "Settings":
        if self.api_token is None and self.host is not None and not _is_loopback(self.host):
            raise ValueError(
                f"HOST={self.host}: must be a loopback address (127.0.0.1, ::1, localhost) "
                "as long as API_TOKEN is not set"
            )
        return self

    @model_validator(mode="after")
    def _session_has_a_place(self) -> "Settings":
        if self.session_store is SessionStore.POSTGRES and self.database_url is None:
            raise ValueError("SESSION_STORE=postgres: needs DATABASE_URL, the database that it goes to")
        return self

    @property
    def listen_on(self) -> str | None:
        """The address to bind; None means every address."""
        if self.host is not None:
            return self.host
        return LOOPBACK if self.api_token is None else None


def load() -> Settings:
    """The settings from the environment. Raises SettingsError with one sentence for each problem."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors()]) from error


def _is_address(value: SecretStr, *, schemes: Set[str]) -> bool:
    try:
        parts = urlsplit(value.get_secret_value())
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its sentence would show what stands where a port should be
        return False


def _is_key(text: str) -> bool:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return True
    try:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        return len(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _sentence(problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"].startswith("bool_"):
        message = "must be on or off"
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    field = Settings.model_fields[name]
    secret = "SecretStr" in str(field.annotation)
    given = "***" if secret else problem["input"]
    return f"{name.upper()}={given}: {message[0].lower()}{message[1:]}"
