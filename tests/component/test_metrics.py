"""The metrics of the whole service: as the golden list says, legal, and there from the start."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from dashboards import metrics as catalogue
from tests.e2e.process import environment

ANEW = "the service's metrics have changed: look at the difference, then run `python -m dashboards.metrics`"
OURS = "whatsapp_"
STANDARD = ("process_", "python_gc_")
"""Of Prometheus's client library; without `account`, as every program has them."""


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    """Of a service with everything on that has not run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment().keys():
            patch.delenv(name)
        return asyncio.run(catalogue.exposed())


def families(registry: CollectorRegistry) -> list[Metric]:
    return list(registry.collect())


def test_the_metrics_are_those_of_the_golden_list_and_of_the_page(registry: CollectorRegistry) -> None:
    metrics = catalogue.described(registry)
    assert catalogue.golden(metrics) == catalogue.GOLDEN.read_text(), ANEW
    assert catalogue.page(metrics) == catalogue.PAGE.read_text(), ANEW


def test_every_series_that_can_occur_exists_from_the_start_and_none_twice(
    registry: CollectorRegistry,
) -> None:
    for family in families(registry):
        assert family.samples, f"{family.name} has no series before its first event"
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(series) == len(set(series)), family.name


def test_names_are_legal_and_ours_and_say_what_they_are(registry: CollectorRegistry) -> None:
    for family in families(registry):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name), "no name needs more than Prometheus 2 allows"
        assert family.name.startswith((OURS, *STANDARD))
        for sample in family.samples:
            assert not sample.name.endswith("_created"), "each would be a series of its own"
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in sample.labels)
            if family.name.startswith(OURS):
                assert sample.labels.get("account") == "default"
        if family.name.startswith(OURS):
            assert family.documentation.endswith("."), family.name
            assert not family.name.endswith(("_count", "_sum", "_bucket", "_ms", "_ratio_seconds"))
            assert "_seconds_ago" not in family.name, "instants are timestamps"


def test_no_series_of_creation_times_is_exposed(registry: CollectorRegistry) -> None:
    assert b"_created" not in generate_latest(registry)
    assert b"_created" not in openmetrics(registry)  # type: ignore[no-untyped-call]


def test_promtool_has_nothing_to_say(registry: CollectorRegistry, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "these tests need Debian's `prometheus` (.ci/run installs it)"
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
