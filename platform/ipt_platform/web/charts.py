"""Which curves stand in one chart, and what it is called; for one run, and for several over each other."""

from collections.abc import Mapping
from dataclasses import asdict
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
    """The charts of a run: `title`, `unit`, `steps`, and `curves` with `label`, what `series.Drawn` has, and `last`."""
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
    steps, shown = drawn(curves, start, end)
    return {
        "title": title,
        "unit": unit,
        "steps": steps,
        "curves": [{"label": label, **asdict(shown[label]), "last": _last(curve)} for label, curve in curves.items()],
    }


def _last(curve: Curve) -> tuple[int, str] | None:
    """The last step, and the number there in words: it need not be finite."""
    return (curve.steps[-1], f"{curve.values[-1]:.4g}") if curve.steps else None


def _title(name: Column) -> tuple[str, str]:
    kind, *of = name
    return (f"PSNR on {of[0]}", "dB") if kind == "psnr" else TITLES[kind]


def _label(name: Column) -> str:
    """What a curve is called within its chart."""
    kind, *of = name
    if kind == "psnr":
        return of[1]
    return " of ".join(filter(None, (LABELS.get(kind, ""), *of))) or TITLES[kind][0]
