"""The registry as text for scrapers, in a small part of the time that prometheus_client takes for it.

A scrape is rendered on the event loop, where messages wait meanwhile, and of two thousand series few differ
from one scrape to the next. So lines are kept, and those of a counter or a histogram are written anew only
when what the library keeps of it (0.26) has changed; nearly all series are of these. Everything else is
asked: a gauge may be a function, of which nothing is kept. What comes out is what prometheus_client would
write, byte for byte: a test holds the two together, and with them the attributes that are read here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from service.telemetry.registry import children, collectors, exemplar_of, value_of

_number: Final[Callable[[float], str]] = floatToGoString
_SMALL: Final = {float(number): f"{number}.0" for number in range(1000)}
_TEXT_TYPES: Final = {"info": "gauge", "stateset": "gauge", "unknown": "untyped"}
_TEXT_SUFFIXES: Final = {"counter": "_total", "info": "_info"}


class Exposition:
    """Renders one registry, whose metrics and labels have names that Prometheus 2 allows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._text = _Page(registry, _text_head, exemplars=False)
        self._openmetrics = _Page(registry, _openmetrics_head, exemplars=True)

    def text(self) -> bytes:
        """Prometheus text, version 0.0.4."""
        return "".join(self._text.parts()).encode()

    def openmetrics(self) -> bytes:
        """OpenMetrics, version 1.0.0: with exemplars."""
        return "".join([*self._openmetrics.parts(), "# EOF\n"]).encode()


class _Page:
    """The registry in one format, and the lines of the last time."""

    def __init__(
        self, registry: CollectorRegistry, head: Callable[[Metric], str], *, exemplars: bool
    ) -> None:
        self._registry = registry
        self._head = head
        self._exemplars = exemplars
        self._heads: dict[Collector, str] = {}
        self._children: dict[Any, _Child] = {}
        self._starts: dict[tuple[str, ...], str] = {}

    def parts(self) -> Iterator[str]:
        """The text, in pieces."""
        for collector in collectors(self._registry):
            if isinstance(collector, Counter | Histogram):
                yield from self._kept(collector)
            else:
                for metric in collector.collect():
                    yield self._head(metric)
                    yield from self._anew(metric)

    def _kept(self, metric: Counter | Histogram) -> Iterator[str]:
        if (head := self._heads.get(metric)) is None:
            (described,) = metric.describe()
            head = self._heads[metric] = self._head(described)
        yield head
        for values, child in children(metric):
            if (known := self._children.get(child)) is None:
                labels = dict(zip(metric._labelnames, values, strict=True))
                starts = [self._start(metric._name + s.name, labels | s.labels) for s in child._samples()]
                known = self._children[child] = _CHILDREN[type(metric)](child, starts, self._exemplars)
            yield known.lines()

    def _anew(self, metric: Metric) -> Iterator[str]:
        for sample in metric.samples:
            exemplar = sample.exemplar if self._exemplars else None
            yield _line(self._start(sample.name, sample.labels), sample.value, exemplar)

    def _start(self, name: str, labels: Mapping[str, str]) -> str:
        """What stands before the value."""
        key = (name, *labels.values())
        if (start := self._starts.get(key)) is None:
            pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
            start = self._starts[key] = f"{name}{{{pairs}}} " if pairs else f"{name} "
        return start


class _Child(Protocol):
    """The series of one set of labels."""

    def lines(self) -> str:
        """As they are now."""


class _Single:
    """A counter."""

    __slots__ = ("_cell", "_exemplars", "_known", "_lines", "_start")

    def __init__(self, child: Any, starts: Iterable[str], exemplars: bool) -> None:
        self._cell = child._value
        (self._start,) = starts
        self._exemplars = exemplars
        self._known: tuple[float, Exemplar | None] | None = None
        self._lines = ""

    def lines(self) -> str:
        known = self._cell._value, self._cell._exemplar
        if known != self._known:
            self._known = known
            value, exemplar = known
            self._lines = _line(self._start, value, exemplar if self._exemplars else None)
        return self._lines


class _Buckets:
    """A histogram: its buckets, their number, and the sum where there is one."""

    __slots__ = ("_buckets", "_exemplars", "_known", "_lines", "_starts", "_sum")

    def __init__(self, child: Any, starts: Iterable[str], exemplars: bool) -> None:
        self._buckets = child._buckets
        self._sum = child._sum
        self._starts = list(starts)
        self._exemplars = exemplars
        self._known: tuple[list[float], list[Exemplar | None], float] | None = None
        self._lines = ""

    def lines(self) -> str:
        known = (
            list(map(value_of, self._buckets)),
            list(map(exemplar_of, self._buckets)) if self._exemplars else [None] * len(self._buckets),
            self._sum._value,
        )
        if known != self._known:
            self._known = known
            self._lines = "".join(self._written(*known))
        return self._lines

    def _written(self, counts: list[float], exemplars: list[Exemplar | None], sum_: float) -> Iterator[str]:
        total = 0.0
        for start, count, exemplar in zip(self._starts, counts, exemplars, strict=False):
            total += count
            yield _line(start, total, exemplar)
        for start, value in zip(self._starts[len(counts) :], (total, sum_), strict=False):
            yield _line(start, value, None)


_CHILDREN: Final[Mapping[type, type[_Single | _Buckets]]] = {Counter: _Single, Histogram: _Buckets}


def _line(start: str, value: float, exemplar: Exemplar | None) -> str:
    end = "" if exemplar is None else _exemplar(exemplar)
    return f"{start}{_SMALL.get(value) or _number(value)}{end}\n"


def _exemplar(exemplar: Exemplar) -> str:
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(exemplar.labels.items()))
    at = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {{{pairs}}} {_number(exemplar.value)}{at}"


def _text_head(metric: Metric) -> str:
    name = metric.name + _TEXT_SUFFIXES.get(metric.type, "")
    words = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {words}\n# TYPE {name} {_TEXT_TYPES.get(metric.type, metric.type)}\n"


def _openmetrics_head(metric: Metric) -> str:
    unit = f"# UNIT {metric.name} {metric.unit}\n" if metric.unit else ""
    return (
        f"# HELP {metric.name} {_escaped(metric.documentation)}\n# TYPE {metric.name} {metric.type}\n{unit}"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
