"""Whether a version may be served: its pack is tried in a fresh process, measured on the frozen sets, and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from ipt_platform.errors import DataError, NotFoundError, PackError, RefusedError, SpecError, TrainingError, UsageError
from ipt_platform.evaluate.metrics import from_json_number
from ipt_platform.evaluate.run import RestoreFn, evaluate_sets
from ipt_platform.registry.freeze import open_frozen
from ipt_platform.registry.probe import probe
from ipt_platform.registry.serve import Candidate
from ipt_platform.spec.gates import Gate

Scores = dict[str, dict[str, Any]]
"""For each set `{"psnr", "psnr_input", "ssim", "n"}`; a PSNR of None is infinite."""

UNUSABLE = (SpecError, UsageError, NotFoundError, DataError, PackError, RefusedError)
"""What is wrong with a test set, or with the pack that held an alias so far."""

RestorerOf = Callable[[nn.Module], RestoreFn]
"""From a model to what restores a picture of any size with it."""


@dataclass(frozen=True)
class Judgement:
    """What the gates say of a version.

    Attributes:
        numbers: what was measured, one mapping for each set; `psnr_before` is that of the version it would replace.
        missed: why it should not be served, a sentence for each gate.
    """

    numbers: list[dict[str, Any]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return not self.missed


def judge(
    version: Candidate,
    holder: Candidate | None,
    base: Path,
    restorer_of: RestorerOf,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judgement:
    """Try, measure and compare a trained version. What cannot be measured here has missed its gates.

    Args:
        version: what to judge.
        holder: what it would replace; measured on the same pairs, in the same process.
        base: what the names of test sets are relative to.
        restorer_of: how models are run.
        progress: told (pictures measured, pictures in all) after each one.

    Raises:
        RefusedError: the pack cannot be used at all.
        NotFoundError, PackError: the pack or its backbone is gone or damaged.
        TrainingError: it gives values that are not finite.
    """
    probe(version.pack, version.backbone)
    spec = version.record.task
    try:
        task, testsets = open_frozen(version.record, base)
    except UNUSABLE as error:
        return Judgement(missed=[f"nothing could be measured: {error}"])

    done, total = count(1), sum(map(len, testsets)) * (2 if holder else 1)

    def measured(which: Candidate) -> Scores:
        def told(*_: Any) -> None:
            progress(next(done), total)

        found = evaluate_sets(lambda name: restorer_of(which.load()), testsets, [task], spec.protocol, told)
        return {name: tasks[task.name] for name, tasks in found.items()}

    own, before, missed = measured(version), {}, []
    if holder:
        try:
            before = measured(holder)
        except (*UNUSABLE, TrainingError) as error:
            missed.append(f"{holder} could not be measured to compare with: {error}")
    missed += [*missed_gates(spec.thresholds, own), *regressions(own, before, spec.margin, str(holder))]
    numbers = [
        {
            "set": each.name,
            "digest": each.digest,
            "protocol": spec.protocol,
            **own[each.name],
            **({"psnr_before": before[each.name]["psnr"]} if before else {}),
        }
        for each in version.record.sets
    ]
    return Judgement(numbers, missed)


def missed_gates(gates: Sequence[Gate], scores: Scores) -> list[str]:
    """A sentence for every gate and every set on which it is missed."""
    return [
        f"{gate} is missed on {name}: {gate.metric} is {_number(found, gate.metric)}"
        for gate in gates
        for name, numbers in scores.items()
        if not (found := value_of(gate.metric, numbers)) >= gate.least
    ]


def regressions(scores: Scores, before: Scores, margin: float, holder: str) -> list[str]:
    """A sentence for every set on which more dB are lost than the margin allows."""
    found = []
    for name in scores.keys() & before.keys():
        new, old = value_of("psnr", scores[name]), value_of("psnr", before[name])
        if new < old - margin:
            found.append(
                f"{name} gets worse: {new:.2f} dB, where {holder} has {old:.2f} dB, {old - new:.2f} dB more; "
                f"at most {margin:g} dB may be lost"
            )
    return sorted(found)


def value_of(metric: str, numbers: Mapping[str, Any]) -> float:
    """A metric of a gate; PSNR may be infinite. A picture that was perfect and still is has gained nothing."""
    psnr, before = from_json_number(numbers["psnr"]), from_json_number(numbers["psnr_input"])
    return {"psnr": psnr, "ssim": numbers["ssim"], "gain": 0.0 if psnr == before else psnr - before}[metric]


def _number(value: float, metric: str) -> str:
    return f"{value:.4f}" if metric == "ssim" else f"{value:.2f} dB"
