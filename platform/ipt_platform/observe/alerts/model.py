"""What an alert and a recorded expression are, and phrases of PromQL that several of them use."""

from dataclasses import dataclass
from typing import Any, Literal

RUNBOOK = "docs/operations.md"
"""The page that explains each alert under a heading of its name."""


@dataclass(frozen=True)
class Recording:
    """An expression that Prometheus works out once for all who ask.

    Attributes:
        name: `level:metric:operation`, as https://prometheus.io/docs/practices/rules has it.
        expr: PromQL.
        labels: of what it gives.
        help: one sentence.
    """

    name: str
    expr: str
    labels: tuple[str, ...]
    help: str

    def rule(self) -> dict[str, Any]:
        """As Prometheus' rule files have it."""
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True)
class Alert:
    """A condition of which somebody is told.

    Attributes:
        name: CamelCase, begins with `Ipt`.
        severity: critical: somebody is woken, for work stands still or is being lost; warning: somebody looks on the next day.
        hold: how long it must be so ("5m"; "0m": at once).
        expr: PromQL that gives a series for each case.
        summary: a line with the labels of the case, as Prometheus' templates have them.
        means: what it says, a sentence or two.
        do: what to do, a sentence or two.
    """

    name: str
    severity: Literal["critical", "warning"]
    hold: str
    expr: str
    summary: str
    means: str
    do: str

    def rule(self) -> dict[str, Any]:
        """As Prometheus' rule files have it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": f"{self.means} {self.do}",
                "runbook": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


def risen(selector: str, window: str) -> str:
    """How far counters rose in a window, those included that began in it.

    `increase` takes the first value of a counter for its beginning. A counter with a label `reason` appears with the value 1
    when there is a first case, which `increase` never shows. One that had a value within a quarter of an hour before the window
    did not begin in it: a scrape that fails leaves a gap, which would look like a beginning an hour later.
    """
    return f"(({selector} unless last_over_time({selector}[15m] offset {window})) or increase({selector}[{window}]))"


RUNNING = "and on (job) ipt_train_running == 1"
"""Of jobs that are trained now."""

SETTLED = "and on (job) ipt_train_workers > 0 unless on (job) changes(ipt_train_workers[{window}]) > 0"
"""Of jobs whose workers have trained together for all of the window; so not while they start, or wait for room."""
