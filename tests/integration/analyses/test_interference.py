"""`what: interference`: trainings of tasks alone, in pairs and together, and what their reports and gradients say."""

from contextlib import chdir
from copy import deepcopy
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.errors import SpecError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.crops import crops_of
from ipt_platform.tune.interference import IMAGES, write_interference
from tests.integration.analyses.jobs_here import BASE, given, page_of, report_of, table_of, trained

TASKS = ["denoise", "lowlight"]
SEEDS = [0, 1]
STEPS = 2


@pytest.fixture(scope="module")
def seen(base, one_thread) -> Analysis:
    train = {**BASE["train"], "stages": [{"steps": STEPS, "patch": 32, "images": 2}]}
    shared = {key: each for key, each in BASE.items() if key != "tasks"} | {"train": train}
    value = {"what": "interference", "seeds": SEEDS, "tasks": TASKS, "base": shared}
    analysis = trained(value, base, "helps")
    with chdir(base):
        write_interference(analysis)
    return analysis


def job_in(run: RunDir, base: Path) -> TrainJob:
    job = load_job(run.job, base=base).job
    assert isinstance(job, TrainJob)
    return job


def psnr_of(analysis: Analysis, role: str, seed: int, task: str) -> float:
    return report_of(RunDir(analysis.run.members / f"{role}-s{seed}"))["sets"]["test"][task]["psnr"]


def test_each_task_each_pair_and_all_are_trained_with_as_many_crops_of_a_step(seen, base):
    roles = [*TASKS, *("-".join(pair) for pair in combinations(TASKS, 2)), "together"]

    assert [outcome.member.id for outcome in seen.outcomes] == [f"{role}-s{seed}" for seed in SEEDS for role in roles]
    for outcome in seen.outcomes:
        job = job_in(outcome.run, base)
        weights = {name: use.weight for name, use in job.tasks.items()}
        assert job.seed == outcome.member.seed
        if outcome.member.role == "all tasks":
            assert weights == dict.fromkeys(TASKS, 1)
        else:
            assert sum(weights.values()) == 2
            assert [*weights] == outcome.member.role.split("+")


def test_gains_are_what_the_reports_of_the_trainings_differ_by(seen):
    gains = {(gain["task"], gain["with"]): gain for gain in report_of(seen.run)["gains"]}

    assert gains.keys() == {*permutations(TASKS, 2)}
    for (one, other), gain in gains.items():
        role = "-".join(task for task in TASKS if task in (one, other))
        differences = [psnr_of(seen, role, seed, one) - psnr_of(seen, one, seed, one) for seed in SEEDS]
        assert gain["mean"] == pytest.approx(np.mean(differences), abs=1e-12)
        assert gain["deviation"] == pytest.approx(np.std(differences, ddof=1), abs=1e-12)
        assert gain["n"] == len(SEEDS)


def test_people_read_the_gains_row_by_row(seen):
    gains = {(gain["task"], gain["with"]): gain for gain in report_of(seen.run)["gains"]}

    table = table_of(page_of(seen.run), "task")

    for one in TASKS:
        assert table[one][f"with {one}"] == "–"
        for other in TASKS:
            if one != other:
                gain = gains[one, other]
                cell = f"{gain['mean']:+.3f} ± {gain['deviation']:.3f}"
                assert table[one][f"with {other}"] == (f"**{cell}**" if gain["verdict"] in ("higher", "lower") else cell)
    trained_alone = table_of(page_of(seen.run), "trained")["lowlight"]
    assert trained_alone["lowlight"] == f"{np.mean([psnr_of(seen, 'lowlight', seed, 'lowlight') for seed in SEEDS]):.3f}"
    assert trained_alone["denoise"] == "–"


def plain_gradient(model, task: str, degraded: torch.Tensor, clean: torch.Tensor) -> np.ndarray:
    """The gradient by the shared weights, which is that by the merged ones: dW_t/dW = 1."""
    merged = deepcopy(model.backbone)
    bias = model.bias(task)
    for name in bias.layout:
        product = bias.factor(name, "B1").flatten(1) @ bias.factor(name, "B2").flatten(1)
        merged.get_parameter(name).data.add_(product.view_as(merged.get_parameter(name)))
    merged.requires_grad_(True)
    ((merged(degraded) - clean) ** 2 + 1e-6).sqrt().mean().backward()
    return np.concatenate([weight.grad.double().numpy().ravel() for weight in merged.parameters()])


def test_cosines_are_those_of_gradients_of_a_plain_implementation(seen, base):
    told = {tuple(each["tasks"]): each["by_step"] for each in report_of(seen.run)["gradient_cosines"]}

    assert told.keys() == {*combinations(TASKS, 2)}
    found = []
    for seed in SEEDS:
        run = RunDir(seen.run.members / f"together-s{seed}")
        job = job_in(run, base)
        pairs = crops_of(job, TASKS, IMAGES, 32, base, run.tasks)
        model = load_biased_model(run.checkpoints / f"step-{STEPS}")
        one, other = (plain_gradient(model, task, *pairs[task]) for task in ("denoise", "lowlight"))
        found.append(one @ other / np.sqrt((one @ one) * (other @ other)))
    assert told["denoise", "lowlight"][str(STEPS)] == pytest.approx(np.mean(found), abs=1e-5)
    assert all([*by] == [str(step) for step in range(1, STEPS + 1)] for by in told.values())
    assert all(-1 <= value <= 1 for by in told.values() for value in by.values())


def test_the_proposal_trains_the_tasks_together_that_do_not_hurt_each_other(seen, base):
    report = report_of(seen.run)

    job = load_job(seen.run.path / "proposal.yaml", base=base).job

    assert isinstance(job, TrainJob)
    assert [*job.tasks] == report["proposal"]["tasks"]
    assert (job.name, job.storage, job.seed) == ("helps-proposal", "runs", 0)
    assert job.train.stages[0].steps == STEPS
    lower = {(gain["task"], gain["with"]) for gain in report["gains"] if gain["verdict"] == "lower"}
    assert not lower & {*permutations(job.tasks, 2)}


def test_one_pair_is_too_few_to_say_how_well_gradients_predict(seen):
    assert report_of(seen.run)["prediction"]["rho"] is None
    assert "One pair of tasks is too few to say." in page_of(seen.run)


def test_without_test_sets_it_is_refused_before_anything_is_trained(base):
    """There would be no gains."""
    shared = {key: each for key, each in BASE.items() if key not in ("tasks", "evaluate")}

    with pytest.raises(SpecError, match=r"evaluate\.sets"):
        given({"what": "interference", "tasks": TASKS, "base": shared}, base, "unmeasured")
