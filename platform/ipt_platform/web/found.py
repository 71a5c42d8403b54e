"""What a search or an analysis has found so far, from its files: suggestions, what became of them, and its report."""

import json
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from ipt_platform.observe.jsonl import read_lines
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.status import Status

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


def trials_of(run: RunDir, report: dict[str, Any] | None) -> list[TrialRow]:
    """Every trial that was suggested, the best first, those without numbers last."""
    statuses = {each.run_id: each for each in all_statuses(f"{run.place}/{run.members.name}")}
    told = {each["trial"]: each for each in (report or {}).get("trials", ())}
    front, best = set((report or {}).get("pareto", ())), (report or {}).get("best", {}).get("trial")
    rows = []
    for line in read_lines(run.path / "trials.jsonl"):
        name = str(line["trial"])
        status = statuses.get(name)
        known = told.get(name, {})
        psnr = known.get("psnr", _mean(status))
        values = {path: "–" if value is None else str(value) for path, value in line["values"].items()}
        source = str(line.get("source", ""))
        rows.append(TrialRow(name, values, source, status, psnr, known.get("parameters"), name in front, name == best))
    return sorted(rows, key=lambda row: (row.psnr is None, -(row.psnr or 0.0), row.name))


def _mean(status: Status | None) -> float | None:
    values = [value for tasks in ((status and status.psnr) or {}).values() for value in tasks.values() if value is not None]
    return sum(values) / len(values) if values else None


def report_of(run: RunDir) -> dict[str, Any] | None:
    """report.json of a run; None before it is written, or if it is none."""
    try:
        value = revive(json.loads(run.report.read_bytes()))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


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
