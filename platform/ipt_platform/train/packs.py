"""What a finetune leaves: the bias pack of each of its tasks, with what it was measured to do and where it came from."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ipt_platform import __version__
from ipt_platform.checkpoint.backbone import read_backbone
from ipt_platform.checkpoint.durable import write_folder
from ipt_platform.evaluate.metrics import json_number
from ipt_platform.evaluate.report import rows_of
from ipt_platform.evaluate.testset import FrozenTask, TestSet
from ipt_platform.observe.events import utc_now
from ipt_platform.observe.rundir import RunDir
from ipt_platform.registry.about import Facts, Lineage, Measured, OnBackbone
from ipt_platform.registry.pack import pack_files
from ipt_platform.spec.job import FinetuneJob
from ipt_platform.spec.task import load_task
from ipt_platform.train.evaluation import SetScores, sample_name
from ipt_platform.train.state import TrainState


def packs_of(
    job: FinetuneJob,
    run: RunDir,
    attempt: int,
    base: Path,
    state: TrainState,
    scores: SetScores,
    testsets: Sequence[TestSet],
    tasks: Sequence[FrozenTask],
    clock: Callable[[], datetime] = utc_now,
) -> dict[str, dict[str, bytes]]:
    """The files of the pack of each task.

    Args:
        job: the resolved job.
        run: its run, which holds the backbone and the triptychs of the last step.
        attempt: the attempt that packs.
        base: what relative paths of the job are relative to.
        state: at the end.
        scores: what was measured at the end.
        testsets: on which sets.
        tasks: the tasks as the sets know them.
        clock: gives the time of the packs.
    """
    info = read_backbone(run.backbone)
    created = clock().isoformat(timespec="milliseconds")
    found = {}
    for task in tasks:
        spec, params = load_task(task.name, base, run.tasks), job.tasks[task.name].params
        facts = Facts(
            task=task.name,
            backbone=OnBackbone(name=info.name, fingerprint=info.fingerprint, checkpoint=info.lineage.get("source", "")),
            **dict(job.bias),
            upscale=1 if spec.pairs else spec.training(params).upscale,
            quantize=spec.quantize,
            metrics=tuple(_measured(task, scores, testsets, job.evaluate.protocol)),
            lineage=Lineage(run=run.id, attempt=attempt, step=state.step, job=job.model_dump(mode="json"), version=__version__),
            created=created,
        )
        found[task.name] = pack_files(state.best_model.bias(task.name), facts, _triptychs(run, state.step, task, testsets, job))
    return found


def keep_packs(run: RunDir, packs: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write the packs of a run that is about to finish; those of an attempt that died before it had finished go."""
    for task, files in packs.items():
        shutil.rmtree(run.pack(task), ignore_errors=True)
        write_folder(run.pack(task), files)


def _measured(task: FrozenTask, scores: SetScores, testsets: Sequence[TestSet], protocol: Any) -> Iterator[Measured]:
    for testset in testsets:
        for row in rows_of(
            {testset.name: {name: numbers for name, numbers in scores[testset.name].items() if name == task.name}}
        ):
            yield Measured(
                set=row.set,
                digest=testset.digest(task),
                protocol=protocol,
                params={} if testset.paired else task.params,
                psnr=json_number(row.psnr),
                psnr_input=json_number(row.psnr_input),
                gain=json_number(row.gain),
                ssim=row.ssim,
                n=row.n,
            )


def _triptychs(run: RunDir, step: int, task: FrozenTask, testsets: Sequence[TestSet], job: FinetuneJob) -> dict[str, bytes]:
    """The pictures that `evaluation.sample_writer` has left of the last evaluation, by name."""
    found = {}
    for testset in testsets:
        for index in range(min(len(testset), job.train.samples)):
            path = run.samples(step) / f"{sample_name(testset, task, testset.pictures.read(index).key)}.png"
            if path.is_file():
                found[path.name] = path.read_bytes()
    return found
