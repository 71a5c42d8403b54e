"""Two pictures of a full finetune, as PNG: which layers turned, and how many ranks their differences need.

Drawn on figures of their own, without the state that `pyplot` keeps for a whole process, and with nothing in the file that
changes from one time to the next: equal numbers give equal bytes.
"""

import io
import math
from collections import defaultdict
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from ipt_platform.errors import UsageError
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.tune.difference import LayerDifference, members
from ipt_platform.tune.energy import Allotment, Budget

DPI = 150
DARK, LIGHT = "#1b1b1b", "#ffffff"
SHADES = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.9, 0.0, 256)))
"""Light for the first layer, dark for the last one."""


def heat_map(differences: Sequence[LayerDifference], title: str = "Cosine of the weights before and after training") -> bytes:
    """Cosine by layer group (rows) and step of the network (columns, input to output), a number in every cell.

    A cell is the mean over the layers that stand for the group at that step; a hatched cell holds layers without a cosine.
    Steps at which no layer stands for any group are left out.

    Raises:
        UsageError: no layer has a cosine.
    """
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for group, layers in members(differences).items():
        for each in layers:
            cells[group, each.place] += [] if each.cosine is None else [each.cosine]
    values = {key: math.fsum(found) / len(found) for key, found in cells.items() if found}
    if not values:
        raise UsageError("no layer has a cosine: all weights are zeros before or after; compare trained checkpoints")
    groups = [group for group in LAYER_GROUPS if any(key[0] == group for key in cells)]
    steps = [step for step in dict.fromkeys(each.place for each in differences) if any(key[1] == step for key in cells)]
    low = min(values.values())
    scale = Normalize(low if low < 1 else 0.0, 1.0)
    colours = matplotlib.colormaps["magma"]
    figure = Figure(figsize=(max(8.0, 1.9 + 0.3 * len(steps)), 2.0 + 0.36 * len(groups)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#f2f2f2")
    for (group, step), found in cells.items():
        x, y = steps.index(step), groups.index(group)
        if not found:
            axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, facecolor="#f2f2f2", edgecolor="#9a9a9a", hatch="///", lw=0)
            continue
        value = values[group, step]
        colour = colours(scale(value))
        axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, facecolor=colour, edgecolor=LIGHT, lw=0.6)
        ink = DARK if _brightness(colour) > 0.5 else LIGHT
        axes.text(x, y, _cell(value, low), ha="center", va="center", fontsize=7, color=ink)
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xticks(range(len(steps)), steps, rotation=90, fontsize=8)
    axes.set_yticks(range(len(groups)), groups, fontsize=9)
    axes.set_xlabel("step of the network, from input to output")
    axes.set_ylabel("layer group")
    axes.set_title(title, fontsize=11)
    figure.colorbar(ScalarMappable(scale, colours), ax=axes, pad=0.01, aspect=18).set_label("cosine (1: same direction)")
    return _png(figure)


def rank_energy_figure(
    differences: Sequence[LayerDifference],
    budgets: Sequence[Budget],
    title: str = "Energy of the weight differences that task biases of a rank keep",
) -> bytes:
    """The paper's Figure 2: energy kept over rank, constant on the left, proportional at equal parameters on the right.

    One line per layer, shaded by its depth; all layers together as a thick line.

    Args:
        differences: the layers' depths are taken from them.
        budgets: as `energy.budgets` gives them, smallest first.
        title: above both sides.

    Raises:
        UsageError: there are no budgets to draw.
    """
    if not budgets:
        raise UsageError("there are no ranks to draw: no layer of these groups has a low-rank bias")
    depths = {each.name: each.depth for each in differences}
    figure = Figure(figsize=(11.0, 5.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _side(left, budgets, [budget.constant for budget in budgets], depths)
    _side(right, budgets, [budget.proportional for budget in budgets], depths)
    left.set_title("constant: one rank for all layers", fontsize=10)
    right.set_title("proportional: one share of each full rank", fontsize=10)
    left.set_xlabel("rank; below it, parameters of one task bias")
    right.set_xlabel("constant rank of equal budget; below it, parameters of one task bias")
    left.set_ylabel("energy kept, % of |after − before|²")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    left.legend(loc="lower right", fontsize=9, framealpha=0.9)
    shades = ScalarMappable(Normalize(0, 1), SHADES)
    bar = figure.colorbar(shades, ax=[left, right], pad=0.01, aspect=30, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0\ninput", "0.5", "1\noutput"], fontsize=8)
    bar.set_label("depth of the layer")
    figure.suptitle(title, fontsize=12)
    return _png(figure)


def _side(axes: Axes, budgets: Sequence[Budget], allotments: Sequence[Allotment], depths: dict[str, float]) -> None:
    ranks = [budget.rank for budget in budgets]
    for name in allotments[0].layers:
        kept = [each.layers[name] for each in allotments]
        axes.plot(ranks, kept, color=SHADES(depths[name]), lw=0.8, alpha=0.75)
    whole = [each.energy for each in allotments]
    axes.plot(ranks, whole, color="#d1231f", lw=2.4, marker="o", ms=4, label="all layers together")
    axes.axhline(0.9, color="#555555", lw=0.9, ls="--", label="90 %")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ranks))
    axes.xaxis.set_minor_locator(NullLocator())
    near = [a / b < 1.7 for a, b in zip(ranks[1:], ranks, strict=False)]  # two labels would touch
    shown = [not (number < len(near) and near[number]) for number in range(len(ranks))]
    labels = [f"{r}\n{_short(each.parameters)}" if show else "" for r, each, show in zip(ranks, allotments, shown, strict=True)]
    axes.set_xticklabels(labels, fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.grid(color="#dddddd", lw=0.6)


def _cell(value: float, low: float) -> str:
    """A cosine in four characters, five if negative: two digits after the point, three where all are close to 1."""
    digits = 2 if low < 0.9 else 3
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text[:4]


def _brightness(colour: Sequence[float]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _short(number: int) -> str:
    """A count with three digits at most: 950, 16 k, 2.1 M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.{1 if number < 10 * unit else 0}f} {letter}"
    return str(number)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
