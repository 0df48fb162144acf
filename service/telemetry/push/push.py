"""Pushing as a whole: spans and metrics to where the environment says, or nothing at all."""

import asyncio
from random import Random

import psutil
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry

from service.clock import Clock
from service.telemetry.push.exporter import Exporter
from service.telemetry.push.metrics import PushMetrics, Signal
from service.telemetry.push.points import NS
from service.telemetry.push.sender import Sender
from service.telemetry.push.settings import PushSettings
from service.telemetry.push.sources import Figures, Spans
from service.telemetry.push.translate import Translator


class Push:
    """Everything that leaves over OTLP/HTTP. Delivery does not wait for it, and its failures end nothing."""

    def __init__(
        self,
        settings: PushSettings,
        *,
        registry: CollectorRegistry,
        resource: Resource,
        metrics: PushMetrics,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.notes = settings.notes
        self._exporters: list[Exporter] = []
        self.spans: Spans | None = None
        """Give it to the tracer provider; None when no traces are sent."""
        if settings.traces is not None:
            self.spans = Spans(
                room=settings.span_queue,
                batch=settings.span_batch,
                delay_s=settings.span_delay_s,
                dropped=metrics.dropped[Signal.TRACES],
                clock=clock,
            )
            sender = Sender(settings.traces, Signal.TRACES, now=clock.now)
            self._exporters.append(Exporter(self.spans, sender, metrics=metrics, clock=clock, rng=rng))
        if settings.metrics is not None:
            translator = Translator(
                resource=resource,
                temporality=settings.temporality,
                started_at_ns=int(min(psutil.Process().create_time(), clock.now()) * NS),
            )
            figures = Figures(registry, translator, interval_s=settings.interval_s, clock=clock)
            sender = Sender(settings.metrics, Signal.METRICS, now=clock.now)
            self._exporters.append(Exporter(figures, sender, metrics=metrics, clock=clock, rng=rng))

    async def run(self) -> None:
        """Export until cancelled; returns at once when nothing is to be sent."""
        async with asyncio.TaskGroup() as tasks:
            for exporter in self._exporters:
                tasks.create_task(exporter.run())

    async def close(self, *, timeout_s: float) -> None:
        """Send what is left within that time. The last call, after `run` has ended."""
        await asyncio.gather(*(exporter.close(timeout_s=timeout_s) for exporter in self._exporters))
