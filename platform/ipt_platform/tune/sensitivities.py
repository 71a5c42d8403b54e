"""`what: sensitivity`: which layers a training moves, and which groups alone bring its gain, over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import DataError
from ipt_platform.evaluate.report import write_report
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.crops import crops_of, loss_on
from ipt_platform.tune.difference import LayerDifference, layer_differences, members
from ipt_platform.tune.figures import heat_map
from ipt_platform.tune.proposal import write_proposal
from ipt_platform.tune.seeds import summary
from ipt_platform.tune.sensitivity import GroupRow, Transplant, group_rows, rank_correlation, transplant
from ipt_platform.tune.tables import NONE, markdown, trials_csv
from ipt_platform.tune.targets import TargetProposal, propose_targets
from ipt_platform.tune.weights import Sides, sides_of

MEANING = (
    "cosine: between the weights before and after, mean over the layers of a group; 1: not moved. won back: share of the loss "
    "difference that the group alone brings when its weights are put into the backbone before."
)


@dataclass(frozen=True)
class Seen:
    """What one seed says."""

    sides: Sides
    differences: Sequence[LayerDifference]
    rows: Sequence[GroupRow]
    measured: Transplant | None
    proposal: TargetProposal


def write_sensitivity(analysis: Analysis) -> None:
    """Write report.md, report.json, layers.csv, sensitivity.png and proposal.yaml.

    Raises:
        TrainingError: a training failed.
        UsageError: nothing has changed.
        RefusedError: another attempt has taken the run over.
    """
    analysis.all_finished()
    seen = [_look(analysis, seed) for seed in analysis.seeds]
    first, targets, depthwise = seen[0], *_agreed(seen)
    path, job = analysis.run.path, analysis.job
    bias = {"rank": 16, "targets": list(targets), "depthwise": depthwise}
    columns = ["seed", *first.differences[0].to_dict()]
    layers = [{"seed": each.sides.seed, **layer.to_dict()} for each in seen for layer in each.differences]
    figure = heat_map(first.differences)
    report = {
        "kind": "analyze",
        "what": "sensitivity",
        "scale": job.scaled_to,
        "seeds": {
            str(each.sides.seed): {
                "groups": [row.to_dict() for row in each.rows],
                "transplant": each.measured and each.measured.to_dict(),
                "proposal": each.proposal.to_dict(),
                "rank_correlation": rank_correlation(each.rows),
            }
            for each in seen
        },
        "proposal": {"targets": list(targets), "depthwise": depthwise},
    }
    with analysis.writing():
        told = write_proposal(analysis.run, job.name, job.storage, first.sides, bias, analysis.base)
        replace_file(path / "layers.csv", trials_csv(layers, columns).encode())
        replace_file(path / "sensitivity.png", figure)
        replace_file(path / "report.md", page(analysis, seen, targets, told).encode())
        write_report(analysis.run.report, report)


def _look(analysis: Analysis, seed: int) -> Seen:
    job = analysis.job
    sides = sides_of(job, analysis.run, analysis.base, seed)
    differences = layer_differences(sides.before, sides.after)
    measured = None
    if job.transplant:
        if sides.job is None:
            raise DataError(
                f"{job.after}: which training made it is not known, so there are no crops for a transplant; leave it out"
            )
        spec, trained = job.transplant, sides.job
        registered = (sides.run or analysis.run).tasks
        pairs = crops_of(trained, spec.tasks, spec.images, spec.patch, analysis.base, registered)
        measured = transplant(sides.before, sides.after, [*members(differences)], loss_on(pairs, trained.train.loss))
    rows = group_rows(differences, measured)
    return Seen(sides, differences, rows, measured, propose_targets(rows, measured))


def _agreed(seen: Sequence[Seen]) -> tuple[tuple[str, ...], bool]:
    """Groups that more than half of the seeds propose, those that most of them propose first."""
    votes = Counter(group for each in seen for group in each.proposal.targets)
    targets = tuple(group for group, count in votes.most_common() if 2 * count > len(seen)) or seen[0].proposal.targets
    return targets, 2 * sum(each.proposal.depthwise for each in seen) > len(seen)


def page(analysis: Analysis, seen: Sequence[Seen], targets: Sequence[str], told: str) -> str:
    """The report for people."""
    job, first = analysis.job, seen[0]
    paper = [correlation for each in seen if (correlation := rank_correlation(each.rows)) is not None]
    named = {side: getattr(job, side) for side in ("before", "after")}
    sides = " and ".join(
        f"{side} {name}" if isinstance(name, str) else f"{side} (trained here)" for side, name in named.items()
    )
    lines = [
        f"# {job.name}: which layers a task moves (Table 2 of the paper)",
        f"{sides}; {len(seen)} seed{'s' if len(seen) > 1 else ''}: {', '.join(str(each.sides.seed) for each in seen)}."
        + (f" Scale `{job.scaled_to}`." if job.scaled_to else ""),
        _table(seen),
        MEANING,
    ]
    if paper:
        lines.append(f"Rank correlation of the groups' cosines with the paper's: {_spread(paper)} (1: the same order).")
    lines += [
        "![cosine by layer group and depth](sensitivity.png)",
        "## Proposal",
        f"Biases on **{', '.join(targets)}**, by {first.proposal.by}. {told}",
        "\n".join(f"* {group}{_votes(seen, group)}: {reason}" for group, reason in first.proposal.reasons.items()),
    ]
    return "\n\n".join(line.rstrip() for line in lines) + "\n"


def _votes(seen: Sequence[Seen], group: str) -> str:
    """How many seeds propose a group, where there are several; the reason beside it is of the first of them."""
    if len(seen) == 1:
        return ""
    taken = [each for each in seen if group in each.proposal.targets or (group == "depthwise" and each.proposal.depthwise)]
    return f" (by {len(taken)} of {len(seen)} seeds; seed {seen[0].sides.seed})"


def _table(seen: Sequence[Seen]) -> str:
    rows = []
    for row in seen[0].rows:
        own = [next(each for each in other.rows if each.group == row.group) for other in seen]
        cells: list[Any] = [[getattr(each, name) for each in own] for name in ("cosine", "norm_ratio", "won_back")]
        paper = f"{row.paper:.2f}" if row.paper is not None else NONE
        rows.append((row.group, str(row.layers), f"{row.parameters:,}", _spread(cells[0]), paper, *map(_spread, cells[1:])))
    columns = ("layer group", "layers", "parameters", "cosine", "cosine (paper)", "change of norm", "won back")
    return markdown(columns, rows, right=columns[1:])


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    found = summary(known)
    return f"{found.mean:.3f}" + (f" ± {found.deviation:.3f}" if found.deviation is not None else "")
