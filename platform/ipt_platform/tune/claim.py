"""An ordering that is claimed of variants, judged step by step over seeds.

    >>> claim = Claim.parse("synchronous > two-stage > mixed")
    >>> claim.judge({"synchronous": {0: 30.3, 1: 30.4}, "two-stage": {0: 30.1, 1: 30.2}, "mixed": {0: 29.9, 1: 30.1}}).overall
    'undecided'

`a > b` holds if a is higher than b beyond the noise. `a >= b` holds if a is not lower than b beyond the noise, which is a weak
thing to say, and the words of the result say no more than that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from ipt_platform.errors import DataError, UsageError
from ipt_platform.spec.ordering import Operator, parse_ordering
from ipt_platform.tune.seeds import Paired, paired

Outcome = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Step:
    """One pair of variants of a claim and what the seeds say of it."""

    one: str
    operator: Operator
    other: str
    paired: Paired

    @property
    def outcome(self) -> Outcome:
        """Whether this step holds."""
        verdict = self.paired.verdict
        if verdict == "lower":
            return "does not hold"
        if verdict == "higher" or (verdict == "inside the noise" and self.operator == ">="):
            return "holds"
        return "undecided"

    @property
    def words(self) -> str:
        """What may be said honestly, without numbers."""
        match self.paired.verdict:
            case "higher" | "lower" as verdict:
                return f"{verdict} beyond the noise"
            case "inside the noise" if self.operator == ">=":
                return "not lower beyond the noise"
            case verdict:
                return verdict

    def sentence(self, unit: str = "dB") -> str:
        """The step as one sentence, for a report."""
        found = self.paired
        if found.mean is None:
            return f"{self.one} {self.operator} {self.other}: {self.outcome} ({self.words})"
        spread = "" if found.deviation is None else f" ± {found.deviation:.3f}"
        p = "" if found.p is None else f", p = {found.p:.2g}"
        seeds = f"{found.n} seed{'s' if found.n > 1 else ''}"
        numbers = f"difference {found.mean:+.3f}{spread} {unit} over {seeds}{p}"
        return f"{self.one} {self.operator} {self.other}: {self.outcome} ({self.words}; {numbers})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "one": self.one,
            "operator": self.operator,
            "other": self.other,
            "outcome": self.outcome,
            "words": self.words,
            "paired": self.paired.to_dict(),
        }


@dataclass(frozen=True)
class Judgement:
    """What the seeds say of a claim.

    Attributes:
        steps: the neighbouring pairs, in the order of the claim.
        contradicted: pairs further apart that are reversed beyond the noise, though no step between them need be: small losses
            add up along a chain.
    """

    steps: tuple[Step, ...]
    contradicted: tuple[Step, ...]

    @property
    def overall(self) -> Outcome:
        """`does not hold` if any pair is reversed beyond the noise, `holds` if every step does, `undecided` between.

        Every step has to hold at the same time, so their number needs no correction of p.
        """
        outcomes = {step.outcome for step in self.steps}
        if self.contradicted or "does not hold" in outcomes:
            return "does not hold"
        return "undecided" if "undecided" in outcomes else "holds"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "overall": self.overall,
            "steps": [step.to_dict() for step in self.steps],
            "contradicted": [step.to_dict() for step in self.contradicted],
        }


@dataclass(frozen=True)
class Claim:
    """An ordering of variants, best first: `operators[i]` stands between `names[i]` and `names[i + 1]`."""

    names: tuple[str, ...]
    operators: tuple[Operator, ...]

    @classmethod
    def parse(cls, text: str) -> "Claim":
        """Read `a > b >= c`; names are letters, digits and dashes, any others stand in quotes.

        Raises:
            UsageError: the text is no ordering of at least two different names.
        """
        try:
            return cls(*parse_ordering(text))
        except ValueError as error:
            raise UsageError(str(error)) from error

    def __str__(self) -> str:
        shown = [
            name if re.fullmatch("[A-Za-z0-9-]+", name) else f"'{name}'" if '"' in name else f'"{name}"' for name in self.names
        ]
        return " ".join([shown[0], *(f"{sign} {name}" for sign, name in zip(self.operators, shown[1:], strict=True))])

    def judge(self, values: Mapping[str, Mapping[int, float]]) -> Judgement:
        """Judge the claim.

        Args:
            values: value by seed of every variant; one whose runs all failed has an empty mapping.

        Raises:
            DataError: a variant of the claim is not among the values, or a value is not finite.
        """
        if missing := [name for name in self.names if name not in values]:
            raise DataError(
                f"claim {self}: nothing was measured for {', '.join(missing)}; there is {', '.join(values) or 'nothing'}"
            )
        steps = tuple(
            Step(one, operator, other, paired(values[one], values[other]))
            for (one, other), operator in zip(pairwise(self.names), self.operators, strict=True)
        )
        further = (
            Step(one, self._between(i, j), self.names[j], paired(values[one], values[self.names[j]]))
            for i, one in enumerate(self.names)
            for j in range(i + 2, len(self.names))
        )
        return Judgement(steps, tuple(step for step in further if step.outcome == "does not hold"))

    def _between(self, i: int, j: int) -> Operator:
        """What the chain says of two names: strict as soon as one step between them is."""
        return ">" if ">" in self.operators[i:j] else ">="
