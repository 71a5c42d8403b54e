"""`what: interference`: which tasks help or hurt each other at equal budget, and whether their gradients say so beforehand.

Every task is trained alone, with every other one, and all are trained together; a step of one task has as many crops as one of
two. In the training of all tasks, the gradients of the shared weights are compared at some checkpoints.

Source: PromptIR, Table 9 (combinations of tasks); the cosine of gradients as in Yu et al., Gradient Surgery (2020).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.checkpoint.manifest import COMMIT, steps
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.evaluate.report import read_report, write_report
from ipt_platform.model.bias import BiasedModel
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.compound import part_document
from ipt_platform.spec.load import check_job, dump_job
from ipt_platform.spec.members import TOGETHER, role_of
from ipt_platform.train.evaluation import WITHOUT_ERROR
from ipt_platform.train.step import LOSSES
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.crops import Pairs, crops_of
from ipt_platform.tune.members import Outcome
from ipt_platform.tune.seeds import Paired, paired
from ipt_platform.tune.tables import NONE, markdown
from ipt_platform.tune.trials import load_job_of

IMAGES = 16
"""Photographs whose crops give a gradient."""
MEANING = (
    "dB of the task of the row when it is trained with that of the column, over alone with twice its crops; in bold beyond the "
    "noise (paired t-test over seeds, p < 0.05)."
)
LEAST_PAIRS = 4
"""Pairs of tasks below which an order of them says nothing."""

Together = tuple[str, str]
Values = Mapping[str, Mapping[int, float]]


def write_interference(analysis: Analysis) -> None:
    """Write report.md, report.json and proposal.yaml: the largest group of tasks of which none hurts another.

    Raises:
        TrainingError: a training failed.
        RefusedError: another attempt has taken the run over.
    """
    analysis.all_finished()
    tasks = [*(analysis.job.tasks or {})]
    measured = psnr_of(analysis.outcomes)
    gains = {(one, other): _gain(measured, one, other) for one, other in permutations(tasks, 2)}
    cosines = _cosines(analysis, tasks)
    prediction = predict(tasks, gains, cosines)
    chosen = compatible(tasks, gains)
    proposed = _proposed(analysis, chosen)
    report = {
        "kind": "analyze",
        "what": "interference",
        "scale": analysis.job.scaled_to,
        "seeds": analysis.seeds,
        "psnr": {
            role: {task: {str(s): v for s, v in by.items()} for task, by in each.items()} for role, each in measured.items()
        },
        "gains": [{"task": one, "with": other, **gain.to_dict()} for (one, other), gain in gains.items()],
        "gradient_cosines": [{"tasks": list(pair), "by_step": found} for pair, found in cosines.items()],
        "prediction": prediction,
        "proposal": {"tasks": chosen},
    }
    with analysis.writing():
        path = analysis.run.path
        replace_file(path / "proposal.yaml", proposed)
        replace_file(path / "report.md", page(analysis, tasks, measured, gains, cosines, prediction, chosen).encode())
        write_report(analysis.run.report, report)


def psnr_of(outcomes: Sequence[Outcome]) -> dict[str, Values]:
    """DB by training (tasks, joined by "+"), task and seed: the mean over the sets that measure the task."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for outcome in outcomes:
        sets = read_report(outcome.run.report)["sets"]
        for task in {task for numbers in sets.values() for task in numbers}:
            values = [numbers[task]["psnr"] for numbers in sets.values() if task in numbers]
            mean = sum(WITHOUT_ERROR if value is None else value for value in values) / len(values)
            found.setdefault(outcome.member.role, {}).setdefault(task, {})[outcome.member.seed] = mean
    return {**found}


def _gain(measured: Mapping[str, Values], one: str, other: str) -> Paired:
    """DB that a task has more when it is trained with another than alone."""
    both = next(role for role in (role_of(one, other), role_of(other, one)) if role in measured)
    return paired(measured[both][one], measured[one][one])


def _cosines(analysis: Analysis, tasks: Sequence[str]) -> dict[Together, dict[int, float]]:
    """Cosine of the gradients of the shared weights by pair of tasks and step, the mean over seeds."""
    found: dict[Together, dict[int, list[float]]] = {pair: {} for pair in combinations(tasks, 2)}
    for outcome in analysis.outcomes:
        if outcome.member.role != TOGETHER:
            continue
        job = load_job_of(outcome.run)
        pairs = crops_of(job, tasks, IMAGES, job.train.stages[-1].patch, analysis.base, outcome.run.tasks)
        for step, model in _snapshots(outcome.run):
            gradients = {task: gradient(model, task, pairs, job.train.loss) for task in tasks}
            for one, other in found:
                found[one, other].setdefault(step, []).append(cosine(gradients[one], gradients[other]))
    return {pair: {step: float(np.mean(each)) for step, each in sorted(by.items())} for pair, by in found.items()}


def _snapshots(run: RunDir) -> list[tuple[int, BiasedModel]]:
    kept = [(step, path) for step, path in steps(run.checkpoints) if (path / COMMIT).is_file()]
    return [(step, load_biased_model(path)) for step, path in sorted(kept)]


def gradient(model: BiasedModel, task: str, pairs: Pairs, loss: str) -> Tensor:
    """The gradient of a task's loss by the shared weights, through the task's merged weights; one vector."""
    weights = [weight.requires_grad_(True) for weight in model.backbone.parameters()]
    degraded, clean = pairs[task]
    with torch.enable_grad():
        value = LOSSES[loss](model.run_task(task, degraded) - clean).mean()
        found = torch.autograd.grad(value, weights, allow_unused=True)
    parts = [torch.zeros_like(weight) if each is None else each for weight, each in zip(weights, found, strict=True)]
    return torch.cat([part.flatten() for part in parts])


