"""What a dashboard is made of, and its JSON as Grafana imports it (schema version 39: Grafana 11 and later).

A dashboard is rows of panels, laid out from left to right and from top to bottom on the grid of 24 columns. Places and ids
follow from the order alone, and so the same code gives the same JSON.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ipt_platform.observe.grafana.drawing import OPTIONS, custom

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39
TAG = "ipt"

Kind = Literal["timeseries", "stat", "bargauge"]
Color = Literal["green", "yellow", "orange", "red", "blue", "purple", "text"]


@dataclass(frozen=True)
class Target:
    """One query of a panel.

    Attributes:
        expr: PromQL, with Grafana's variables.
        legend: name of each series, `{{label}}` is replaced.
    """

    expr: str
    legend: str

    def json(self, number: int, instant: bool) -> dict[str, Any]:
        """As Grafana has it.

        Args:
            number: place among the panel's queries.
            instant: whether the newest value alone is wanted.
        """
        how = {"instant": True, "range": False} if instant else {"instant": False, "range": True}
        shape = {"refId": chr(ord("A") + number), "datasource": SOURCE, "editorMode": "code", "format": "time_series"}
        return {**shape, "expr": self.expr, "legendFormat": self.legend, **how}


@dataclass(frozen=True)
class Panel:
    """One graph, number or row of bars.

    Attributes:
        title: short, without the unit.
        description: what is seen, and what a good or a bad one looks like.
        unit: one of Grafana's names of units.
        targets: its queries.
        kind: how it is drawn.
        width: in columns, of 24.
        height: in rows of the grid, of 30 pixels.
        steps: colours by the value from which on they hold; the first one holds below all others.
        least: lower end of the axis; None: fitted.
        most: upper end of the axis; None: fitted.
        log: whether the axis is logarithmic.
        stacked: whether the series add up.
        words: texts in the place of numbers.
        link: path on the platform's page, where a click on a series leads.
    """

    title: str
    description: str
    unit: str
    targets: tuple[Target, ...]
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    steps: tuple[tuple[float | None, Color], ...] = ((None, "green"),)
    least: float | None = None
    most: float | None = None
    log: bool = False
    stacked: bool = False
    words: Mapping[int, tuple[str, Color]] = field(default_factory=dict)
    link: str = ""

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana has it, with an id and a place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._field(), "overrides": []},
            "options": OPTIONS[self.kind],
            "targets": [each.json(place, self.kind != "timeseries") for place, each in enumerate(self.targets)],
        }

    def _field(self) -> dict[str, Any]:
        """How values are written and coloured."""
        texts = {
            str(value): {"text": text, "color": color, "index": n}
            for n, (value, (text, color)) in enumerate(self.words.items())
        }
        said: dict[str, Any] = {
            "unit": self.unit,
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in self.steps]},
            "mappings": [{"type": "value", "options": texts}] if texts else [],
            "custom": custom(self.kind, log=self.log, stacked=self.stacked, lines=len(self.steps) > 1),
        }
        ends = {"min": self.least, "max": self.most}
        said |= {name: value for name, value in ends.items() if value is not None}
        if self.link:
            said["links"] = [{"title": "Open the page", "url": f"${{page}}{self.link}", "targetBlank": True}]
        return said


@dataclass(frozen=True)
class Row:
    """A heading with panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard.

    Attributes:
        uid: stands in its address, and never changes.
        title: its name.
        description: one sentence: who looks at it for what.
        variables: what is chosen above the panels, but the source and the address of the page, which all have.
        rows: its panels.
        page: path on the platform's page to which its link leads.
    """

    uid: str
    title: str
    description: str
    variables: tuple[dict[str, Any], ...]
    rows: tuple[Row, ...]
    page: str

    def json(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "annotations": {"list": ANNOTATIONS},
            "links": [*LINKS, _link("The page", url=f"${{page}}{self.page}", tooltip="Runs and their pictures")],
            "templating": {"list": [*COMMON, *self.variables]},
            "panels": [*self._panels()],
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number, y = 1, 0
        for row in self.rows:
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
            number, x, y, tallest = number + 1, 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                yield panel.json(number, x, y)
                number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
            y += tallest


def chosen(name: str, label: str, metric: str, within: str = "", several: bool = True) -> dict[str, Any]:
    """A variable with the values that a label has.

    Args:
        name: of the variable and of the label.
        label: written before it.
        metric: whose label it is.
        within: selector of the series that count, such as `job=~"$job"`.
        several: whether more than one may be chosen, and all are at first.
    """
    query = f"label_values({metric}{{{within}}}, {name})" if within else f"label_values({metric}, {name})"
    # ".*" and not a list of all values, which is empty where there are none yet, and then finds nothing
    first = {"current": {"text": ["All"], "value": ["$__all"]}, "allValue": ".*"} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **first,
    }


def _link(title: str, url: str = "", tooltip: str = "", **other: Any) -> dict[str, Any]:
    shape = {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": False,
        "tags": [],
        "targetBlank": True,
    }
    return {**shape, "title": title, "tooltip": tooltip, "type": "link", "url": url, **other}


LINKS = [
    _link(
        "Dashboards", type="dashboards", tags=[TAG], asDropdown=True, keepTime=True, includeVars=True, targetBlank=False, url=""
    )
]

COMMON: tuple[dict[str, Any], ...] = (
    {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1},
    {
        "name": "page",
        "label": "Page",
        "description": "Address of the platform's page, `ipt-platform dashboard`.",
        "type": "textbox",
        "query": "http://127.0.0.1:8260",
        "current": {"text": "http://127.0.0.1:8260", "value": "http://127.0.0.1:8260"},
    },
)

ANNOTATIONS = [
    {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing",alertname=~"Ipt.*",job=~"$job|"}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{job}} {{task}} {{instance}}",
        "tagKeys": "severity",
    },
    {
        "name": "Attempts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": 'changes(ipt_train_attempt{job=~"$job"}[1m]) > 0',
        "step": "60s",
        "titleFormat": "a new attempt",
        "textFormat": "{{job}}",
        "tagKeys": "job",
    },
]
"""Lines in all graphs: when an alert fired, of the chosen jobs or of none, and when a run was started anew."""
