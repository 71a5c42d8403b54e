"""What came of a search, as files in its run.

trials.csv     a row for each trial: values, state and reason, dB, parameters, steps, seconds
pareto.png     parameters of a bias against dB
best.yaml      the job with the best values, ready to be submitted
report.json    all of it; report.md the same for people
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.evaluate.report import read_report, write_report
from ipt_platform.spec.load import check_job, dump_job
from ipt_platform.spec.members import trial_document
from ipt_platform.train.evaluation import mean_psnr
from ipt_platform.tune.importance import Importance, importance
from ipt_platform.tune.members import Outcome
from ipt_platform.tune.pareto import pareto
from ipt_platform.tune.pareto_figure import Trial as Point
from ipt_platform.tune.pareto_figure import pareto_figure
from ipt_platform.tune.plan import Plan
from ipt_platform.tune.seeds import paired, summary
from ipt_platform.tune.space import params_of, words
from ipt_platform.tune.tables import markdown, trials_csv
from ipt_platform.tune.trials import Trial

OWN = ("trial", "state", "reason", "source")
MEASURED = ("psnr", "step", "steps", "parameters", "share", "seconds", "run")


@dataclass(frozen=True)
class Found:
    """What came of a search.

    Attributes:
        trials: all of them. best: by name. front: names of those that no other beats in dB and parameters.
        seeds: dB by trial that was repeated, and by seed.
        knobs: how much each knob matters, and at which step that was judged.
    """

    trials: Sequence[Trial]
    best: Trial
    front: Sequence[Trial]
    seeds: Mapping[str, Mapping[int, float]]
    knobs: Sequence[Importance]
    judged_at: int


def write_outcome(plan: Plan, trials: Sequence[Trial], repeats: Sequence[Outcome], attempt: int) -> None:
    """Write what came of a search; at least one trial is finished.

    Raises:
        OSError: the disk is full or refuses.
        RefusedError: another attempt has taken the run over.
    """
    found = find_best(plan, trials, repeats)
    run = plan.run
    name = f"{plan.tuned.name[:58]}-best"
    best = trial_document(
        plan.loaded.document,
        plan.tuned.storage,
        plan.base / plan.tuned.storage,
        name,
        plan.tuned.seed,
        found.best.suggestion.values,
    )
    job, figure = dump_job(check_job(best, plan.base)).encode(), _figure(trials, found.front)
    with run.fence(attempt)():
        replace_file(run.path / "best.yaml", job)
        replace_file(run.path / "trials.csv", csv_of(plan, trials).encode())
        replace_file(run.path / "pareto.png", figure)
        replace_file(run.path / "report.md", markdown_of(plan, found).encode())
        write_report(run.report, _report(plan, found))


def find_best(plan: Plan, trials: Sequence[Trial], repeats: Sequence[Outcome]) -> Found:
    """The best trial: of those that were repeated the one with the highest mean over seeds, else the one with the most dB."""
    finished = [trial for trial in trials if trial.state == "finished" and trial.psnr is not None]
    seeds = _seeds(plan, trials, repeats)
    if seeds:
        name = max(seeds, key=lambda name: (len(seeds[name]), summary([*seeds[name].values()]).mean))
        best = next(trial for trial in trials if trial.name == name)
    else:
        best = plan.best(trials)[0]
    front = [finished[index] for index in pareto([(trial.psnr or 0.0, trial.parameters) for trial in finished])]
    knobs, step = _importance(plan, trials)
    return Found(trials, best, front, seeds, knobs, step)


def _seeds(plan: Plan, trials: Sequence[Trial], repeats: Sequence[Outcome]) -> dict[str, dict[int, float]]:
    if not plan.spec.repeat:
        return {}
    found = {trial.name: {plan.tuned.seed: trial.psnr or 0.0} for trial in plan.best(trials)}
    for outcome in repeats:
        if not outcome.failure and (psnr := mean_psnr(read_report(outcome.run.report)["sets"])) is not None:
            found[outcome.member.role][outcome.member.seed] = psnr
    return found


def _importance(plan: Plan, trials: Sequence[Trial]) -> tuple[list[Importance], int]:
    """Judged at the last step that every trial was measured at, so that those stopped early count as well."""
    measured = [trial for trial in trials if trial.curve]
    common = set.intersection(*({*trial.curve} for trial in measured)) if measured else set()
    if not common:
        return [], 0
    step = max(common)
    points = [
        ({path: _plain(value) for path, value in params.items()}, trial.curve[step])
        for trial in measured
        if (params := params_of(plan.spec.space, trial.suggestion.values)) is not None
    ]
    return importance(points, np.random.default_rng(plan.tuned.seed)), step


def _plain(value: Any) -> Any:
    return "null" if value is None else value


def csv_of(plan: Plan, trials: Sequence[Trial]) -> str:
    """The trials as CSV, a row each."""
    paths = [*plan.spec.space]
    columns = [*OWN, *paths, *MEASURED]
    names = {f"psnr {name} {task}" for trial in trials for name, tasks in trial.scores.items() for task in tasks}
    return trials_csv((_row(plan, trial) for trial in trials), [*columns, *sorted(names)])


def _row(plan: Plan, trial: Trial) -> dict[str, Any]:
    row = {
        "trial": trial.name,
        "state": trial.state,
        "reason": trial.reason,
        "source": trial.suggestion.source,
        **{path: trial.suggestion.values.get(path) for path in plan.spec.space},
        "psnr": trial.psnr,
        "step": trial.step,
        "steps": trial.steps,
        "parameters": trial.parameters,
        "share": round(trial.parameters / trial.backbone, 6) if trial.backbone else None,
        "seconds": round(trial.seconds, 3),
        "run": str(Path(plan.tuned.storage) / plan.run.id / "runs" / trial.name),
    }
    return row | {f"psnr {name} {task}": each["psnr"] for name, tasks in trial.scores.items() for task, each in tasks.items()}


def _figure(trials: Sequence[Trial], front: Sequence[Trial]) -> bytes:
    shown = [trial for trial in trials if trial.psnr is not None and trial.state in ("finished", "stopped")]
    points = [
        Point(
            int(trial.name[1:]), trial.psnr or 0.0, trial.parameters, words(trial.suggestion.values), trial.state == "stopped"
        )
        for trial in shown
    ]
    return pareto_figure(points, [shown.index(trial) for trial in front], shown[0].backbone)


def _report(plan: Plan, found: Found) -> dict[str, Any]:
    trained = sum(trial.step for trial in found.trials)
    return {
        "kind": "tune",
        "protocol": plan.job.evaluate.protocol,
        "sets": found.best.scores,
        "sets_chosen_on": [*plan.job.evaluate.sets],
        "best": {"trial": found.best.name, "values": found.best.suggestion.values, "psnr": found.best.psnr},
        "trials": [
            {key: value for key, value in _row(plan, trial).items() if not key.startswith("psnr ")} | {"curve": trial.curve}
            for trial in found.trials
        ],
        "pareto": [trial.name for trial in found.front],
        "importance": {"step": found.judged_at, "knobs": [each.to_dict() for each in found.knobs]},
        "seeds": {name: {"psnr": values, **asdict(summary([*values.values()]))} for name, values in found.seeds.items()},
        "paired": _paired(found),
        "steps": trained,
        "steps_of_all": sum(trial.steps for trial in found.trials),
    }


def _paired(found: Found) -> list[dict[str, Any]]:
    """The best trial against each other one that was repeated."""
    others = [name for name in found.seeds if name != found.best.name]
    return [
        {"one": found.best.name, "other": name, **paired(found.seeds[found.best.name], found.seeds[name]).to_dict()}
        for name in others
    ]


def markdown_of(plan: Plan, found: Found) -> str:
    """The report for people."""
    states = {state: sum(trial.state == state for trial in found.trials) for state in ("finished", "stopped", "failed")}
    trained, whole = sum(trial.step for trial in found.trials), sum(trial.steps for trial in found.trials)
    best = found.best
    how = (
        f"{len(found.trials)} trials ({', '.join(f'{n} {state}' for state, n in states.items() if n)}), chosen by mean PSNR "
        f"(`{plan.job.evaluate.protocol}`) on {', '.join(plan.job.evaluate.sets)}; {trained:,} of {whole:,} steps were "
        "trained. Numbers of the sets on which something was chosen are no test: measure `best.yaml` on others."
    )
    if plan.spec.trials and len(found.trials) < plan.spec.trials:
        how += f" {plan.spec.trials} trials were asked for, and the space has no more."
    judged = (
        f"Share of the variance of PSNR at step {found.judged_at:,}, the last at which "
        f"{'every' if found.judged_at else 'no'} trial was measured, that a knob explains alone; 90 % bootstrap interval."
    )
    lines = [
        f"# {plan.tuned.name}: {words(best.suggestion.values)}",
        how,
        "## Best and Pareto front",
        _trial_table(found.front, best),
        "![bias parameters against PSNR](pareto.png)",
        "## Importance of the knobs",
        judged,
        markdown(("knob", "share", "interval", "verdict"), [each.cells() for each in found.knobs]),
    ]
    if found.seeds:
        lines += ["## Over seeds", _seed_table(found)]
    lines += ["## Trials", _trial_table(found.trials, best)]
    return "\n\n".join(line.rstrip() for line in lines) + "\n"


def _trial_table(trials: Sequence[Trial], best: Trial) -> str:
    rows = [
        (
            f"{trial.name}{' (best)' if trial is best else ''}",
            words(trial.suggestion.values),
            f"{trial.psnr:.3f}" if trial.psnr is not None else "–",
            f"{trial.parameters:,} ({trial.parameters / trial.backbone:.1%})" if trial.backbone else "–",
            f"{trial.step:,}/{trial.steps:,}",
            trial.state if trial.state != "failed" else f"failed: {trial.reason}",
        )
        for trial in trials
    ]
    columns = ("trial", "values", "PSNR, dB", "bias parameters", "steps", "state")
    return markdown(columns, rows, right=columns[2:5])


def _seed_table(found: Found) -> str:
    rows = []
    for name, values in found.seeds.items():
        mean = summary([*values.values()])
        spread = f" ± {mean.deviation:.3f}" if mean.deviation is not None else ""
        against = "" if name == found.best.name else paired(found.seeds[found.best.name], values)
        words_of = (
            f"{found.best.name} is {against.verdict} ({against.mean:+.3f} dB)" if against and against.mean is not None else ""
        )
        rows.append((name, f"{mean.mean:.3f}{spread}", str(mean.n), words_of))
    return markdown(("trial", "PSNR, dB", "seeds", "paired"), rows)
