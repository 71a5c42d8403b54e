"""`what: rank-energy`: of what rank the difference is that a training makes, and what a bias of lower rank costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from ipt_platform import __version__
from ipt_platform.checkpoint.backbone import is_backbone, read_backbone
from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import DataError
from ipt_platform.evaluate.metrics import from_json_number, json_number
from ipt_platform.evaluate.report import write_report
from ipt_platform.evaluate.run import evaluate_model, summarise
from ipt_platform.evaluate.testset import frozen_task, open_testsets
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.observe.events import utc_now
from ipt_platform.registry.about import Facts, Lineage, OnBackbone
from ipt_platform.registry.pack import is_pack, write_pack
from ipt_platform.restore.tiles import restore_array
from ipt_platform.spec.task import load_task
from ipt_platform.train.frozen import keep_backbone
from ipt_platform.train.layout import bias_layout
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.compress import CompressionInfo, compress
from ipt_platform.tune.crops import CPU
from ipt_platform.tune.difference import LayerDifference, layer_differences
from ipt_platform.tune.energy import SHARES, Budget, LayerEnergy, RankProposal, budgets, layer_energies, propose_rank, spectra
from ipt_platform.tune.figures import rank_energy_figure
from ipt_platform.tune.proposal import write_proposal
from ipt_platform.tune.seeds import summary
from ipt_platform.tune.tables import markdown, trials_csv
from ipt_platform.tune.weights import Sides, plain, sides_of

MEANING = (
    "Energy: squared norm of the difference that is kept, of all layers together; worst layer: of the layer that loses most. "
    "In the paper proportional ranks lose 30 to 50 % of the energy of shallow layers."
)


@dataclass(frozen=True)
class Seen:
    """What one seed says."""

    sides: Sides
    differences: Sequence[LayerDifference]
    spectrum: dict[str, Tensor]
    layers: Sequence[LayerEnergy]
    budgets: Sequence[Budget]
    proposal: RankProposal


@dataclass(frozen=True)
class Cost:
    """What a compression costs on one task and set, in dB; infinite where every picture is restored without any error."""

    seed: int
    task: str
    set: str
    degraded: float
    before: float
    compressed: float
    full: float

    @property
    def lost(self) -> float:
        """DB that the bias of low rank gives less than the full finetune."""
        return 0.0 if self.full == self.compressed else self.full - self.compressed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        numbers = {key: json_number(getattr(self, key)) for key in ("degraded", "before", "compressed", "full", "lost")}
        return {"seed": self.seed, "task": self.task, "set": self.set, **numbers}


def write_rank_energy(analysis: Analysis) -> None:
    """Write report.md, report.json, layers.csv, rank-energy.png and proposal.yaml; with `compress` also the bias pack.

    Raises:
        TrainingError: a training failed.
        UsageError: nothing has changed.
        RefusedError: another attempt has taken the run over.
    """
    analysis.all_finished()
    seen = [_look(analysis, seed) for seed in analysis.seeds]
    first, job, path = seen[0], analysis.job, analysis.run.path
    rank = round(float(np.median([each.proposal.rank for each in seen])))
    packed = [_compress(analysis, each.sides) for each in seen] if job.compress else []
    costs = [cost for found, _ in packed for cost in found]
    bias = {"rank": rank, "targets": list(job.targets)}
    columns = ["seed", *first.layers[0].to_dict()]
    rows = [{"seed": each.sides.seed, **layer.to_dict()} for each in seen for layer in each.layers]
    figure = rank_energy_figure(first.differences, first.budgets)
    report = {
        "kind": "analyze",
        "what": "rank-energy",
        "scale": job.scaled_to,
        "seeds": {
            str(each.sides.seed): {
                "layers": [layer.to_dict() for layer in each.layers],
                "budgets": [budget.to_dict() for budget in each.budgets],
                "proposal": each.proposal.to_dict(),
            }
            for each in seen
        },
        "compressed": [cost.to_dict() for cost in costs],
        "proposal": {"rank": rank},
    }
    with analysis.writing():
        told = write_proposal(analysis.run, job.name, job.storage, first.sides, bias, analysis.base)
        replace_file(path / "layers.csv", trials_csv(rows, columns).encode())
        replace_file(path / "rank-energy.png", figure)
        replace_file(path / "report.md", page(analysis, seen, costs, packed, rank, told).encode())
        write_report(analysis.run.report, report)


def _look(analysis: Analysis, seed: int) -> Seen:
    sides = sides_of(analysis.job, analysis.run, analysis.base, seed)
    differences = [each for each in layer_differences(sides.before, sides.after) if each.group in analysis.job.targets]
    spectrum = spectra(differences)
    layers = layer_energies(differences, spectrum)
    return Seen(sides, differences, spectrum, layers, budgets(sides.before, spectrum), propose_rank(sides.before, spectrum))


def _compress(analysis: Analysis, sides: Sides) -> tuple[list[Cost], CompressionInfo]:
    """The bias of low rank of a seed: what it costs, and what it keeps; that of the first seed becomes a bias pack."""
    spec, job = analysis.job.compress, sides.job
    assert spec is not None
    if job is None:
        raise DataError(
            f"{analysis.job.after}: which training made it is not known, so nothing can be measured; leave compress out"
        )
    bias, info = compress(sides.before, sides.after, bias_layout(sides.before, spec))
    costs = []
    registered = (sides.run or analysis.run).tasks
    for name in job.tasks:
        task = frozen_task(name, base=analysis.base, registered=registered)
        models: dict[str, nn.Module] = {
            "before": sides.before,
            "compressed": _merged(sides, bias),
            "full": sides.after,
        }
        for testset in open_testsets(job.evaluate.sets, analysis.base, [task]):
            found = {
                key: summarise(evaluate_model(_restorer(model), testset, task, job.evaluate.protocol))
                for key, model in models.items()
            }
            degraded = from_json_number(found["before"]["psnr_input"])
            reached = {key: from_json_number(each["psnr"]) for key, each in found.items()}
            costs.append(Cost(sides.seed, name, testset.name, degraded, **reached))
        if sides.seed == analysis.seeds[0]:
            with analysis.writing():
                _pack(analysis, sides, bias, name)
    return costs, info


def _merged(sides: Sides, bias: TaskBias) -> nn.Module:
    model = BiasedModel(sides.before, {"task": bias})
    return plain(_Task(model))


class _Task(nn.Module):
    """A model with one task's bias, called with pictures alone."""

    def __init__(self, model: BiasedModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.run_task("task", x)


def _restorer(model: nn.Module) -> Any:
    return lambda degraded: restore_array(model, degraded, CPU)


def _pack(analysis: Analysis, sides: Sides, bias: TaskBias, name: str) -> None:
    """The bias pack of a task, and the backbone that it is for."""
    run, spec, job = analysis.run, analysis.job.compress, sides.job
    assert spec is not None
    assert job is not None
    if is_pack(run.pack(name)):
        return
    if not is_backbone(run.backbone):
        keep_backbone(sides.found, run.backbone)
    info, task = read_backbone(run.backbone), load_task(name, analysis.base, (sides.run or run).tasks)
    facts = Facts(
        task=name,
        backbone=OnBackbone(name=info.name, fingerprint=info.fingerprint, checkpoint=info.lineage.get("source", "")),
        **dict(spec),
        upscale=1 if task.pairs else task.training(job.tasks[name].params).upscale,
        quantize=task.quantize,
        metrics=(),
        lineage=Lineage(
            run=run.id, attempt=run.current_attempt(), step=0, job=analysis.job.model_dump(mode="json"), version=__version__
        ),
        created=utc_now().isoformat(timespec="milliseconds"),
    )
    write_pack(run.pack(name), bias, facts, {})


def page(
    analysis: Analysis,
    seen: Sequence[Seen],
    costs: Sequence[Cost],
    packed: Sequence[tuple[list[Cost], CompressionInfo]],
    rank: int,
    told: str,
) -> str:
    """The report for people."""
    job, first = analysis.job, seen[0]
    lines = [
        f"# {job.name}: of what rank a task is (Figure 2 of the paper)",
        f"{len(seen)} seed{'s' if len(seen) > 1 else ''}: {', '.join(str(each.sides.seed) for each in seen)}; layer groups "
        f"{', '.join(job.targets)}." + (f" Scale `{job.scaled_to}`." if job.scaled_to else ""),
        "![cumulative energy over rank](rank-energy.png)",
        "## Constant against proportional rank, at no more parameters",
        _budget_table(seen),
        MEANING,
        "## Layers",
        _layer_table(first),
        "## Proposal",
        f"Rank **{rank}**: {first.proposal.reason}. {told}",
    ]
    if costs:
        assert job.compress is not None
        kept = summary([info.kept for _, info in packed])
        lines += [
            f"## Compressed to rank {job.compress.rank}",
            f"A bias of {packed[0][1].parameters:,} parameters keeps {kept.mean:.1%} of the energy of all weights.",
            _cost_table(costs),
        ]
    return "\n\n".join(line.rstrip() for line in lines) + "\n"


def _budget_table(seen: Sequence[Seen]) -> str:
    rows = []
    for number, budget in enumerate(seen[0].budgets):
        own = [each.budgets[number] for each in seen]
        cells = []
        for side in ("constant", "proportional"):
            found = [getattr(each, side) for each in own]
            cells += [f"{found[0].parameters:,}", _share([each.energy for each in found])]
            cells.append(_share([min(each.layers.values()) for each in found]))
        rows.append((str(budget.rank), *cells))
    names = ("parameters", "energy", "worst layer")
    columns = ("rank", *(f"{side}: {name}" for side in ("constant", "proportional") for name in names))
    return markdown(columns, rows, right=columns)


def _layer_table(seen: Seen) -> str:
    wanted = [f"rank for {share:.0%}" for share in SHARES]
    rows = [
        (each.name, each.group, f"{each.depth:.2f}", str(each.full_rank), f"{each.effective_rank:.1f}", *map(str, each.ranks))
        for each in seen.layers
    ]
    columns = ("weight", "layer group", "depth", "full rank", "effective rank", *wanted)
    return markdown(columns, rows, right=columns[2:])


def _cost_table(costs: Sequence[Cost]) -> str:
    rows = [
        (f"{each.task}, {each.set}", str(each.seed), *(f"{value:.2f}" for value in _decibels(each)), f"{each.lost:+.2f}")
        for each in costs
    ]
    columns = ("task, set", "seed", "degraded, dB", "before", "compressed", "full", "lost")
    return markdown(columns, rows, right=columns[1:])


def _decibels(cost: Cost) -> tuple[float, ...]:
    return cost.degraded, cost.before, cost.compressed, cost.full


def _share(values: Sequence[float]) -> str:
    found = summary(values)
    return f"{found.mean:.1%}" + (f" ± {found.deviation:.1%}" if found.deviation is not None else "")
