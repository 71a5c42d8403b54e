"""A task that reads pairs, trained and measured beside one that degrades: as a session, and as `evaluate` shows it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.cli.main import app
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.errors import CancelledRunError, UsageError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

TASK = (
    "{apiVersion: ipt/v1, kind: task, name: shade, description: Pictures in the dark., stage: downstream, pairs: pairs/*.tar}"
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Photographs; and pairs whose degraded half has half the brightness, one of them damaged."""
    folder = tmp_path_factory.mktemp("base")
    rows, columns = np.mgrid[:50, :60] / 9
    for number in range(6):
        waves = np.dstack([np.sin(rows * (1 + number / 5)), np.cos(columns), np.sin(rows + columns * number / 4)])
        pixels = (127 + 100 * waves).astype(np.uint8)
        for half, picture in (("bright", pixels), ("dark", pixels // 2)):
            part = "test" if number > 3 else "train"
            (folder / part / half).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / part / half / f"{number}.png")
    pack(folder / "train/bright", folder / "shards")
    (shard,) = pack_pairs(folder / "train/dark", folder / "train/bright", folder / "pairs")[0].shards
    pack_pairs(folder / "test/dark", folder / "test/bright", folder / "test-pairs")
    (folder / "tasks").mkdir()
    (folder / "tasks/shade.yaml").write_text(TASK)
    index = json.loads(Path(f"{shard}.index.json").read_text())
    with shard.open("r+b") as file:
        file.seek(index["members"][1]["degraded"]["offset"] + 60)
        file.write(bytes(60))
    return folder


JOB_SPEC = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "paired",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
    "tasks": {"denoise": {"params": {"sigma": 25}}, "shade": None},
    "data": {"shards": "shards/*.tar", "carrier": "local", "max_bad": 0.9},
    "train": {"stages": [{"steps": 4, "patch": 32, "images": 1}], "schedule": {"warmup": 1}, "log_every": 1, "samples": 1},
    "evaluate": {"sets": ["test/bright", "test-pairs"]},
    "checkpoint": {"every": 100},
}


def session(run: RunDir, base: Path, stop_at: int = -1) -> Session:
    job = JOB.validate_python(JOB_SPEC)
    assert isinstance(job, TrainJob)

    def stream(maker, start, stop):
        for step in range(start, stop):
            if step == stop_at:
                run.request_stop("enough for today")
            yield maker.make(step)

    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), stream)


def weights(run: RunDir) -> dict[str, bytes]:
    checkpoint = run.checkpoints / "step-4"
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def straight(base) -> tuple[RunDir, dict]:
    torch.set_num_threads(1)
    run = create(base / "runs", "straight")
    return run, session(run, base).train()


def test_each_task_is_trained_on_its_own_and_measured_where_it_can_be(straight):
    run, report = straight

    assert {name: list(tasks) for name, tasks in report["sets"].items()} == {
        "test/bright": ["denoise"],
        "test-pairs": ["shade"],
    }
    assert report["sets"]["test-pairs"]["shade"]["n"] == 2
    losses = [line["loss"] for line in read_metrics(run) if "loss" in line]
    assert all(loss.keys() == {"denoise", "shade"} for loss in losses)
    assert losses[0]["shade"] > 2 * losses[0]["denoise"]  # half of the light is gone
    assert {path.name for path in run.samples(4).glob("*.png")} == {"test_bright-denoise-4.png", "test-pairs-shade-4.png"}
    bad = [event for event in read_events(run) if event["type"] == "bad-sample"]
    assert [(event["key"], event["reason"].split(":")[0]) for event in bad] == [("1", "degraded half")]


def test_a_stopped_run_goes_on_with_the_same_pairs_bit_for_bit(straight, base, tmp_path):
    run = create(tmp_path, "again")
    with pytest.raises(CancelledRunError):
        session(run, base, stop_at=1).train()
    assert [info.step for info in list_checkpoints(run.path)] == [2]

    session(run, base).train()

    assert weights(run) == weights(straight[0])


def evaluate(*arguments: str):
    result = CliRunner().invoke(app, ["evaluate", "straight", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.usefixtures("straight")
def test_evaluate_measures_pairs_as_they_are(base, monkeypatch):
    monkeypatch.chdir(base)
    found = json.loads(evaluate("--set", "test-pairs", "--set", "test/bright", "--json").stdout)

    assert {name: list(tasks) for name, tasks in found["sets"].items()} == {"test-pairs": ["shade"], "test/bright": ["denoise"]}
    assert found["pairs"] == ["test-pairs"]
    pixels = [
        [np.asarray(Image.open(base / f"test/{half}/{number}.png")) / 255 for half in ("dark", "bright")] for number in (4, 5)
    ]
    before = np.mean([-10 * np.log10(np.mean((dark - bright) ** 2)) for dark, bright in pixels])
    assert found["sets"]["test-pairs"]["shade"]["psnr_input"] == pytest.approx(before)
    said = evaluate("--set", "test-pairs", "--task", "denoise").stdout  # asked for by name, so measured on these pairs
    assert "test set test-pairs, denoise pairs as they are: " in said


@pytest.mark.usefixtures("straight")
def test_evaluate_refuses_what_says_nothing(base, monkeypatch):
    monkeypatch.chdir(base)
    with pytest.raises(UsageError, match="test set test/bright holds clean pictures, which shade cannot degrade"):
        evaluate("--set", "test/bright", "--task", "shade")
    with pytest.raises(UsageError, match="--param has no effect on the pairs of test-pairs"):
        evaluate("--set", "test-pairs", "--task", "denoise", "--param", "sigma=15")
