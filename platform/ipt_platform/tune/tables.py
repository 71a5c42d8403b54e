"""Tables of variants: Markdown for people, where bold means "higher beyond the noise", and CSV for programs.

| variant     | denoise (dB)         |
| ---         | --:                  |
| synchronous | **30.31 ± 0.04 (3)** |
| mixed       | 30.02 ± 0.03 (3)     |
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ipt_platform.tune.seeds import paired, summary

Values = Mapping[str, Mapping[int, float]]
"""What was measured of one variant: quantity -> seed -> value, higher is better."""

NONE = "–"
BOLD = (
    "Mean ± sample standard deviation (seeds). Bold: the best of its column, higher than every other variant beyond the noise "
    "(paired t-test over common seeds, p < 0.05)."
)
NOTHING_BOLD = "No variant is higher than every other beyond the noise, so nothing is bold."
ONE_SEED = "One seed: the noise is unknown, so no difference is called one and nothing is bold{where}."
ONE_VARIANT = "There is one variant only, so nothing is bold."

_FORMULA = re.compile(r"[=+\-@\t\n＝＋－＠]")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A Markdown table; the columns named in `right` are aligned to the right.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    lines = [list(columns), ["--:" if column in right else "---" for column in columns]]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"row {list(row)} has {len(row)} cells; expected {len(columns)}: {', '.join(columns)}")
        lines.append(list(row))
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def comparison(
    variants: Mapping[str, Values],
    quantities: Sequence[str],
    facts: Mapping[str, Mapping[str, str]] | None = None,
    unit: str = "dB",
    digits: int = 2,
) -> str:
    """Compare variants over seeds: a Markdown table, and below it what bold means or why nothing is bold.

    A number is bold only if its mean is the best of its column and it is higher than every other variant beyond the noise. All
    of these have to hold at once, so their number needs no correction of p. A variant without any number (its runs failed) is
    shown with a dash and not compared.

    Args:
        variants: the rows, in order: name -> quantity -> seed -> value.
        quantities: the columns, in order; higher is better.
        facts: further columns of plain text before the numbers: heading -> name -> text (rank, what the paper gives).
        unit: of all quantities.
        digits: decimals shown.

    Raises:
        DataError: a value is not finite.
    """
    columns, cells = ["variant"], [[name] for name in variants]
    for heading, texts in (facts or {}).items():
        columns.append(heading)
        for row, name in zip(cells, variants, strict=True):
            row.append(texts.get(name, NONE))
    winners = {quantity: _best(variants, quantity) for quantity in quantities}
    for quantity in quantities:
        columns.append(f"{quantity} ({unit})")
        for row, name in zip(cells, variants, strict=True):
            row.append(_measured(variants[name].get(quantity, {}), digits, bold=winners[quantity] == name))
    table = markdown(columns, cells, right=columns[1:])
    return f"{table}\n{_note(variants, quantities, any(winners.values()))}\n"


def trials_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV with a heading, in the order of `columns`.

    Numbers stay numbers (shortest text that gives the same float64 back), true and false are words, lists are joined by ", ",
    None and NaN are empty, every end of a line in a text is a line feed.

    Spreadsheets run a text cell as a formula if it starts with = + - @, a tab or an end of line: such a TEXT cell gets an
    apostrophe in front, which spreadsheets take for "this is text"; a program takes that one away. Names of ours never start
    so, but an error text or a name that a user gave may.

    Raises:
        ValueError: a row has a key that is no column; it would be lost.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    for row in rows:
        if unknown := [key for key in row if key not in columns]:
            raise ValueError(f"row has {', '.join(unknown)}, but the columns are {', '.join(columns)}")
        writer.writerow([_csv_cell(row.get(column)) for column in columns])
    return out.getvalue()


def _best(variants: Mapping[str, Values], quantity: str) -> str | None:
    """The variant that is higher than every other beyond the noise, if there is one."""
    found = {name: values[quantity] for name, values in variants.items() if values.get(quantity)}
    if len(found) < 2:
        return None
    best = max(found, key=lambda name: summary(list(found[name].values())).mean)
    beaten = all(paired(found[best], found[other]).verdict == "higher" for other in found if other != best)
    return best if beaten else None


def _measured(values: Mapping[int, float], digits: int, bold: bool) -> str:
    if not values:
        return NONE
    found = summary(list(values.values()))
    spread = "" if found.deviation is None else f" ± {found.deviation:.{digits}f}"
    text = f"{found.mean:.{digits}f}{spread} ({found.n})"
    return f"**{text}**" if bold else text


def _note(variants: Mapping[str, Values], quantities: Sequence[str], any_bold: bool) -> str:
    if len(variants) < 2:
        return ONE_VARIANT
    single = [quantity for quantity in quantities if any(len(values.get(quantity, {})) == 1 for values in variants.values())]
    lines = [BOLD]
    if single:
        where = "" if set(single) == set(quantities) else f" in {', '.join(single)}"
        lines.append(ONE_SEED.format(where=where))
    elif not any_bold:
        lines.append(NOTHING_BOLD)
    return " ".join(lines)


def _cell(text: str) -> str:
    """Text that cannot end its cell or its row."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _csv_cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return "" if math.isnan(value) else repr(float(value))
        case list() | tuple():
            return _csv_cell(", ".join(str(item) for item in value))
        case _:
            # Python 3.11 writes a lone carriage return without quotes, and readers take it for the end of the row.
            text = str(value).replace("\r\n", "\n").replace("\r", "\n")
            return f"'{text}" if _FORMULA.match(text) else text
