"""A dashboard's frame: what all have in common, where panels go, and the JSON that Grafana 11 to 13 load.

The classic schema is written on purpose: 11 knows no other, and 13 migrates it. What the SDK writes for newer
versions alone, or leaves out, is mended here: ids, and the placement of links, which 13 would hide in a menu.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.panels import FULL, RUNBOOKS, SOURCE, Panel
from dashboards.queries import ACCOUNT, SERVICE, of

SCHEMA: Final = 39
"""Grafana 11.0's; a later Grafana migrates what it reads."""

TAG: Final = "beacon"
_NEWER_THAN_11: Final = ("placement", "repeatDirection")


@dataclass(frozen=True, slots=True)
class Row:
    """Panels from left to right, then down. Collapsed: only its title is seen until it is opened."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. Its file is `name`.json, its uid `beacon-name`."""

    name: str
    title: str
    purpose: str
    rows: tuple[Row, ...]
    since: str = "now-3h"

    @property
    def uid(self) -> str:
        """How links and alerts name it."""
        return f"{TAG}-{self.name}"


def render(board: Board, *, runbooks: str) -> str:
    """The dashboard as JSON text, with links to runbooks at that address."""
    frame = dashboard.Dashboard(board.title).uid(board.uid).description(board.purpose).tags([TAG])
    frame.readonly().tooltip(models.DashboardCursorSync.CROSSHAIR).time(board.since, "now").refresh("30s")
    frame.variables(_variables()).annotations(_annotations())
    frame.link(_siblings()).link(_runbooks())
    plain: dict[str, Any] = json.loads(json.dumps(frame.build(), cls=JSONEncoder))
    plain["schemaVersion"] = SCHEMA
    plain["panels"] = list(_laid_out(board.rows))
    _complete(plain)
    text = json.dumps(_without(plain, _NEWER_THAN_11), indent=1, sort_keys=True, ensure_ascii=False)
    return text.replace(RUNBOOKS, runbooks) + "\n"


def _variables() -> list[Builder[models.VariableModel]]:
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _variable("job", "label_values(whatsapp_build_info, job)"),
        _variable("instance", 'label_values(whatsapp_build_info{job=~"$job"}, instance)'),
        _variable("account", f"label_values(whatsapp_build_info{{{SERVICE}}}, account)"),
    ]


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(name.capitalize()).datasource(SOURCE).query(query)
    variable.multi(True).include_all(True).all_value(".+")
    variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC
    )
    return variable.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))


def _annotations() -> list[Builder[models.AnnotationQuery]]:
    restarted = f"(changes({of('process_start_time_seconds')}[1m]) > 0)"
    version = f"max by (job, instance, account, version) (whatsapp_build_info{{{ACCOUNT}}})"
    return [
        _annotation(
            "Restarts and deployments",
            "blue",
            f"{restarted} * on (job, instance) group_left (account, version) {version}",
            "Started: version {{version}}",
            "{{instance}} {{account}}",
        ),
        _annotation(
            "Disconnects",
            "orange",
            f"sum by (instance, account, reason) (increase({of('whatsapp_disconnects_total')}[1m])) > 0",
            "Disconnected: {{reason}}",
            "{{instance}} {{account}}",
        ),
        _annotation("Alerts", "red", FIRING, "{{alertname}}", "{{severity}} {{instance}} {{account}}"),
    ]


FIRING: Final = (
    "max by (alertname, severity, instance, account) "
    '(ALERTS{alertname=~"WhatsApp.+",alertstate="firing",severity!="none"})'
)
"""Without the variables: an alert about all instances, or one that is gone, has their labels no more."""


def _annotation(name: str, color: str, expression: str, title: str, words: str) -> dashboard.AnnotationQuery:
    annotation = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).hide(False)
    return annotation.icon_color(color).expr(expression).step("60s").title_format(title).text_format(words)


def _siblings() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Beacon").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True).as_dropdown(False).icon("external link")


def _runbooks() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Runbooks").type(models.DashboardLinkType.LINK).url(f"{RUNBOOKS}/")
    return link.target_blank(True).icon("doc")


def _laid_out(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count(1)
    top = 0
    for row in rows:
        title: dict[str, Any] = {"id": next(numbers), "type": "row", "title": row.title, "panels": []}
        title |= {"collapsed": row.collapsed, "gridPos": {"h": 1, "w": FULL, "x": 0, "y": top}}
        inside = [
            {**_drawn(panel), "id": next(numbers), "gridPos": place}
            for panel, place in zip(row.panels, _places(row.panels, top + 1), strict=True)
        ]
        if row.collapsed:
            yield {**title, "panels": inside}
            top += 1  # Grafana moves what follows down when the row is opened
        else:
            yield title
            yield from inside
            top = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in inside)


def _places(panels: Iterable[Panel], top: int) -> Iterator[dict[str, int]]:
    """From left to right as long as there is room, then below the highest."""
    left, bottom = 0, top
    for panel in panels:
        if left + panel.width > FULL:
            left, top = 0, bottom
        yield {"h": panel.height, "w": panel.width, "x": left, "y": top}
        left, bottom = left + panel.width, max(bottom, top + panel.height)


def _drawn(panel: Panel) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(panel.drawing.build(), cls=JSONEncoder))
    for target in plain.get("targets", ()):
        target["datasource"] = plain["datasource"]
    return plain


def _complete(plain: dict[str, Any]) -> None:
    """What Grafana would ask for that the SDK leaves out."""
    plain["id"] = None
    by_hand = {"type": "grafana", "uid": "-- Grafana --"}
    plain["annotations"]["list"].insert(
        0,
        {
            "builtIn": 1,
            "datasource": by_hand,
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        },
    )
    for variable in plain["templating"]["list"]:
        variable.setdefault("current", {})
        if variable["type"] == "query":
            variable["definition"] = variable["query"]


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, names) for name, one in value.items() if name not in names}
    if isinstance(value, list):
        return [_without(one, names) for one in value]
    return value
