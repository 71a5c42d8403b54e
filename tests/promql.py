"""The names in an expression of PromQL, as far as our own expressions go; without Prometheus."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'[^']*')
      | (?P<range>\[[^\]]*\])
      | (?P<number>(?<![\w.])(?:\d+\.?\d*(?:e[+-]?\d+)?)(?:ms|[smhdwy])?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^(){},<>=])
      | (?P<space>\s+)
    """,
    re.VERBOSE,
)
FUNCTIONS = {
    *(
        "absent",
        "changes",
        "clamp_min",
        "delta",
        "histogram_quantile",
        "increase",
        "last_over_time",
        "predict_linear",
        "quantile_over_time",
    ),
    *("rate", "time", "vector"),
}
AGGREGATIONS = {"avg", "count", "max", "min", "quantile", "sum"}
MODIFIERS = {"by", "on", "without", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "offset"}


def tokens(expr: str) -> list[tuple[str, str]]:
    """Kind and text of each token, spaces left out.

    Raises:
        ValueError: there is a character that no expression of ours has.
    """
    found, at = [], 0
    while at < len(expr):
        match = _TOKEN.match(expr, at)
        if match is None:
            raise ValueError(f"expected PromQL at {expr[at : at + 20]!r} of {expr!r}")
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match[0]))
        at = match.end()
    return found


def selectors(expr: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every metric of an expression, with the labels that its matchers ask for."""
    parts = tokens(expr)
    at = 0
    while at < len(parts):
        kind, text = parts[at]
        at += 1
        following = parts[at][1] if at < len(parts) else ""
        if kind != "name":
            continue
        if text in MODIFIERS:
            at += next(n for n, (_, sign) in enumerate(parts[at:]) if sign == ")") + 1
        elif text in WORDS or (text in FUNCTIONS | AGGREGATIONS and (following == "(" or following in MODIFIERS)):
            continue
        elif following == "{":
            end = at + next(n for n, (_, sign) in enumerate(parts[at:]) if sign == "}")
            yield text, tuple(name for kind, name in parts[at:end] if kind == "name")
            at = end + 1
        else:
            yield text, ()


def grouped(expr: str) -> set[str]:
    """Labels that an expression groups or matches by."""
    lists = re.findall(rf"\b(?:{'|'.join(MODIFIERS)})\s*\(([^)]*)\)", expr)
    return {name.strip() for each in lists for name in each.split(",") if name.strip()}


SETS = {"and", "or", "unless"}
COMPARISONS = {"==", "!=", "<=", ">=", "<", ">"}


def operands(expr: str) -> list[str]:
    """What a condition is made of, each part of which gives data whether the condition holds or not.

    Operands of `and`, `or` and `unless` stand alone, comparisons say yes or no instead of filtering (`bool`), and what
    `absent` asks for is asked for itself.
    """
    parts, depth, pending = [[]], 0, tokens(expr)
    while pending:
        kind, text = pending.pop(0)
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth == 0 and text in SETS:
            parts.append([])
            if pending and pending[0][1] in ("on", "ignoring"):
                del pending[: next(n for n, (_, sign) in enumerate(pending) if sign == ")") + 1]
        else:
            parts[-1].append((kind, text))
    found: list[str] = []
    for part in parts:
        texts = [text for _, text in part]
        if texts[0] == "absent" or (texts[0] == "(" and _closes(texts) == len(texts) - 1):
            found += operands(" ".join(texts[texts.index("(") + 1 : -1]))
        else:
            found.append(" ".join(f"{text} bool" if text in COMPARISONS and not _matches(texts, n) else text
                                  for n, text in enumerate(texts)))  # fmt: skip
    return found


def _closes(texts: list[str]) -> int:
    """Where the bracket closes that opens first."""
    depth = 0
    for at, text in enumerate(texts):
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth == 0:
            return at
    raise ValueError(f"expected a closing bracket in {' '.join(texts)}")


def _matches(texts: list[str], at: int) -> bool:
    """Whether a sign stands between the braces of a selector."""
    return texts[:at].count("{") > texts[:at].count("}")
