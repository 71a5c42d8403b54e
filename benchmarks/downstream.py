"""How much of a full finetune's gain a bias alone brings a new task on a trained backbone, and with how few parameters.

For each task two models learn from the same batches, a step of one and a step of the other in turn: one finetunes every weight
of the backbone, the other leaves it as it is and learns a bias. Each has its own learning rate, the same for all tasks; loss,
schedule, averaging and clipping are the same. Then the averaged weights of both, and the backbone alone, restore the whole
pictures of a test set under frozen degradations. The gain is over the degraded picture, as the field states it; what both gain
over the backbone alone is in the table.

Wanted is a backbone that never saw these tasks, from a job of its own:

    ipt-platform data pack PHOTOS datasets/photographs
    ipt-platform submit jobs/elementary.yaml --run elementary
    python -m benchmarks.downstream --backbone elementary --shards "datasets/photographs/*.tar" --test TEST
"""

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measure import Figure, Rows, count, finish, machine, note, parser, run_script
from benchmarks.training import SHARDS, Trainer, in_turn, quickstart_job
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.evaluate.run import evaluate_model, summarise
from ipt_platform.evaluate.testset import TestSet, frozen_task, open_testset
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.counts import count_parameters
from ipt_platform.restore.tiles import restore_array
from ipt_platform.spec.dataset import resolve_set
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.frozen import backbone_at

CPU = torch.device("cpu")
PROTOCOL = "rgb-uint8"
SHARE_OF_GAIN, SHARE_OF_PARAMETERS = 0.8, 0.1


@dataclass(frozen=True)
class Outcome:
    """What one task came to, in dB: degraded pictures, restored by the backbone alone, its bias, a full finetune."""

    task: str
    degraded: float
    alone: float
    bias: float
    full: float

    @property
    def share(self) -> float:
        """The bias's share of the full finetune's gain over the degraded pictures."""
        return (self.bias - self.degraded) / (self.full - self.degraded)

    @property
    def share_over_backbone(self) -> float:
        """The same, of the gain over the backbone alone."""
        return (self.bias - self.alone) / (self.full - self.alone)


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    before = machine()
    backbone = backbone_at(arguments.backbone, Path(arguments.storage), Path()).backbone
    testset = open_testset(arguments.test, resolve_set(arguments.test, Path()))
    trained = {task: _train(_job(arguments, task), backbone) for task in arguments.tasks}
    outcomes = [_measure(task, backbone, trainers, testset) for task, trainers in trained.items()]
    of_bias, of_backbone = (
        count_parameters(part) for part in (trained[arguments.tasks[0]]["bias"].state.model.biases, backbone)
    )
    finish(
        arguments,
        before,
        [
            *(Figure(f"{each.task}: the bias's share of the gain", each.share, at_least=SHARE_OF_GAIN) for each in outcomes),
            Figure("parameters of a bias over all weights", of_bias / of_backbone, at_most=SHARE_OF_PARAMETERS),
        ],
        pictures=_table(outcomes),
    )


def _train(job: TrainJob, backbone: torch.nn.Module) -> dict[str, Trainer]:
    """Both sides of a task, trained: "bias" and "full"."""
    (task,) = job.tasks
    full = BiasedModel(copy.deepcopy(backbone).requires_grad_(True), {})
    trainers = {"bias": Trainer.of_biases(job, backbone, CPU), "full": Trainer.of_model(job, full, CPU)}
    maker, steps = batch_maker(job, Path(), rank=0, world=1), job.train.stages[0].steps
    for step in range(steps):
        batch = maker.make(step)
        for trainer in in_turn(list(trainers.values()), step):
            trainer.step(batch)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            note(f"{task}: step {step + 1}/{steps}")
    return trainers


def _measure(task: str, backbone: torch.nn.Module, trainers: dict[str, Trainer], testset: TestSet) -> Outcome:
    frozen = frozen_task(task)
    models = {"alone": BiasedModel(backbone, {}), **{name: each.state.best_model for name, each in trainers.items()}}
    found = {}
    for name, model in models.items():
        restorer = merged_for(model, task)
        scores = evaluate_model(lambda x, restorer=restorer: restore_array(restorer, x, CPU), testset, frozen, PROTOCOL)
        found[name] = summarise(scores)
        note(f"{task}, {name}: {found[name]}")
    return Outcome(task, found["alone"]["psnr_input"], **{name: each["psnr"] for name, each in found.items()})


def _table(outcomes: list[Outcome]) -> Rows:
    return [
        {
            "task": each.task,
            "degraded_db": each.degraded,
            "backbone_db": each.alone,
            "bias_db": each.bias,
            "full_db": each.full,
            "share_of_gain": each.share,
            "share_of_gain_over_backbone": each.share_over_backbone,
            "protocol": PROTOCOL,
        }
        for each in outcomes
    ]


def _job(arguments: argparse.Namespace, task: str) -> TrainJob:
    return quickstart_job(
        {
            "seed": arguments.seed,
            "model.bias.rank": arguments.rank,
            **({"model.bias.targets": arguments.targets} if arguments.targets else {}),
            "tasks": {task: {}},
            "data.shards": arguments.shards,
            "train.stages": [{"steps": arguments.steps, "patch": arguments.patch, "images": arguments.images}],
            "train.optimizer.lr": arguments.lr,
            "train.optimizer.bias_lr": arguments.bias_lr,
            "train.optimizer.grad_clip": arguments.grad_clip,
            "train.optimizer.bias_grad_clip": arguments.grad_clip,
            "train.schedule.warmup": min(arguments.warmup, arguments.steps - 1),
            "train.ema": arguments.ema,
            "evaluate.sets": [],
        }
    )


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="elementary", help="a run, a checkpoint or a backbone pack (default: %(default)s)")
    made.add_argument("--storage", default="runs", help="folder of runs (default: %(default)s)")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--test", default="sample-test", help="test set (default: %(default)s)")
    made.add_argument("--tasks", nargs="+", default=["derain", "dehaze", "desnow"], help="default: %(default)s")
    made.add_argument("--targets", nargs="+", metavar="GROUP", help="layer groups of the bias (default: the platform's)")
    whole = {"steps": 500, "images": 4, "patch": 64, "rank": 16, "warmup": 20, "threads": 2}
    rates = {"lr": 2e-3, "bias-lr": 4e-3, "grad-clip": 0.02, "ema": 0.99}
    for name, default in whole.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    for name, default in rates.items():
        made.add_argument(f"--{name}", type=float, default=default, help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    run_script(main)