def cosine(one: Tensor, other: Tensor) -> float:
    """Cosine of two vectors, 0 where one is zero."""
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length else 0.0


def predict(
    tasks: Sequence[str], gains: Mapping[Together, Paired], cosines: Mapping[Together, Mapping[int, float]]
) -> dict[str, Any]:
    """How well the cosine of two tasks' gradients says whether they help each other: rank correlation over pairs of tasks."""
    pairs = [*combinations(tasks, 2)]
    own = [float(np.mean([*cosines[pair].values()])) for pair in pairs]
    helped = [float(np.mean([gains[pair].mean or 0.0, gains[pair[1], pair[0]].mean or 0.0])) for pair in pairs]
    nothing = {"pairs": len(pairs), "rho": None, "p": None}
    if len(pairs) < LEAST_PAIRS:
        few = f"{len(pairs)} pairs of tasks are" if len(pairs) > 1 else "one pair of tasks is"
        return nothing | {"words": f"{few} too few to say"}
    if len({*own}) < 2 or len({*helped}) < 2:
        return nothing | {"words": "all pairs of tasks are alike, so there is no order to predict"}
    found: Any = stats.spearmanr(own, helped)
    rho, p = float(found.statistic), float(found.pvalue)
    verdict = "predicts" if p < 0.05 and rho > 0 else "does not predict beyond chance"
    return {"pairs": len(pairs), "rho": rho, "p": p, "words": f"the cosine {verdict} who helps whom"}


def sentence_of(prediction: Mapping[str, Any]) -> str:
    """What `predict` found, for people; with its numbers, if it has some."""
    words = prediction["words"].capitalize()
    if prediction["p"] is None:
        return f"{words}."
    return f"{words}: Spearman {prediction['rho']:+.2f}, p = {prediction['p']:.2g}, {prediction['pairs']} pairs."


def compatible(tasks: Sequence[str], gains: Mapping[Together, Paired]) -> list[str]:
    """The most tasks of which none loses beyond the noise by another, the first such group in the order of the tasks."""

    def unharmed(group: Sequence[str]) -> bool:
        return all(gains[pair].verdict != "lower" for pair in permutations(group, 2))

    sizes = range(len(tasks), 0, -1)
    return next([*group] for size in sizes for group in combinations(tasks, size) if unharmed(group))


def _proposed(analysis: Analysis, chosen: Sequence[str]) -> bytes:
    """The job that trains these tasks together."""
    uses = {name: use.model_dump(mode="json") for name, use in (analysis.job.tasks or {}).items() if name in chosen}
    given = {
        "name": f"{analysis.job.name[:54]}-proposal",
        "storage": analysis.job.storage,
        "seed": analysis.job.seed,
        "tasks": uses,
    }
    return dump_job(check_job(part_document(analysis.document, ("base",), given=given), analysis.base)).encode()


def page(
    analysis: Analysis,
    tasks: Sequence[str],
    measured: Mapping[str, Values],
    gains: Mapping[Together, Paired],
    cosines: Mapping[Together, Mapping[int, float]],
    prediction: Mapping[str, Any],
    chosen: Sequence[str],
) -> str:
    """The report for people."""
    seeds = analysis.seeds
    submit = f"ipt-platform submit {Path(analysis.job.storage) / analysis.run.id / 'proposal.yaml'}"
    lines = [
        f"# {analysis.job.name}: which tasks help or hurt each other",
        f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. {MEANING}",
        _gain_table(tasks, gains),
        "## dB",
        _psnr_table(tasks, measured),
        "## Cosine of gradients in the training of all tasks",
        _cosine_table(cosines),
        sentence_of(prediction),
        "## Proposal",
        f"Train together: **{', '.join(chosen)}**: none of them loses by another beyond the noise. {submit}",
    ]
    return "\n\n".join(line.rstrip() for line in lines) + "\n"


def _gain_table(tasks: Sequence[str], gains: Mapping[Together, Paired]) -> str:
    def cell(one: str, other: str) -> str:
        gain = gains.get((one, other))
        if gain is None or gain.mean is None:
            return NONE
        text = f"{gain.mean:+.3f}" + (f" ± {gain.deviation:.3f}" if gain.deviation is not None else "")
        return f"**{text}**" if gain.verdict in ("higher", "lower") else text

    columns = ("task", *(f"with {task}" for task in tasks))
    return markdown(columns, [(one, *(cell(one, other) for other in tasks)) for one in tasks], right=columns[1:])


def _psnr_table(tasks: Sequence[str], measured: Mapping[str, Values]) -> str:
    def cell(values: Mapping[int, float]) -> str:
        return f"{np.mean([*values.values()]):.3f}" if values else NONE

    rows = [(role, *(cell(each.get(task, {})) for task in tasks)) for role, each in measured.items()]
    return markdown(("trained", *tasks), rows, right=tasks)


def _cosine_table(cosines: Mapping[Together, Mapping[int, float]]) -> str:
    known = sorted({step for by in cosines.values() for step in by})
    rows = [
        (" and ".join(pair), *(f"{by[step]:+.3f}" if step in by else NONE for step in known)) for pair, by in cosines.items()
    ]
    columns = ("tasks", *(f"step {step:,}" for step in known))
    return markdown(columns, rows, right=columns[1:])
