"""What a search or an analysis has found so far, from its files: suggestions, what became of them, and its report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from ipt_platform.observe import said
from ipt_platform.observe.jsonl import read_lines
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status
from ipt_platform.web import words

FILES = (".csv", ".json", ".md", ".png", ".yaml")
"""Ends of the names of the files that are given out."""

TYPES = {".csv": "text/csv", ".json": "application/json", ".md": "text/plain", ".png": "image/png", ".yaml": "text/plain"}
_STOPPED = "stopped by the search"


@dataclass(frozen=True)
class TrialRow:
    """A trial as it is now.

    Attributes:
        name: of the trial, and of its run.
        values: what it tries, in words, by dotted path.
        source: who suggested it.
        status: of its run; None: it has none yet.
        psnr: mean over sets and tasks when it was last measured, dB.
        parameters: of one task bias; None: known when the search is over.
        front: whether no other beats it in dB and parameters.
        best: whether the search chose it.
    """

    name: str
    values: dict[str, str]
    source: str
    status: Status | None
    psnr: float | None
    parameters: int | None
    front: bool
    best: bool

    @property
    def state(self) -> str:
        """How far it is; one that the search ended before its time is `stopped`."""
        if self.status is None:
            return "created"
        stopped = self.status.state == "cancelled" and self.status.reason.startswith(_STOPPED)
        return "stopped" if stopped else self.status.state


@dataclass(frozen=True)
class Report:
    """What report.json of a search says, as far as it is of the kind that it must be.

    Attributes:
        trials: `trial`, `state`, `psnr` (dB) and `parameters` of each; None: not told.
        front: names of those that no other beats. best: the name of the one that was chosen ("": none was).
        knobs: as `tune.importance.Importance`. judged_at: the step at which their importance was judged.
    """

    trials: list[dict[str, Any]] = field(default_factory=list)
    front: frozenset[str] = frozenset()
    best: str = ""
    knobs: list[dict[str, Any]] = field(default_factory=list)
    judged_at: int = 0


def trials_of(run: RunDir, report: Report, statuses: Mapping[str, Status]) -> list[TrialRow]:
    """Every trial that was suggested, the best first, those without numbers last.

    Args:
        run: the search.
        report: of it.
        statuses: of its runs, by name.
    """
    told = {each["trial"]: each for each in report.trials}
    rows = []
    for line in read_lines(run.path / "trials.jsonl"):
        if not isinstance(name := line.get("trial"), str):
            continue
        status, known = statuses.get(name), told.get(name)
        psnr = known["psnr"] if known else _mean(status)
        values = {path: words.value(value) for path, value in said.table(line.get("values")).items()}
        parameters = known["parameters"] if known else None
        front, best = name in report.front, name == report.best
        rows.append(TrialRow(name, values, str(line.get("source", "")), status, psnr, parameters, front, best))
    return sorted(rows, key=lambda row: (row.psnr is None, -(row.psnr or 0.0), row.name))


def _mean(status: Status | None) -> float | None:
    values = [value for tasks in ((status and status.psnr) or {}).values() for value in tasks.values()]
    return sum(values) / len(values) if values else None


def report_of(run: RunDir) -> Report | None:
    """What report.json of a run says; None before it is written, or if it is none."""
    try:
        value = revive(json.loads(run.report.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    judged = said.table(value.get("importance"))
    return Report(
        [_trial(each) for each in _list(value.get("trials")) if isinstance(said.table(each).get("trial"), str)],
        frozenset(each for each in _list(value.get("pareto")) if isinstance(each, str)),
        str(said.table(value.get("best")).get("trial", "")),
        [_knob(each) for each in map(said.table, _list(judged.get("knobs"))) if each],
        said.count(judged.get("step")) or 0,
    )


def _trial(told: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {"psnr": said.number(told.get("psnr")), "parameters": said.count(told.get("parameters"))}
    return {"trial": told["trial"], "state": told.get("state"), **numbers}


def _knob(told: Mapping[str, Any]) -> dict[str, Any]:
    interval = [said.number(each) for each in _list(told.get("interval"))]
    return {
        "knob": str(told.get("knob", "")),
        "share": said.number(told.get("share")),
        "interval": interval if len(interval) == 2 else None,
        "beyond_chance": told.get("beyond_chance") is True,
        "why_not": str(told.get("why_not", "")),
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def files_of(run: RunDir) -> list[str]:
    """The names of the files beside the report that people may want, in order."""
    return sorted(
        path.name
        for path in run.path.iterdir()
        if path.suffix in FILES and path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    )


def report_page(run: RunDir, at: str) -> Markup | None:
    """report.md as HTML, its pictures at `at`; markup in the text is shown as text. None before it is written.

    Args:
        run: the search or analysis.
        at: address below which its files are.
    """
    try:
        text = (run.path / "report.md").read_text(errors="replace")
    except OSError:
        return None
    there = set(files_of(run))
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    for token in (child for each in tokens for child in (each, *(each.children or ()))):
        if token.type == "image":
            name = str(token.attrs.get("src", ""))
            token.attrs["src"] = f"{at}/{name}" if name in there else ""
        token.attrs.pop("style", None)  # how a column is aligned; the page forbids styles in its text
        if token.type == "heading_open" or token.type == "heading_close":
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"  # below the heading of the page
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 - made by the renderer, which escapes
