"""`ipt-platform render`: what it prints, what it writes, and what it says of wrong options."""

import json
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from ipt_platform.cli.main import main
from ipt_platform.spec.load import load_job
from tests.unit.kubernetes_objects import refused
from tests.unit.render_jobs import ANALYZE, EVALUATE, RESTORE, TRAIN, TUNE

KUBERAY = ("--target", "kuberay", "--image", "registry.example/ipt:1", "--run", "first")
CLAIM = ("--volume-claim", "photographs:/data")
RAY_UP = ("--target", "ray-up", "--image", "registry.example/ipt:1", "--run", "first")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(TRAIN))
    return tmp_path


def render(*words: str) -> int:
    try:
        main(["render", "job.yaml", *words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_manifest_goes_to_stdout_and_is_one_that_kubernetes_takes(here, capsys):
    code = render(*KUBERAY, *CLAIM, "--queue", "a100", "--set", "seed=7")

    config, job = yaml.safe_load_all(capsys.readouterr().out)
    assert code == 0
    assert [refused(config), refused(job)] == [[], []]
    assert yaml.safe_load(config["data"]["job.yaml"])["seed"] == 7
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "a100"


def test_the_job_in_the_manifest_can_be_submitted_on_the_volume(here, capsys):
    render(*KUBERAY, *CLAIM)
    config, _ = yaml.safe_load_all(capsys.readouterr().out)
    (here / "resolved.yaml").write_text(config["data"]["job.yaml"])

    assert load_job("resolved.yaml", data_here=False).job == load_job("job.yaml", data_here=False).job


def test_a_file_is_written_and_written_again_but_never_in_the_place_of_anothers(here, capsys):
    assert render(*KUBERAY, *CLAIM, "-o", "out.yaml") == 0
    first = (here / "out.yaml").read_text()
    told = capsys.readouterr().out
    assert render(*KUBERAY, *CLAIM, "-o", "out.yaml", "--retries", "5") == 0
    assert "kubectl apply -f out.yaml" in told
    assert (here / "out.yaml").read_text() != first

    before = (here / "job.yaml").read_bytes()
    assert render(*KUBERAY, *CLAIM, "-o", "job.yaml") == 4
    assert (here / "job.yaml").read_bytes() == before
    assert render(*KUBERAY, *CLAIM, "-o", "no/such/out.yaml") == 2


def test_zero_is_a_number_like_others(here, capsys):
    assert render(*KUBERAY, *CLAIM, "--retries", "0", "--keep", "0") == 0

    _, job = yaml.safe_load_all(capsys.readouterr().out)
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 0)


def test_json_has_the_documents_and_nothing_else_on_stdout(here, capsys):
    assert render(*RAY_UP, "--ami", "ami-0123456789abcdef0", "--efs", "fs-0123abcd:/data", "-o", "c.yaml", "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["target"], said["run"], said["file"]) == ("ray-up", "first", "c.yaml")
    assert said["documents"] == [*yaml.safe_load_all((here / "c.yaml").read_text())]
    assert said["commands"][0] == "ray up -y c.yaml"


def test_without_an_id_the_run_has_the_job_s_name_and_the_time(here, capsys):
    assert render("--target", "kuberay", "--image", "i", *CLAIM, "--json") == 0

    assert json.loads(capsys.readouterr().out)["run"].startswith("tiny-20")


@pytest.mark.parametrize("job", [TRAIN, TUNE, ANALYZE, RESTORE, EVALUATE], ids=lambda job: job["kind"])
def test_every_kind_of_job_becomes_a_manifest_without_a_secret(here, capsys, monkeypatch, job):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, f"PLANTED-{name}")
    (here / "job.yaml").write_text(yaml.safe_dump(job))

    assert render(*KUBERAY, *CLAIM, "--storage-secret", "bucket", "--service-account", "trainer") == 0
    kuberay = capsys.readouterr().out
    assert render(*RAY_UP, "--ami", "ami-0123456789abcdef0", "--efs", "fs-0123abcd:/data") == 0
    ray_up = capsys.readouterr().out

    assert [refused(each) for each in yaml.safe_load_all(kuberay)] == [[], []]
    validate_config(prepare_config(yaml.safe_load(ray_up)))
    assert "PLANTED" not in kuberay + ray_up


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "kuberais", "--image", "i"), "did you mean 'kuberay'"),
        (KUBERAY, "storage: 'runs' is a path of this machine"),
        ((*KUBERAY, *CLAIM, "--run", "no run"), "no run id"),
        ((*KUBERAY, *CLAIM, "--region", "us-east-1"), "--region says nothing to --target kuberay"),
        ((*RAY_UP, "--ami", "ami-01234567", "--queue", "a"), "--queue says nothing to --target ray-up"),
        (RAY_UP, "needs --ami"),
        ((*KUBERAY, *CLAIM, "--set", "cluster.gpus_per_worker=16"), "cluster.gpus_per_worker: one process asks for 16 GPUs"),
        ((*KUBERAY, *CLAIM, "--set", "storage=/other/runs"), "does not lie on the volume that is mounted at /data"),
        ((*KUBERAY, "--volume-claim", "photographs"), "--volume-claim: expected NAME:/path"),
        ((*KUBERAY, *CLAIM, "--tolerate", "a b"), "--tolerate: expected KEY"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(here, capsys, words, said):
    assert render(*words, "-o", "out.yaml") == 2

    assert said in capsys.readouterr().err
    assert not (here / "out.yaml").exists()
