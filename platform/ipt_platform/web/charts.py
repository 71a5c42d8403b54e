"""Which curves stand in one chart, and what it is called; for one run, and for several over each other."""

from collections.abc import Mapping
from typing import Any

from ipt_platform.observe.curves import Column
from ipt_platform.web.series import Curve, Series, drawn, ordered

TITLES = {
    "loss": ("Training loss", ""),
    "lr": ("Learning rate", ""),
    "bias_lr": ("Learning rate", ""),
    "grad_norm": ("Norm of gradients", ""),
    "bias_grad_norm": ("Norm of gradients", ""),
    "images_per_second": ("Speed", "images/s"),
    "data_wait_share": ("Share of time that waits for data", ""),
}
"""By what a column begins with: title and unit of the chart in which it stands."""

LABELS = {"lr": "weights", "bias_lr": "biases", "grad_norm": "weights", "bias_grad_norm": "biases"}


def charts_of(series: Series, start: float, end: float) -> list[dict[str, Any]]:
    """The charts of a run: `title`, `unit`, `steps`, and `curves` with `label` and `values`."""
    groups: dict[tuple[str, str], dict[str, Curve]] = {}
    for name in ordered(series.curves):
        groups.setdefault(_title(name), {})[_label(name)] = series.curves[name]
    return [_chart(*title, curves, start, end) for title, curves in groups.items()]


def charts_over(runs: Mapping[str, Series], start: float, end: float) -> list[dict[str, Any]]:
    """The charts of several runs: one for each column, in which each run has a curve."""
    found = []
    for name in ordered({name for series in runs.values() for name in series.curves}):
        title, unit = _title(name)
        curves = {run: series.curves[name] for run, series in runs.items() if name in series.curves}
        found.append(_chart(f"{title}, {_label(name)}" if _label(name) != title else title, unit, curves, start, end))
    return found


def _chart(title: str, unit: str, curves: Mapping[str, Curve], start: float, end: float) -> dict[str, Any]:
    steps, values = drawn(curves, start, end)
    last = {label: (curve.steps[-1], curve.values[-1]) for label, curve in curves.items() if curve.steps}
    return {
        "title": title,
        "unit": unit,
        "steps": steps,
        "curves": [
            {
                "label": label,
                "values": values[label],
                "last": [last[label][0], f"{last[label][1]:.4g}"] if label in last else None,
            }
            for label in curves
        ],
    }


def _title(name: Column) -> tuple[str, str]:
    return (f"PSNR on {name[1]}", "dB") if name[0] == "psnr" else TITLES[name[0]]


def _label(name: Column) -> str:
    """What a curve is called within its chart."""
    if name[0] == "psnr":
        return name[2]
    kind = LABELS.get(name[0], "")
    task = name[1] if len(name) > 1 else ""
    return " of ".join(filter(None, (kind, task))) or TITLES[name[0]][0]
