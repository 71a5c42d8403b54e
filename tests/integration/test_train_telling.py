"""What a session tells the exporter of metrics: the numbers that stand in its files, and those that no file holds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import NotFiniteError
from ipt_platform.observe import teller as module
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.observe.teller import Teller, Voice
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train import telling
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session
from ipt_platform.train.surroundings import Surroundings
from tests.exporter import Exporter, Samples

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 12
JOB_FILE = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "told",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "tasks": {"denoise": {"params": {"sigma": 25}}, "deblur": {"weight": 2}},
    "data": {"shards": ["shards/*.tar"], "carrier": "local", "max_bad": 1.0},
    "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 2}], "log_every": 2, "samples": 0},
    "evaluate": {"sets": ["test"], "every": 4},
    "checkpoint": {"every": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for seed in range(3):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    photograph(folder / "test" / "t.png", 9, 40, 48)
    pack(folder / "photos", folder / "shards")
    return folder


@pytest.fixture
def exporter(monkeypatch) -> Exporter:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(telling, "COSTLY_SECONDS", 0.0)
    return Exporter("1.0")


def job(**changes) -> TrainJob:
    parsed = JOB.validate_python({**JOB_FILE, **changes})
    assert isinstance(parsed, TrainJob)
    return parsed


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def poisoned(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    """A carrier whose fourth step holds what is no number."""
    for batch in made_here(maker, start, stop):
        if batch.step == 3:
            batch.tasks["denoise"][0][...] = np.nan
        yield batch


def train(told: TrainJob, run: RunDir, base: Path, exporter: Exporter | None, stream: OpenStream = made_here) -> None:
    """A session whose exporter was found before it began."""
    teller = Teller(lambda: exporter) if exporter else None
    if teller:
        teller._looked, teller._line = 0.0, exporter
    voice = Voice(teller, told.name)
    place = Place(run, run.new_attempt(), base, ALONE, torch.device("cpu"))
    try:
        Session(told, place, stream, surroundings=Surroundings(voice=voice)).train()
    finally:
        voice.close()


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted({"job": "told", **labels}.items()))))


def test_a_run_tells_what_its_files_say(base, tmp_path, exporter, weights):
    run, silent = create(tmp_path, "told"), create(tmp_path, "silent")
    train(job(), run, base, exporter)
    train(job(), silent, base, None)

    found = exporter.samples()
    lines = [line for line in read_metrics(run) if "loss" in line]
    last, scores = lines[-1], [line["evaluation"] for line in read_metrics(run) if "evaluation" in line]
    assert of(found, "ipt_train_steps_total") == of(found, "ipt_train_step_seconds_count") == STEPS
    assert of(found, "ipt_train_step") == of(found, "ipt_train_steps_planned") == STEPS
    assert of(found, "ipt_train_images_total") == of(found, "ipt_data_samples_total") == 2 * STEPS
    spent = sum(2 * 2 / line["images_per_second"] for line in lines)
    assert of(found, "ipt_train_seconds_total") == pytest.approx(spent)
    assert of(found, "ipt_train_step_seconds_sum") == pytest.approx(spent)
    waited = sum(2 * 2 / line["images_per_second"] * line["data_wait_share"] for line in lines)
    assert of(found, "ipt_train_data_wait_seconds_total") == pytest.approx(waited)
    for task in ("denoise", "deblur"):
        assert of(found, "ipt_train_loss", task=task) == last["loss"][task]
        assert of(found, "ipt_eval_psnr_db", task=task, set="test") == scores[-1]["test"][task]["psnr"]
        assert of(found, "ipt_eval_ssim", task=task, set="test") == scores[-1]["test"][task]["ssim"]
        best = max(each["test"][task]["psnr"] for each in scores)
        assert of(found, "ipt_eval_best_psnr_db", task=task, set="test") == best
        assert 0 < (of(found, "ipt_train_bias_weight_ratio", task=task) or 0) < 1
    norms = [of(found, "ipt_train_bias_grad_norm", task=task) or 0 for task in ("denoise", "deblur")]
    assert sum(norm**2 for norm in norms) ** 0.5 == pytest.approx(last["bias_grad_norm"], rel=1e-4)
    assert of(found, "ipt_train_grad_norm") == last["grad_norm"]
    assert of(found, "ipt_train_learning_rate", group="backbone") == last["lr"]
    assert of(found, "ipt_train_learning_rate", group="bias") == last["bias_lr"]
    assert 0 < (of(found, "ipt_train_rank_step_seconds", rank="0") or 0) < spent
    assert (of(found, "ipt_train_memory_bytes", kind="host") or 0) > 1 << 26
    assert of(found, "ipt_train_mfu_ratio") is None  # of a CPU no peak is known
    assert of(found, "ipt_train_info", backbone="iptv2-nano", precision="fp32") == 1
    commits = [event for event in read_events(run) if event["type"] == "checkpoint"]
    for phase in ("gather", "write"):
        assert of(found, "ipt_checkpoint_seconds_count", phase=phase) == len(commits)
    size = sum(path.stat().st_size for path in (run.checkpoints / f"step-{STEPS}").rglob("*") if path.is_file())
    assert of(found, "ipt_checkpoint_bytes") == size
    assert (of(found, "ipt_checkpoint_interval_seconds") or 0) > 0
    assert found[("ipt_exporter_dropped_total", (("reason", "invalid"),))] == 0
    # and telling changes nothing of what is trained
    assert weights(run, STEPS) == weights(silent, STEPS)


def test_an_attempt_after_a_damage_tells_of_it_and_goes_on_counting(base, tmp_path, exporter):
    run = create(tmp_path, "again")
    train(job(), run, base, exporter)
    shutil.rmtree(run.path / "report.json", ignore_errors=True)
    (run.checkpoints / f"step-{STEPS}" / "COMMIT").unlink()
    (run.checkpoints / "step-8" / "model.safetensors").write_bytes(b"damaged")
    train(job(), run, base, exporter)

    found = exporter.samples()
    assert of(found, "ipt_checkpoint_rejected_total", reason="uncommitted") == 1
    assert of(found, "ipt_checkpoint_rejected_total", reason="damaged") == 1
    assert of(found, "ipt_train_steps_total") == STEPS + STEPS - 4
    assert of(found, "ipt_train_attempt") == 2


def test_a_loss_that_is_not_finite_is_counted(base, tmp_path, exporter):
    with pytest.raises(NotFiniteError, match="step 3"):
        train(job(), create(tmp_path, "poisoned"), base, exporter, poisoned)

    found = exporter.samples()
    assert of(found, "ipt_train_nonfinite_total") == 1
    assert of(found, "ipt_train_step") == 2
