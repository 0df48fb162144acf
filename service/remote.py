"""A running Beacon, asked over its HTTP API by the command line."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from service.config import LOOPBACK
from service.errors import ApiDenied, ApiRefused, ApiUnreachable, InvalidInput

TIMEOUT_S: Final = 15.0
ENGINE_TIMEOUT_S: Final = 60.0
"""For what the service asks of WhatsApp before it answers."""

POLL_S: Final = 0.25

LONG_TIMEOUT_S: Final = 600.0
"""For what moves every message of a state, or a whole session."""

PAGE_MESSAGES: Final = 1000
"""Most messages that one request lists."""

MESSAGES: Final = "/api/v1/messages"
SESSION: Final = "/api/v1/session"
BACKUPS: Final = "/api/v1/backups"

ARRIVED: Final = frozenset({"delivered", "read"})
ENDED: Final = ARRIVED | {"held", "dead", "expired", "cancelled"}
"""States that stay as they are unless a person or a receipt changes them."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The service at `url`; raises InvalidInput unless that is http or https. `token` is its API_TOKEN."""

    url: str
    token: str | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise InvalidInput("url", f"{self.url}: must begin with http:// or https://")

    def send(self, to: str, text: str, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Hand in one message. Returns the API's answer, with `id`, `state` and `created`.

        Raises ApiUnreachable, ApiDenied, ApiRefused.
        """
        body = {"to": to, "text": text}
        if idempotency_key is not None:
            body["idempotency_key"] = idempotency_key
        return self._ask("POST", MESSAGES, body)

    def message(self, message_id: str) -> dict[str, Any]:
        """What is known of a message. Raises as `send` does."""
        return self._ask("GET", _path(message_id), None)

    def messages(self, *, states: Sequence[str], chat: str | None, limit: int) -> list[dict[str, Any]]:
        """At most `limit` messages, the latest accepted first. Raises as `send` does."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            query = [("state", state) for state in states]
            query += [("limit", str(min(limit - len(found), PAGE_MESSAGES)))]
            query += [(name, value) for name, value in (("chat", chat), ("cursor", cursor)) if value]
            page = self._ask("GET", f"{MESSAGES}?{urlencode(query)}", None, expect="messages")
            found += page["messages"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found

    def cancel(self, message_id: str) -> dict[str, Any]:
        """Take a message back; as it is then. Raises as `send` does."""
        return self._ask("DELETE", _path(message_id), None)

    def ask_for(self, message_id: str, wish: str) -> dict[str, Any]:
        """Have a message retried, held or released (`wish`); as it is then. Raises as `send` does."""
        return self._ask("POST", f"{_path(message_id)}/{wish}", {})

    def retry_dead(self) -> int:
        """Have every dead message tried again; how many. Raises as `send` does."""
        answer = self._ask("POST", f"{MESSAGES}/retry-dead", {}, expect="requeued", timeout_s=LONG_TIMEOUT_S)
        return int(answer["requeued"])

    def stats(self) -> dict[str, Any]:
        """Messages by state, and since when the oldest waits. Raises as `send` does."""
        return self._ask("GET", "/api/v1/queue", None, expect="counts")

    def wait(
        self,
        message_id: str,
        *,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> dict[str, Any]:
        """The message once it has arrived or ended otherwise, or as it is after `timeout_s` seconds."""
        deadline = monotonic() + timeout_s
        while True:
            known = self.message(message_id)
            if known["state"] in ENDED or monotonic() >= deadline:
                return known
            sleep(POLL_S)

    def session(self) -> dict[str, Any]:
        """Where the connection is, as `GET /api/v1/session` says. Raises as `send` does."""
        return self._ask("GET", SESSION, None)

    def pair_code(self, phone: str) -> str:
        """A code to type into the phone with that number. Raises as `send` does."""
        code = self._ask(
            "POST", f"{SESSION}/pair", {"phone": phone}, expect="code", timeout_s=ENGINE_TIMEOUT_S
        )["code"]
        return str(code)

    def restart(self) -> dict[str, Any]:
        """Have the connection made anew; where it is now. Raises as `send` does."""
        return self._ask("POST", f"{SESSION}/restart", {})

    def clear(self) -> dict[str, Any]:
        """Have the local session removed and pairing begun; where it is now. Raises as `send` does."""
        return self._ask("POST", f"{SESSION}/clear", {}, timeout_s=ENGINE_TIMEOUT_S)

    def logout(self) -> dict[str, Any]:
        """Have the device unlinked at WhatsApp; where the connection is now. Raises as `send` does."""
        return self._ask("POST", f"{SESSION}/logout", {}, timeout_s=ENGINE_TIMEOUT_S)

    def backups(self) -> list[dict[str, Any]]:
        """All backups, the latest first. Raises as `send` does."""
        answer = self._ask("GET", BACKUPS, None, expect="backups", timeout_s=ENGINE_TIMEOUT_S)
        return list(answer["backups"])

    def backup_progress(self) -> str:
        """How far the service is with what it does for the backups; empty when it does nothing. Raises as
        `send` does."""
        answer = self._ask("GET", BACKUPS, None, expect="backups", timeout_s=ENGINE_TIMEOUT_S)
        progress = answer["status"].get("progress")
        return str(progress["words"]) if progress else ""

    def back_up(self) -> dict[str, Any]:
        """Have the session kept as it is now; the report. Raises as `send` does."""
        return self._ask("POST", BACKUPS, {}, expect="outcome", timeout_s=LONG_TIMEOUT_S)

    def verify_backup(self, sequence: int | None) -> dict[str, Any]:
        """Have a backup, the newest for None, checked as a restore would. Raises as `send` does."""
        path = f"{BACKUPS}/{'newest' if sequence is None else sequence}/verify"
        return self._ask("POST", path, {}, expect="verified_at", timeout_s=LONG_TIMEOUT_S)

    def prune_backups(self) -> dict[str, Any]:
        """Have backups forgotten that the rule of retention does not keep. Raises as `send` does."""
        return self._ask("POST", f"{BACKUPS}/prune", {}, expect="forgotten", timeout_s=LONG_TIMEOUT_S)

    def rotate_backup_key(self) -> dict[str, Any]:
        """Have the newest backup sealed with the service's first key. Raises as `send` does."""
        return self._ask("POST", f"{BACKUPS}/rotate-key", {}, expect="key_id", timeout_s=LONG_TIMEOUT_S)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        expect: str = "state",
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        request = Request(  # noqa: S310 - __post_init__ allows http and https only
            self.url.rstrip("/") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with self._opener().open(request, timeout=timeout_s) as response:
                answer = json.load(response)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, HTTPException, ValueError) as error:
            raise ApiUnreachable(
                f"{self.url}: no Beacon answers there ({_reason(error)}). Start it with `beacon run`, "
                "or name the right one with --url."
            ) from error
        if not isinstance(answer, dict) or expect not in answer:
            raise ApiUnreachable(f"{self.url}: something answers there, but it is not Beacon")
        return answer

    def _opener(self) -> OpenerDirector:
        """A proxy for the way out must not be asked for a service on this machine."""
        if urlsplit(self.url).hostname in {LOOPBACK, "localhost", "::1"}:
            return build_opener(ProxyHandler({}))
        return build_opener()

    def _refusal(self, error: HTTPError) -> ApiDenied | ApiRefused:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return ApiDenied(f"{self.url}: the token is missing or wrong; set API_TOKEN or give --token")
        try:
            problem = json.load(error)
            sentence, kind = f"{problem['title']}: {problem['detail']}", str(problem["type"])
        except (OSError, ValueError, LookupError, TypeError):
            sentence, kind = f"HTTP {error.code} {error.reason}", ""
        return ApiRefused(f"{self.url}: {sentence}", kind=kind.rpartition(":")[2])


def _path(message_id: str) -> str:
    return f"{MESSAGES}/{quote(message_id, safe='')}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
