"""The key `track` of a job, and what a machine needs to do what it says."""

import json
import subprocess
import sys

import pytest

from ipt_platform.cluster.submit import prepare_run, resume_run
from ipt_platform.errors import RefusedError, UsageError
from ipt_platform.spec.compound import as_finetune
from ipt_platform.spec.job import JOB, FinetuneJob
from ipt_platform.spec.load import LoadedJob, job_changes, job_diff
from ipt_platform.spec.source import Document
from ipt_platform.spec.track import MlflowSpec, TrackSpec
from ipt_platform.track.mlflow import ADDRESS_VARIABLE
from ipt_platform.track.reports import scalars
from ipt_platform.track.trackers import check_trackers, tracking_of
from tests.jobs import small_job

MLFLOW = {"track": {"mlflow": True}}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ({}, TrackSpec()),
        ({"tensorboard": True}, TrackSpec(tensorboard=True)),
        ({"mlflow": True}, TrackSpec(mlflow=MlflowSpec())),
        ({"mlflow": False}, TrackSpec()),
        ({"mlflow": None}, TrackSpec()),
        ({"mlflow": {"experiment": "rain"}}, TrackSpec(mlflow=MlflowSpec(experiment="rain"))),
    ],
)
def test_a_switch_each(value, meant):
    job = small_job(track=value)

    assert job.track == meant
    assert JOB.validate_python(job.model_dump(mode="json")) == job


@pytest.mark.parametrize("value", [{"mlflow": {"uri": "https://elsewhere.example"}}, {"mlflow": "yes"}, {"wandb": True}])
def test_a_job_cannot_say_where_its_reports_go(value):
    with pytest.raises(ValueError, match="track"):
        small_job(track=value)


def test_trackers_are_no_change_of_what_a_job_does():
    before, after = small_job(), small_job(**MLFLOW)

    assert job_diff(before, after) == []
    assert [change.path for change in job_changes(before, after)] == ["track.mlflow", "track.mlflow.experiment"]
    assert job_diff(before, small_job(seed=1, **MLFLOW)) == ["seed: 0 -> 1"]


def test_a_finetune_over_a_training_keeps_its_trackers():
    whole = small_job(track={"tensorboard": True}).model_dump(mode="json")

    value = as_finetune(whole) | {"kind": "finetune", "backbone": "some-run"}

    job = JOB.validate_python(value)
    assert isinstance(job, FinetuneJob)
    assert job.track.tensorboard


def test_a_submission_with_other_trackers_goes_on_with_them_and_so_does_what_resumes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    loaded = [LoadedJob(small_job(**values), Document({}, {}, "job.yaml")) for values in ({}, MLFLOW, {})]

    run = prepare_run(loaded[0], "rain", tmp_path)
    assert tracking_of(run, loaded[0].job) == TrackSpec()
    for each in loaded[1:]:
        assert prepare_run(each, "rain", tmp_path) == run
        assert tracking_of(run, resume_run(run, tmp_path)) == each.job.track
    with pytest.raises(RefusedError, match="seed: 0 -> 1"):
        prepare_run(LoadedJob(small_job(seed=1), loaded[0].document), "rain", tmp_path)


def test_mlflow_without_an_address_or_with_a_login_in_it_is_refused(monkeypatch):
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    with pytest.raises(UsageError, match=ADDRESS_VARIABLE):
        check_trackers(small_job(**MLFLOW))

    monkeypatch.setenv(ADDRESS_VARIABLE, "https://me:hunter2@mlflow.example")
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_TOKEN") as met:
        check_trackers(small_job(**MLFLOW))
    assert "hunter2" not in str(met.value)

    monkeypatch.setenv(ADDRESS_VARIABLE, "https://mlflow.example")
    check_trackers(small_job(**MLFLOW))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told_with_the_command_that_installs_it(name):
    code = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == '{name}': raise ModuleNotFoundError(name)\n"
        "import importlib.util\n"
        "import ipt_platform.track.trackers as trackers\n"
        f"real = importlib.util.find_spec\n"
        f"trackers.find_spec = lambda asked: None if asked == '{name}' else real(asked)\n"
        "from ipt_platform.spec.track import MlflowSpec, TrackSpec\n"
        "trackers.check(TrackSpec(tensorboard=True, mlflow=MlflowSpec()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"pip install 'ipt-platform[{name}]'" in done.stderr


def test_a_search_tells_the_trackers_of_its_jobs(tmp_path, monkeypatch):
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    base = small_job(**MLFLOW).model_dump(mode="json", exclude={"apiVersion", "name", "storage", "seed"})
    search = {"space": {"model.bias.rank": {"choices": [2, 4]}}, "searcher": "grid"}
    job = JOB.validate_python({"apiVersion": "ipt/v1", "kind": "tune", "name": "s", "base": base, "search": search})

    with pytest.raises(UsageError, match=ADDRESS_VARIABLE):
        check_trackers(job)


def test_names_of_numbers():
    line = json.loads(
        '{"time": "t", "attempt": 1, "step": 3, "steps": 9, "loss": {"a": 1}, "lr": null, "flag": true, "eta": 2}'
    )

    assert scalars(line) == {"loss/a": 1.0, "eta": 2.0}
    measured = {"evaluation": {"s": {"a": {"psnr": None, "psnr_input": 20.5, "ssim": 0.5, "n": 2}}}, "step": 3}
    assert scalars(measured) == {"psnr_input/s/a": 20.5, "ssim/s/a": 0.5}
