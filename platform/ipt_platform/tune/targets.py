"""Which layer groups to give a task bias, and why.

Measured by transplant, the rule is: in the order of gain per parameter, take groups until they hold `ENOUGH` of all that the
groups win back alone; a group that wins back less than `NOISE` does not count. The costly groups thus come in only as far as
they are needed.

Where no transplant was measured, the training did not lower the loss, or no group alone wins back anything, the angle decides:
take every group whose `1 - cosine` is at least `TURNED` of that of the group which turned most. On the paper's Table 2 that
gives the paper's own choice, whatever the length of the training scales all angles by.

Norms are vectors and never proposed. Depthwise kernels are no target of a low-rank bias but a switch of their own, which
follows the same rule.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ipt_platform.errors import UsageError
from ipt_platform.tune.sensitivity import GroupRow, Transplant

ENOUGH = 0.9
NOISE = 0.02
TURNED = 0.25
_SWITCH = "depthwise"
_NEVER = "norm"


@dataclass(frozen=True)
class TargetProposal:
    """Where task biases belong, as the `bias` of a job's `model` takes it.

    Attributes:
        targets: layer groups that get a low-rank bias, most worth first.
        depthwise: whether depthwise kernels get a dense one.
        by: what decided, `transplant` or `cosine`.
        reasons: a sentence for each group of the backbone, taken or not.
    """

    targets: tuple[str, ...]
    depthwise: bool
    by: str
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The proposal as plain values."""
        return asdict(self) | {"targets": list(self.targets)}


def propose_targets(rows: Sequence[GroupRow], measured: Transplant | None = None) -> TargetProposal:
    """Propose target groups by the rule above.

    Args:
        rows: the table of layer groups.
        measured: the transplant that the rows' `won_back` are from, if there was one.

    Raises:
        UsageError: no weight has changed, or no layer group can have a low-rank bias.
    """
    rows = [row for row in rows if row.group != _NEVER]
    if not any(row.group != _SWITCH for row in rows):
        raise UsageError("no layer group of this backbone can have a low-rank bias; there is nothing to propose")
    if not any(_moved(row) for row in rows):
        raise UsageError("no weight that a bias could bend differs before and after; compare checkpoints around a training")
    by_gain = measured is not None and measured.gain > 0 and any((row.won_back or 0) >= NOISE for row in rows)
    order, taken, reasons = _by_gain(rows) if by_gain else _by_angle(rows)
    if not [group for group in taken if group != _SWITCH]:
        first = next(group for group in order if group != _SWITCH)
        taken = [*taken, first]
        reasons[first] = f"taken though {reasons[first].removeprefix('left out: ')}: a bias needs one target that has a rank"
    reasons[_NEVER] = "left out: norms are vectors, which have no low-rank bias"
    targets = tuple(group for group in taken if group != _SWITCH)
    return TargetProposal(targets, _SWITCH in taken, "transplant" if by_gain else "cosine", reasons)


Ranked = tuple[list[str], list[str], dict[str, str]]
"""All groups from the most worth on, those taken, and the reasons."""


def _by_gain(rows: Sequence[GroupRow]) -> Ranked:
    total = sum(row.parameters for row in rows)
    ordered = sorted(rows, key=lambda row: (-(row.won_back or 0) / row.parameters, row.group))
    all_gain = sum(row.won_back for row in ordered if row.won_back is not None and row.won_back >= NOISE)
    taken, held, reasons = [], 0.0, {}
    for row in ordered:
        size = f"with {row.parameters / total:.1%} of the parameters of all groups but norms"
        if row.won_back is None:
            reasons[row.group] = "left out: what it wins back alone was not measured"
        elif row.won_back < NOISE:
            reasons[row.group] = f"left out: wins back {row.won_back:.1%} of the gain alone, less than {NOISE:.0%}"
        elif held >= ENOUGH * all_gain:
            reasons[row.group] = (
                f"left out: wins back {row.won_back:.1%} of the gain alone {size}, but groups that win back more per parameter "
                f"already hold {held / all_gain:.1%} of what all groups win back alone"
            )
        else:
            taken.append(row.group)
            held += row.won_back
            reasons[row.group] = f"taken: wins back {row.won_back:.1%} of the gain alone {size}"
    return [row.group for row in ordered], taken, reasons


def _by_angle(rows: Sequence[GroupRow]) -> Ranked:
    turned = {row.group: 1 - row.cosine for row in rows if row.cosine is not None}
    most = max(turned.values(), default=0.0)
    taken, reasons = [], {}
    # a group that began at zero has turned by more than any angle
    ordered = sorted(rows, key=lambda row: (-turned.get(row.group, 3.0 if _moved(row) else 0.0), row.group))
    for row in ordered:
        angle = turned.get(row.group)
        if angle is None:
            began = "was all zeros before, so that all it holds was learned" if _moved(row) else "is all zeros"
            reasons[row.group] = f"taken: {began}" if _moved(row) else f"left out: {began}"
        else:
            share = (
                f"its cosine is {1 - angle:.3f}: it turned {angle / most:.0%} as far as the group that turned most"
                if most
                else ""
            )
            enough = angle > 0 and angle >= TURNED * most
            reasons[row.group] = f"taken: {share}" if enough else f"left out: {share or 'it did not turn'}"
        if reasons[row.group].startswith("taken"):
            taken.append(row.group)
    return [row.group for row in ordered], taken, reasons


def _moved(row: GroupRow) -> bool:
    """Whether any layer of the group has changed; without a ratio it has, from zeros to something."""
    return row.norm_ratio is None or row.norm_ratio > 0
