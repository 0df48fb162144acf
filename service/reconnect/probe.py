"""A cheap question before a login: does the way to WhatsApp exist at all."""

import asyncio
from contextlib import suppress
from typing import Final

from service.dial import dial

WHATSAPP: Final = ("web.whatsapp.com", 443)
TIMEOUT_S: Final = 5.0


class Probe:
    """Opens a TCP connection to WhatsApp, through the proxy if there is one, and closes it."""

    def __init__(
        self, proxy: str | None, *, target: tuple[str, int] = WHATSAPP, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._proxy = proxy
        self._target = target
        self._timeout_s = timeout_s

    async def __call__(self) -> bool:
        """Is there a way now."""
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await dial(*self._target, proxy=self._proxy)
        except OSError:  # TimeoutError and every refusal of a proxy included
            return False
        writer.close()
        with suppress(OSError):  # the other side may have gone first; the answer stands
            await writer.wait_closed()
        return True
