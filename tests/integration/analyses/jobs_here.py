"""Analyses done in this process: each of their jobs is trained by a session, without Ray. And what they have written, read."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

from ipt_platform.checkpoint.files import commit, newest
from ipt_platform.checkpoint.state import load_biased_model, state_files
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import AnalyzeJob, LearningJob
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.spec.members import member_chains
from ipt_platform.train.given import begin_run, keeper
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from ipt_platform.train.slots import Slots
from ipt_platform.tune.analyze import Analysis, analyze
from ipt_platform.tune.members import Crew
from ipt_platform.tune.whole import attempt_at

BACKBONE = "iptv2-nano"
BASE = {
    "kind": "train",
    "model": {"backbone": BACKBONE, "bias": {"rank": 2}},
    "tasks": ["denoise", "jpeg"],
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {
        "stages": [{"steps": 4, "patch": 32, "images": 2}],
        "optimizer": {"lr": 5.0e-3, "bias_lr": 5.0e-3},
        "schedule": {"warmup": 0},
        "ema": None,
        "samples": 0,
    },
    "evaluate": {"sets": ["test"]},
}
"""What trainings share, as an analysis has it."""

MIXED = {**BASE, "train": {**BASE["train"], "mode": "mixed"}}
"""The same, with one plain backbone for all tasks."""


def make_base(folder: Path, photograph: Callable[..., None]) -> Path:
    """A working directory with shards of four photographs, and a test set of two."""
    for seed in range(4):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    for seed in range(2):
        photograph(folder / "test" / f"t{seed}.png", 9 + seed, 40, 48)
    pack(folder / "photos", folder / "shards")
    return folder


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def train_here(base: Path) -> Callable[[LearningJob, RunDir], None]:
    """What trains a job in its run to its end, in the place of `train.driver.run_training`."""

    def train(job: LearningJob, run: RunDir) -> None:
        Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), made_here).train()

    return train


def given(value: dict[str, Any], base: Path, name: str) -> Analysis:
    """An analysis as a submission leaves it, of which no job is trained yet: what is read is the job that its run keeps."""
    file = base / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "ipt/v1", "kind": "analyze", "name": name, **value}, sort_keys=False))
    loaded, run = load_job(file, base=base), create(base / "runs", name)
    begin_run(loaded.job, run, keeper(loaded, run, base))
    kept = load_job(run.job, base=base)
    assert isinstance(kept.job, AnalyzeJob)
    return Analysis(kept, run, base, (), 0)


def trained(value: dict[str, Any], base: Path, name: str) -> Analysis:
    """An analysis whose jobs were trained here, one at a time."""
    new = given(value, base, name)
    chains = member_chains(new.document, str(new.run.members), base / new.job.storage)
    with attempt_at(new.run, base, None, sum(map(len, chains))) as whole:
        outcomes = Crew(whole, train_here(base), 1).work(chains)
    return Analysis(new.loaded, new.run, base, outcomes, whole.attempt)


def of_named(value: dict[str, Any], base: Path, name: str) -> RunDir:
    """The run of an analysis of weights that are there already, done as a submission does it."""

    def no_ray(slots: Slots) -> Any:
        raise AssertionError(f"nothing is trained, and Ray was asked for {slots}")

    new = given(value, base, name)
    analyze(new.loaded, new.run, base, None, no_ray)
    return new.run


def moved(backbone: IPTV2, deltas: Mapping[str, torch.Tensor]) -> IPTV2:
    """A copy in which some weights are others, by what is added to them."""
    copy = deepcopy(backbone)
    with torch.no_grad():
        for name, delta in deltas.items():
            copy.get_parameter(name).add_(delta)
    return copy


def keep_weights(backbone: IPTV2, base: Path, name: str, job: LearningJob) -> RunDir:
    """A run with this backbone in its only checkpoint, as if the job had made it."""
    run, model = create(base / "runs", name), BiasedModel(backbone, {})
    run.job.write_text(dump_job(job))
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=1, backbone=BACKBONE, progress={})
    commit(run.checkpoints, 1, files, nullcontext)
    return run


def model_in(run: RunDir) -> BiasedModel:
    """The model of a run's newest checkpoint."""
    checkpoint, damaged = newest(run.path)
    assert checkpoint
    assert not damaged
    return load_biased_model(checkpoint)


def backbone_in(run: RunDir) -> IPTV2:
    """The backbone of a run's newest checkpoint."""
    backbone = model_in(run).backbone
    assert isinstance(backbone, IPTV2)
    return backbone


def report_of(run: RunDir) -> dict[str, Any]:
    """The report of a run, which must be JSON as the standard has it: without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"JSON knows no {word}")

    return json.loads(run.report.read_bytes(), parse_constant=refuse)


def page_of(run: RunDir) -> str:
    """The report for people."""
    return (run.path / "report.md").read_text()


def table_of(page: str, first: str) -> dict[str, dict[str, str]]:
    """The rows of the Markdown table whose first column has this heading, by their first cell."""
    lines = page[page.index(f"| {first} |") :].split("\n\n")[0].strip().splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return [*csv.DictReader(file.open(newline=""))]


def size_of_png(file: Path) -> tuple[int, int]:
    """Width and height of a picture that must be a whole PNG."""
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture.size
