"""PromQL as the dashboards use it: every selector carries the variables, every rate Grafana's own window."""

from dataclasses import dataclass
from typing import Final

SERVICE: Final = 'job=~"$job",instance=~"$instance"'
"""For what the process, Python or Prometheus itself counts."""

ACCOUNT: Final = f'{SERVICE},account=~"$account"'
"""For everything of Beacon's own."""

WINDOW: Final = "$__rate_interval"
WHO: Final = ("instance", "account")
"""What tells one process's line from another's."""

WHOSE: Final = ("account",)
"""For what several processes with one account would tell alike."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a panel. `exemplar`: with its traces; `now`: only the latest value, not a line."""

    expression: str
    legend: str = ""
    exemplar: bool = False
    now: bool = False


def of(metric: str, *matchers: str) -> str:
    """A selector with the matchers of the variables; own metrics are told by their prefix."""
    scope = ACCOUNT if metric.startswith("whatsapp_") else SERVICE
    return f"{metric}{{{','.join((scope, *matchers))}}}"


def total(selector: str, *, by: tuple[str, ...] = WHO) -> str:
    """A gauge, summed."""
    return f"{_sum(by)} ({selector})"


def kept(*matchers: str, by: tuple[str, ...] = WHOSE) -> str:
    """Messages in the store, which every process that shares it tells of: counted once."""
    once = ", ".join(dict.fromkeys(("account", "state", *by)))
    return f"{_sum(by)} (max by ({once}) ({of('whatsapp_queue_messages', *matchers)}))"


def rate(metric: str, *matchers: str, by: tuple[str, ...] = WHO) -> str:
    """A counter's rate a second."""
    return f"{_sum(by)} (rate({of(metric, *matchers)}[{WINDOW}]))"


def events(metric: str, *matchers: str, by: tuple[str, ...] = WHO) -> str:
    """How often a rare thing happened in each step of time.

    `increase` extrapolates to the edges of its window, hence the rounding.
    """
    return f"round({_sum(by)} (increase({of(metric, *matchers)}[{WINDOW}])))"


def occurred(metric: str, *matchers: str, by: tuple[str, ...]) -> str:
    """Like `events`, for kinds of which there are too many to show those that did not happen."""
    return f"{events(metric, *matchers, by=by)} > 0"


def during(metric: str, *matchers: str, by: tuple[str, ...] = WHOSE, span: str = "$__range") -> str:
    """How often something happened over the time that is shown, or another span."""
    return f"{_sum(by)} (increase({of(metric, *matchers)}[{span}]))"


def ratio(part: str, whole: str) -> str:
    """A share from 0 to 1; no value where there was nothing to share."""
    return f"({part}) / ({whole} > 0)"


def age(selector: str, *, by: tuple[str, ...] = WHO) -> str:
    """Seconds since a moment that was kept as Unix time; 0 stands for never and has no age."""
    return f"time() - (max by ({', '.join(by)}) ({selector}) > 0)"


def quantiles(histogram: str, *matchers: str, by: tuple[str, ...] = (), traced: bool = True) -> list[Query]:
    """Median, 95th and 99th percentile of a histogram, the 95th with the traces that it was made of.

    Not `traced` is what is measured outside of any trace.
    """
    name = "".join(f"{{{{{label}}}}} " for label in by)
    return [
        Query(
            quantile(share, histogram, *matchers, by=by),
            f"{name}p{round(share * 100)}",
            exemplar=traced and share == 0.95,
        )
        for share in (0.5, 0.95, 0.99)
    ]


def quantile(share: float, histogram: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """A quantile of a histogram, by its name without `_bucket`."""
    buckets = of(f"{histogram}_bucket", *matchers)
    return f"histogram_quantile({share}, {_sum(('le', *by))} (rate({buckets}[{WINDOW}])))"


def longest(histogram: str, *, span: str) -> str:
    """The bucket that holds the longest of what was measured over a span."""
    buckets = of(f"{histogram}_bucket")
    return f"histogram_quantile(1, {_sum(('le', *WHO))} (increase({buckets}[{span}])))"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
