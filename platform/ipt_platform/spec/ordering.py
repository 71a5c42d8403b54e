"""An ordering that is claimed of variants, as a file writes it: `synchronous > two-stage > mixed`."""

import re
from typing import Literal

Operator = Literal[">", ">="]

_TOKEN = re.compile(
    r"""\s*(?: (?P<operator>>=|>) | "(?P<double>[^"]+)" | '(?P<single>[^']+)' | (?P<name>[A-Za-z0-9-]+) )\s*""", re.X
)


def parse_ordering(text: str) -> tuple[tuple[str, ...], tuple[Operator, ...]]:
    """The names of an ordering, best first, and the operators between them.

    Names are letters, digits and dashes; any others stand in quotes.

    Raises:
        ValueError: the text is no ordering of at least two different names.
    """
    tokens, at = [], 0
    while at < len(text):
        if not (found := _TOKEN.match(text, at)):
            raise _wrong(text, f"cannot read {text[at:]!r}")
        tokens.append(found)
        at = found.end()
    operators = [token["operator"] for token in tokens]
    alternate = all(bool(operator) == bool(i % 2) for i, operator in enumerate(operators))
    if len(tokens) < 3 or len(tokens) % 2 == 0 or not alternate:
        raise _wrong(text, "names and operators do not alternate")
    names = tuple(token["double"] or token["single"] or token["name"] for token in tokens[::2])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _wrong(text, f"{', '.join(twice)} stands there twice")
    return names, tuple(">=" if operator == ">=" else ">" for operator in operators[1::2])


def _wrong(text: str, why: str) -> ValueError:
    return ValueError(
        f"claim {text!r}: {why}; write an ordering such as 'synchronous > two-stage > mixed' or 'constant >= proportional'"
    )
