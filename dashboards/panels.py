"""Panels: what to draw, in which unit, and from which value on it is worth a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.models import common as drawn
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from dashboards.queries import Query

RUNBOOKS: Final = "{runbooks}"
"""Stands in links for the address of the runbooks, which is put in when the JSON is written."""

SOURCE: Final = drawn.DataSourceRef(type_val="prometheus", uid="${datasource}")
FULL: Final = 24
HALF: Final = 12
THIRD: Final = 8
QUARTER: Final = 6
SIXTH: Final = 4
REFS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EVENT_STEP: Final = "1m"

Drawing = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel | heatmap.Panel | text.Panel
Drawn = TypeVar(
    "Drawn",
    timeseries.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    heatmap.Panel,
    text.Panel,
)


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing and its size: width in 24ths, height in steps of 30 pixels."""

    drawing: Drawing
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """How a value is said: its words and colour."""

    text: str
    color: str


Steps = Sequence[tuple[float, str]]
"""From which value on which colour; below the first it is green."""

YES_NO: Final = {"0": Look("no", "red"), "1": Look("yes", "green")}


def said(title: str, content: str, *, width: int = FULL, height: int = 2) -> Panel:
    """Words in Markdown."""
    drawing = text.Panel().title(title).description("What is shown here.").transparent(True)
    return Panel(drawing.mode(TextMode.MARKDOWN).content(content), width, height)


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = THIRD,
    height: int = 8,
    runbook: str | None = None,
    limits: Steps = (),
    zero: bool = True,
) -> Panel:
    """Lines over time. `zero`: the axis begins there."""
    drawing = _common(timeseries.Panel(), title, description, queries, runbook).unit(unit).fill_opacity(8)
    drawing.legend(_legend()).tooltip(_tooltip()).show_points(drawn.VisibilityMode.NEVER)
    if zero:
        drawing.min(0)
    if limits:
        drawing.thresholds(_thresholds(limits))
        drawing.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(drawn.GraphThresholdsStyleMode.DASHED)
        )
    return Panel(drawing, width, height)


def bars(
    title: str,
    description: str,
    *queries: Query,
    width: int = THIRD,
    height: int = 8,
    runbook: str | None = None,
) -> Panel:
    """Rare events, counted for each step of at least a minute; empty while nothing happens."""
    drawing = (
        _common(timeseries.Panel(), title, description, queries, runbook).unit("short").min(0).decimals(0)
    )
    drawing.draw_style(drawn.GraphDrawStyle.BARS).fill_opacity(70).interval(EVENT_STEP)
    drawing.legend(_legend()).tooltip(_tooltip()).no_value("none in this time")
    return Panel(drawing, width, height)


def tile(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    legend: str = "{{account}}",
    limits: Steps = (),
    says: Mapping[str, Look] | None = None,
    none: Look | None = None,
    decimals: int | None = None,
    width: int = SIXTH,
    height: int = 4,
    runbook: str | None = None,
) -> Panel:
    """One number as it is now, coloured. `says` gives words to values, `none` to there being none."""
    query = Query(expression, legend, now=True)
    drawing = _common(stat.Panel(), title, description, [query], runbook).unit(unit)
    drawing.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    drawing.color_mode(
        drawn.BigValueColorMode.BACKGROUND if limits or says else drawn.BigValueColorMode.VALUE
    )
    drawing.graph_mode(drawn.BigValueGraphMode.NONE).thresholds(_thresholds(limits))
    mappings: list[models.ValueMapping] = [_words(says)] if says else []
    if none is not None:
        drawing.no_value(none.text)
        mappings.append(_empty(none))
    if mappings:
        drawing.mappings(mappings)
    if decimals is not None:
        drawing.decimals(decimals)
    return Panel(drawing, width, height)


def timeline(
    title: str,
    description: str,
    *queries: Query,
    says: Mapping[str, Look],
    width: int = FULL,
    height: int = 5,
    runbook: str | None = None,
) -> Panel:
    """Which of a few states it was, over time."""
    drawing = _common(statetimeline.Panel(), title, description, queries, runbook).mappings([_words(says)])
    drawing.merge_values(True).show_value(drawn.VisibilityMode.NEVER).fill_opacity(80).row_height(0.9)
    drawing.legend(_legend()).tooltip(_tooltip())
    return Panel(drawing, width, height)


