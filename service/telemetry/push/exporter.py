"""Exports one signal, time after time: later when the receiver says so, and once more at the end.

An error in what is exported is logged and counted, and ends no delivery.
"""

import asyncio
from contextlib import suppress
from random import Random
from typing import Final

import structlog

from service.clock import Clock
from service.telemetry.push.metrics import Exported, PushMetrics
from service.telemetry.push.sender import Answer, Sender
from service.telemetry.push.sources import Source

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


class Exporter:
    """Owns its one export under way: a stop that comes in between does not leave it unknown."""

    def __init__(
        self, source: Source, sender: Sender, *, metrics: PushMetrics, clock: Clock, rng: Random
    ) -> None:
        self._source = source
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._last: Exported | None = None
        self._under_way: asyncio.Task[Answer | None] | None = None

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            answer = await self._export()
            if answer is not None and answer.exported.passing:
                await self._clock.sleep(self._pause_s(answer))
            else:
                await self._source.due()

    async def close(self, *, timeout_s: float) -> None:
        """Send what is left, as far as that time allows. The last call."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._finish()
        except TimeoutError:
            log.warning("telemetry.flush_cut_short", signal=self._source.signal.value, left=self._source.left)
        finally:
            if self._under_way is not None:
                self._under_way.cancel()
                with suppress(asyncio.CancelledError):
                    await self._under_way
            await self._sender.close()

    async def _finish(self) -> None:
        if self._under_way is not None:
            await asyncio.wait({self._under_way})
        while (answer := await self._export()) is not None:
            if answer.exported.passing:
                await self._clock.sleep(self._pause_s(answer))
            elif not self._source.left:
                return

    async def _export(self) -> Answer | None:
        """One attempt with what there is; None when that is nothing. Goes on when the caller is cancelled."""
        self._under_way = asyncio.create_task(self._attempt())
        return await asyncio.shield(self._under_way)

    async def _attempt(self) -> Answer | None:
        try:
            encode = self._source.take()
            if encode is None:
                return None
            packed = await asyncio.to_thread(lambda: self._sender.pack(encode()))
        except Exception as error:
            log.exception("telemetry.not_encoded", signal=self._source.signal.value)
            answer = Answer(exported=Exported.FAILED, words=type(error).__name__)
        else:
            answer = await self._sender.send(packed)
        self._settle(answer)
        return answer

    def _settle(self, answer: Answer) -> None:
        signal, exported = self._source.signal, answer.exported
        if exported.arrived:
            self._source.arrived()
        elif not exported.passing:
            self._source.given_up()
        self._failures = self._failures + 1 if exported.passing else 0
        self._metrics.exports[signal, exported].inc()
        self._metrics.dropped[signal].inc(answer.rejected)
        if exported is not self._last:
            tell = log.info if exported is Exported.ACCEPTED else log.warning
            tell(
                "telemetry.export_changed",
                signal=signal.value,
                result=exported.value,
                answer=answer.words,
                rejected=answer.rejected,
            )
        self._last = exported

    def _pause_s(self, answer: Answer) -> float:
        """Never less than half a second, whatever the receiver says: it is busy."""
        if answer.retry_after_s is not None:
            return max(FIRST_RETRY_S / 2, answer.retry_after_s) * self._rng.uniform(1.0, 1.1)
        ceiling = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 16))
        return ceiling * self._rng.uniform(0.5, 1.0)
