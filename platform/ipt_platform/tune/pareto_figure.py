"""A picture of a search: bias parameters against PSNR, with the Pareto front labelled in the right margin."""

import bisect
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, ScalarFormatter, StrMethodFormatter

from ipt_platform.errors import DataError

FRONT, OTHER, LEADER, INK, GRID = "#b5412b", "#5b6b7b", "#b9c0c7", "#222222", "#e6e9ec"
AXES = (0.085, 0.11, 0.53, 0.76)
"""Left, bottom, width and height of the axes in shares of the picture; the labels stand to the right of it."""
MOST_LABELS = 16
LINE = 1 / MOST_LABELS
"""Least distance of two labels in shares of the axes' height."""
LETTERS = FontProperties(family="DejaVu Sans", size=8)
"""Of the labels; this font comes with matplotlib."""
LOGARITHMIC_FROM = 8.0
"""The x axis is logarithmic if the largest number of parameters is at least this many times the smallest."""


@dataclass(frozen=True)
class Trial:
    """A trial as the picture needs it.

    Attributes:
        number: number of the trial in its search.
        psnr: dB, the last that was measured.
        parameters: bias parameters, of all tasks together.
        text: a few words on what was tried, such as `r 8: qkv, ffn`.
        stopped: the scheduler ended it early, so its PSNR is not that of a whole training.
    """

    number: int
    psnr: float
    parameters: int
    text: str = ""
    stopped: bool = False


def pareto_figure(trials: Sequence[Trial], front: Sequence[int], backbone: int | None = None) -> bytes:
    """Draw the trials of a search as PNG; the same input gives the same bytes.

    Labels stand in the right margin in the order of the front, each joined to its point by a thin line. None overlaps another;
    of a front of more than 16 trials every so many is labelled, first and last among them.

    Args:
        trials: all trials that gave a PSNR, stopped ones too.
        front: indices into `trials`: what `pareto` gave for those that are to be compared.
        backbone: parameters of the backbone; gives a second axis with the share in %.

    Raises:
        DataError: there is no trial, or a PSNR is not finite.
    """
    if not trials:
        raise DataError("no trial gave a PSNR, so there is nothing to draw")
    for trial in trials:
        if not math.isfinite(trial.psnr):
            raise DataError(f"trial {trial.number} has a PSNR of {trial.psnr} dB, which no axis can show; leave it out")
    figure = Figure(figsize=(11, 5.4), dpi=120)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes(AXES)
    _scales(axes, trials, backbone)
    _points(axes, trials, set(front))
    _labels(
        axes, canvas, sorted((trials[index] for index in front), key=lambda trial: (trial.psnr, trial.parameters, trial.number))
    )
    figure.legend(loc="upper left", bbox_to_anchor=(AXES[0] + AXES[2] + 0.01, 0.985), ncols=2, fontsize=8, frameon=False)
    out = io.BytesIO()
    # The name of the program that writes a PNG carries its version; without it the bytes depend on the drawing only.
    canvas.print_png(out, metadata={"Software": None})
    return out.getvalue()


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart and inside [0, 1], in the order given, as near as can be to those wanted.

    Neighbours that are too close form a block around the mean of what they want: least squares under the constraint of order
    (the pool-adjacent-violators algorithm).

    Args:
        wanted: ascending places in [0, 1].
        gap: least distance; less where so many do not fit.
    """
    gap = min(gap, 1 / max(1, len(wanted) - 1))
    blocks: list[tuple[float, int]] = []
    for index, place in enumerate(wanted):
        mean, size = place - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    starts = [mean for mean, size in blocks for _ in range(size)]
    room = 1 - (len(wanted) - 1) * gap
    return [min(max(start, 0.0), room) + index * gap for index, start in enumerate(starts)]


def _scales(axes: Axes, trials: Sequence[Trial], backbone: int | None) -> None:
    counts, decibels = [trial.parameters for trial in trials], [trial.psnr for trial in trials]
    least, most = min(counts), max(counts)
    logarithmic = least > 0 and most >= LOGARITHMIC_FROM * least
    if logarithmic:
        room = (most / least) ** 0.06
        axes.set_xscale("log")
        axes.set_xlim(least / room, most * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.06 * (most - least) or max(1.0, 0.1 * most)
        axes.set_xlim(least - room, most + room)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    room = 0.08 * (max(decibels) - min(decibels)) or 0.1
    axes.set_ylim(min(decibels) - room, max(decibels) + room)
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlabel("bias parameters")
    axes.set_ylabel("PSNR (dB)")
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    if backbone:
        share = axes.secondary_xaxis("top", functions=(_times(100 / backbone), _times(backbone / 100)))
        if logarithmic:
            share.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            share.xaxis.set_minor_formatter(NullFormatter())
        share.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        share.set_xlabel("share of the backbone (%)")


def _times(factor: float) -> Callable[..., np.ndarray]:
    return lambda values: np.asarray(values, np.float64) * factor


def _points(axes: Axes, trials: Sequence[Trial], front: set[int]) -> None:
    for label, on_front, stopped in (
        ("finished", False, False),
        ("front", True, False),
        ("stopped early", False, True),
        ("front, stopped early", True, True),
    ):
        kept = [trial for index, trial in enumerate(trials) if (index in front, trial.stopped) == (on_front, stopped)]
        colour = FRONT if on_front else OTHER
        if kept:
            axes.scatter(
                [trial.parameters for trial in kept],
                [trial.psnr for trial in kept],
                s=34,
                facecolors="white" if stopped else colour,
                edgecolors=colour,
                linewidths=1.3,
                zorder=5 if on_front else 4,
                label=label,
            )
    line = sorted((trials[index].parameters, trials[index].psnr) for index in front)
    axes.plot([count for count, _ in line], [psnr for _, psnr in line], color=FRONT, linewidth=1.4, zorder=3)


def _labels(axes: Axes, canvas: FigureCanvasAgg, front: Sequence[Trial]) -> None:
    """One line of text per trial of the front, which comes in the order of its PSNR."""
    if len(front) > MOST_LABELS:
        front = [front[round(index * (len(front) - 1) / (MOST_LABELS - 1))] for index in range(MOST_LABELS)]
    low, high = axes.get_ylim()
    room = canvas.get_width_height()[0] * (1 - AXES[0] - 1.04 * AXES[2] - 0.01)
    places = spread([(trial.psnr - low) / (high - low) for trial in front], LINE)
    for trial, place in zip(front, places, strict=True):
        axes.annotate(
            _fitting(f"#{trial.number}  {trial.psnr:.2f} dB  {' '.join(trial.text.split())}".rstrip(), room, canvas),
            xy=(trial.parameters, trial.psnr),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            ha="left",
            fontproperties=LETTERS,
            color=INK,
            annotation_clip=False,
            parse_math=False,
            zorder=2,
            arrowprops={"arrowstyle": "-", "color": LEADER, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 3},
        )


def _fitting(text: str, room: float, canvas: FigureCanvasAgg) -> str:
    """The text, or as much of its beginning as stands in that many pixels."""
    renderer = canvas.get_renderer()

    def too_wide(shown: str) -> bool:
        return renderer.get_text_width_height_descent(shown, LETTERS, ismath=False)[0] > room

    if not too_wide(text):
        return text
    least = bisect.bisect_left(range(len(text)), True, key=lambda length: too_wide(f"{text[:length]}…"))
    return f"{text[: max(0, least - 1)]}…"
