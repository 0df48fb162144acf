"""The one registry of an application: process metrics and what was built. Components add their own."""

import os
import platform
import re
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import service

value_of: Final = attrgetter("_value")
exemplar_of: Final = attrgetter("_exemplar")
"""What the library (0.26) keeps of a counter or a bucket; to read one reference, it takes a lock besides."""


def build_registry(account: str) -> CollectorRegistry:
    """A registry with process, garbage collector and build metrics in it.

    `_created` series are turned off: Prometheus would store each as a series of its own.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    facts = {
        "version": service.__version__,
        "revision": _revision(),
        "python_version": platform.python_version(),
        "neonize_version": distribution_version("neonize"),
        "sqlite_version": sqlite3.sqlite_version,
    }
    info = Gauge(
        "whatsapp_build_info",
        "What is running; always 1, the facts are in the labels.",
        ["account", *facts],
        registry=registry,
    )
    info.labels(account=account, **facts).set(1)
    return registry


def collectors(registry: CollectorRegistry) -> list[Collector]:
    """What was registered, in that order."""
    with registry._lock:
        return list(registry._collector_to_names)


def children(metric: Counter | Histogram) -> list[tuple[tuple[str, ...], Any]]:
    """The series of a metric, as the library keeps them, by the values of their labels."""
    if not metric._labelnames:
        return [((), metric)]
    with metric._lock:
        return [(tuple(values), child) for values, child in metric._metrics.items()]


def _revision() -> str:
    """The commit that was built, as the platform tells it: Heroku at run time, its builds before that."""
    told = os.environ.get("HEROKU_SLUG_COMMIT") or os.environ.get("SOURCE_VERSION") or ""
    return told if re.fullmatch(r"[0-9a-f]{7,64}", told) else "unknown"


def distribution_version(name: str) -> str:
    """The installed version of a distribution, or `unknown`; never imports it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
