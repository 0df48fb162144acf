"""The bounds of what is accepted, in one place (a text's own is in queue/content.py)."""

from typing import Final

BODY_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of one request's body. A batch holds fewer of the longest texts than `BATCH_MESSAGES`."""

FORM_BYTES: Final = 4 * 1024
"""Most bytes of a small body: the sign-in form, a phone number."""

BATCH_MESSAGES: Final = 1000
"""Most messages in one request."""

FETCHES: Final = 20
"""Most different URLs that one request may name files by."""

MEDIA_AT_ONCE: Final = 4
"""Most files that are in memory at a time; each is at most MEDIA_MAX_MB. Others wait."""

UPLOAD_TIMEOUT_S: Final = 300.0
"""How long the body of one upload may take: 16 MB at half a megabit a second."""

LIST_MESSAGES: Final = 1000
"""Most messages on one page of a list."""

HORIZON_S: Final = 366 * 86_400.0
"""How far ahead `not_before` and `expires_at` may lie; catches milliseconds taken for seconds."""

IDEMPOTENCY_KEY_CHARS: Final = 200
MAX_ATTEMPTS: Final = 100
STREAMS: Final = 64
"""Most event streams at a time; one is a few kilobytes and a timer."""