def rows(
    title: str,
    description: str,
    expression: str,
    *columns: "Column",
    unit: str,
    none: str,
    width: int = FULL,
    height: int = 5,
    runbook: str | None = None,
) -> Panel:
    """A table of what is so now, its columns in the given order and nothing else."""
    drawing = _common(table.Panel(), title, description, [], runbook).unit(unit)
    drawing.targets([_target(0, Query(expression, now=True)).format(PromQueryFormat.TABLE)])
    drawing.no_value(none)
    order = {column.field: at for at, column in enumerate(columns)}
    names = {column.field: column.title for column in columns}
    keep = {"include": {"names": list(order)}}
    drawing.with_transformation(models.DataTransformerConfig(id_val="filterFieldsByName", options=keep))
    arranged = {"indexByName": order, "renameByName": names, "excludeByName": {}}
    drawing.with_transformation(models.DataTransformerConfig(id_val="organize", options=arranged))
    for column in columns:
        if properties := column.properties():
            drawing.override_by_name(column.title, properties)
    return Panel(drawing, width, height)


def heat(
    title: str, description: str, unit: str, expression: str, *, width: int = THIRD, height: int = 8
) -> Panel:
    """How a histogram is spread, over time; with its traces."""
    drawing = _common(heatmap.Panel(), title, description, [])
    query = _target(0, Query(expression, "{{le}}", exemplar=True)).format(PromQueryFormat.HEATMAP)
    drawing.targets([query]).calculate(False).unit(unit)
    drawing.color(_scheme()).y_axis(heatmap.YAxisConfig().unit(unit))
    return Panel(drawing, width, height)


@dataclass(frozen=True, slots=True)
class Column:
    """A label of the result as a column, in words where it has some; `link` may name other fields."""

    field: str
    title: str
    says: Mapping[str, Look] | None = None
    colored: bool = False
    unit: str | None = None
    width: int | None = None
    link: tuple[str, str] | None = None

    def properties(self) -> list[models.DynamicConfigValue]:
        """What differs from the table's defaults."""
        found: list[tuple[str, object]] = []
        if self.says:
            found.append(("mappings", [_words(self.says)]))
        if self.colored:
            found.append(("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
        if self.unit:
            found.append(("unit", self.unit))
        if self.width:
            found.append(("custom.width", self.width))
        if self.link:
            title, url = self.link
            found.append(("links", [{"title": title, "url": url, "targetBlank": True}]))
        return [models.DynamicConfigValue(id_val=name, value=value) for name, value in found]


def _common(
    panel: Drawn, title: str, description: str, queries: Sequence[Query], runbook: str | None = None
) -> Drawn:
    panel.title(title).description(description).datasource(SOURCE)
    panel.targets([_target(at, query) for at, query in enumerate(queries)])
    if runbook is not None:
        link = dashboard.DashboardLink(f"What to do: {runbook}").type(models.DashboardLinkType.LINK)
        panel.links([link.url(f"{RUNBOOKS}/{runbook}.md").target_blank(True)])
    return panel


def _target(at: int, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(REFS[at]).expr(query.expression).exemplar(query.exemplar)
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if query.now else target.range()


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(drawn.LegendDisplayMode.LIST).show_legend(True)
    return legend.placement(drawn.LegendPlacement.BOTTOM).calcs([])


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(drawn.TooltipDisplayMode.MULTI).sort(drawn.SortOrder.DESCENDING)


def _thresholds(limits: Steps) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    steps += [models.Threshold(value=value, color=color) for value, color in limits]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(says: Mapping[str, Look]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=look.text, color=look.color, index=at)
            for at, (value, look) in enumerate(says.items())
        }
    )


def _empty(look: Look) -> models.SpecialValueMap:
    result = models.ValueMappingResult(text=look.text, color=look.color, index=len(REFS))
    return models.SpecialValueMap(
        options=models.DashboardSpecialValueMapOptions(
            match=models.SpecialValueMatch.NULL_AND_NAN, result=result
        )
    )


def _scheme() -> heatmap.HeatmapColorOptions:
    return heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
