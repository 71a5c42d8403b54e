"""Variants of a job side by side, over seeds: a table beside the paper's, and which of the claimed orderings hold."""

from collections.abc import Mapping
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import TrainingError
from ipt_platform.evaluate.report import read_report, write_report
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.train.evaluation import WITHOUT_ERROR, mean_psnr
from ipt_platform.train.given import total_steps
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.claim import Claim, Judgement
from ipt_platform.tune.seeds import summary
from ipt_platform.tune.tables import Values, comparison
from ipt_platform.tune.trials import load_job_of, sizes

MEAN = "mean"


def write_comparison(analysis: Analysis) -> None:
    """Write report.md, report.json and proposal.yaml: the variant with the highest mean.

    Raises:
        TrainingError: no variant came to its end.
        RefusedError: another attempt has taken the run over.
    """
    variants, quantities = measured(analysis)
    if not any(values.get(MEAN) for values in variants.values()):
        why = next((outcome.failure for outcome in analysis.outcomes if outcome.failure), "nothing was measured")
        raise TrainingError(f"none of the variants came to its end: {why}")
    shares = _shares(analysis)
    claims = [(text, Claim.parse(text)) for text in analysis.job.claims]
    judged = {text: claim.judge({name: variants[name].get(MEAN, {}) for name in claim.names}) for text, claim in claims}
    best = max((name for name in variants if variants[name].get(MEAN)), key=lambda name: _mean(variants[name][MEAN]))
    report = {
        "kind": "analyze",
        "what": "comparison",
        "scale": analysis.job.scaled_to,
        "seeds": analysis.seeds,
        "variants": {
            name: {key: {str(s): v for s, v in by.items()} for key, by in each.items()} for name, each in variants.items()
        },
        "bias_share": shares,
        "claims": {text: judgement.to_dict() for text, judgement in judged.items()},
        "failures": _failures(analysis),
        "best": best,
    }
    with analysis.writing():
        replace_file(analysis.run.path / "report.md", page(analysis, variants, quantities, shares, judged).encode())
        _write_best(analysis, best)
        write_report(analysis.run.report, report)


def measured(analysis: Analysis) -> tuple[dict[str, Values], list[str]]:
    """DB by variant, quantity and seed; a chain counts by its last job. And the quantities, the mean last."""
    variants: dict[str, dict[str, dict[int, float]]] = {name: {} for name in analysis.job.variants or {}}
    last = {(outcome.member.role, outcome.member.seed): outcome for outcome in analysis.outcomes}
    quantities: dict[str, None] = {}
    for (variant, seed), outcome in last.items():
        if outcome.failure:
            continue
        sets = read_report(outcome.run.report)["sets"]
        found = {
            task if len(sets) == 1 else f"{task}, {name}": WITHOUT_ERROR if numbers["psnr"] is None else numbers["psnr"]
            for name, tasks in sets.items()
            for task, numbers in tasks.items()
        }
        quantities |= dict.fromkeys(found)
        if (mean := mean_psnr(sets)) is not None and len(found) > 1:
            found[MEAN] = mean
        elif found:
            found[MEAN] = next(iter(found.values()))
        for quantity, value in found.items():
            variants[variant].setdefault(quantity, {})[seed] = value
    return {**variants}, [*quantities, MEAN] if len(quantities) > 1 else [MEAN]


def page(
    analysis: Analysis,
    variants: Mapping[str, Values],
    quantities: list[str],
    shares: Mapping[str, float],
    judged: Mapping[str, Judgement],
) -> str:
    """The report for people."""
    job, paper = analysis.job, analysis.job.paper
    biased = {name: f"{share:.1%}" for name, share in shares.items() if share}
    facts: dict[str, dict[str, str]] = {"steps": _steps(analysis), "bias, share of backbone": biased}
    for position, column in enumerate(paper.columns if paper else ()):
        assert paper is not None
        numbers = {name: row[position] for name, row in paper.rows.items() if position < len(row) and row[position] is not None}
        facts[f"paper: {column}"] = {name: f"{number:g}" for name, number in numbers.items()}
    title = f"{job.name}: {paper.table} of the paper" if paper else job.name
    lines = [f"# {title}", _how(analysis), comparison(variants, quantities, facts=facts, digits=3)]
    if paper:
        lines += [f"What differs from the paper: {paper.differs}"]
    if judged:
        lines += ["## Orderings", "Judged on the mean over tasks and sets, by a paired t-test over seeds."]
        lines += ["\n".join(_judgement(text, judgement) for text, judgement in judged.items())]
    if failures := _failures(analysis):
        lines += ["## Failed", "\n".join(f"* {name}: {reason}" for name, reason in failures.items())]
    return "\n\n".join(line.rstrip() for line in lines) + "\n"


def _how(analysis: Analysis) -> str:
    """What was trained, in a sentence."""
    first = next(load_job_of(outcome.run) for outcome in analysis.outcomes if outcome.run.job.is_file())
    scale = f" Scale `{analysis.job.scaled_to}`." if analysis.job.scaled_to else ""
    seeds = ", ".join(map(str, analysis.seeds))
    return (
        f"Tasks {', '.join(first.tasks)}; seed{'s' if len(analysis.seeds) > 1 else ''} {seeds}; "
        f"PSNR as `{first.evaluate.protocol}` on {', '.join(first.evaluate.sets)}.{scale}"
    )


def _steps(analysis: Analysis) -> dict[str, str]:
    """Steps that each variant trains in all, with the first seed."""
    found: dict[str, int] = {}
    for outcome in analysis.outcomes:
        if outcome.member.seed == analysis.seeds[0] and outcome.run.job.is_file():
            found[outcome.member.role] = found.get(outcome.member.role, 0) + total_steps(load_job_of(outcome.run))
    return {name: f"{steps:,}" for name, steps in found.items()}


def _judgement(text: str, judgement: Judgement) -> str:
    steps = "".join(f"\n  * {step.sentence()}" for step in (*judgement.steps, *judgement.contradicted))
    return f"* `{text}`: **{judgement.overall}**{steps}"


def _shares(analysis: Analysis) -> dict[str, float]:
    """Parameters of one task bias over those of the backbone, by variant."""
    found = {}
    for outcome in analysis.outcomes:
        if outcome.run.job.is_file() and (not outcome.failure or outcome.member.role not in found):
            bias, backbone = sizes(load_job_of(outcome.run), outcome.run)
            found[outcome.member.role] = bias / backbone
    return found


def _failures(analysis: Analysis) -> dict[str, str]:
    return {outcome.member.id: outcome.failure for outcome in analysis.outcomes if outcome.failure}


def _mean(values: Mapping[int, float]) -> float:
    return summary([*values.values()]).mean


def _write_best(analysis: Analysis, best: str) -> None:
    """The job of the best variant's first seed, where one job is all of it."""
    own = [outcome for outcome in analysis.outcomes if outcome.member.role == best and outcome.member.seed == analysis.seeds[0]]
    if len(own) != 1:
        return
    job: Any = load_job(own[0].run.job, base=analysis.base, tasks=own[0].run.tasks).job
    proposed = job.model_copy(update={"name": f"{analysis.job.name}-{best}"[:63], "storage": analysis.job.storage})
    replace_file(analysis.run.path / "proposal.yaml", dump_job(proposed).encode())
