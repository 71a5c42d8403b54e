"""Where a job runs: the configuration file, RAY_ADDRESS, tokens that are named and never shown."""

import os
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.cluster.submit import load_for
from ipt_platform.cluster.target import ClusterEntry, Target, config_path, find_target, read_config
from ipt_platform.errors import NotFoundError, SpecError, UsageError

TOKEN = "planted-0123456789"
GPU = f'[clusters.gpu]\naddress = "https://ray.example:8265/"\ntoken = "env:GPU_TOKEN"\nstorage = "{Path("/shared/runs")}"\n'


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home folder of its own, and no cluster in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GPU_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def configure(text: str) -> None:
    config_path().parent.mkdir(parents=True, exist_ok=True)
    config_path().write_text(text)


def test_without_a_configuration_a_job_has_a_ray_of_its_own():
    assert find_target(None) is None


def test_a_cluster_is_found_by_its_name_with_its_token(home):
    configure(GPU)

    found = find_target("gpu")

    assert found is not None
    assert (found.name, found.address, found.token) == ("gpu", "https://ray.example:8265", TOKEN)
    assert found.token_from == "the environment variable GPU_TOKEN"


def test_the_order_is_name_then_ray_address_then_default(monkeypatch):
    configure('default = "gpu"\n' + GPU)
    assert getattr(find_target(None), "name", None) == "gpu"

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")  # of Ray itself: the driver connects to it, as before
    assert find_target(None) is None
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.7:8265")
    assert getattr(find_target(None), "address", None) == "http://10.0.0.7:8265"
    assert getattr(find_target("gpu"), "name", None) == "gpu"


def test_a_name_that_is_not_there_is_told_with_one_that_is_near():
    configure(GPU)

    with pytest.raises(NotFoundError, match=r"no cluster 'gpuu' in .*config.toml: did you mean gpu\?"):
        find_target("gpuu")


def test_local_is_told_how_to_start():
    with pytest.raises(NotFoundError, match="ipt-platform cluster up"):
        find_target("local")


def test_a_token_in_a_file_must_be_its_owners_alone(home):
    file = home / "gpu.token"
    file.write_text(f"{TOKEN}\n")
    configure(f'[clusters.gpu]\naddress = "http://h:8265"\ntoken = "file:{file}"\n')

    file.chmod(0o644)
    with pytest.raises(UsageError, match=f"chmod 600 {file}"):
        find_target("gpu")
    file.chmod(0o600)
    assert getattr(find_target("gpu"), "token", None) == TOKEN
    file.write_text("\n")
    with pytest.raises(NotFoundError, match="is empty"):
        find_target("gpu")
    file.unlink()
    with pytest.raises(NotFoundError, match="No such file"):
        find_target("gpu")


def test_a_token_that_the_environment_lacks_is_told(monkeypatch):
    configure(GPU)
    monkeypatch.delenv("GPU_TOKEN")

    with pytest.raises(NotFoundError, match="the environment has no GPU_TOKEN"):
        find_target("gpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[clusters.gpu]\nadress = 'http://h:8265'\n", "did you mean 'address'"),
        ("[clusters.gpu]\n", "address"),
        ("[clusters.gpu]\naddress = 'h:8265'\n", "expected the address of Ray's dashboard"),
        ("[clusters.gpu]\naddress = 'http://'\n", "expected the address of Ray's dashboard"),
        ("[clusters.GPU]\naddress = 'http://h:1'\n", "GPU"),
        ("clusters = 3\n", "clusters"),
        ("[clusters.gpu\n", "is no TOML"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_with_its_name(text, said):
    configure(text)

    with pytest.raises(SpecError, match=r"config\.toml") as caught:
        read_config()
    assert said in str(caught.value)


@given(
    word=st.sampled_from(["", "Bearer ", "token:", "ENV:"]),
    token=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12),
)
def test_a_token_written_into_the_file_is_refused_and_not_repeated(word, token):
    configure(f'[clusters.gpu]\naddress = "http://h:8265"\ntoken = "{word}{token}"\n')

    with pytest.raises(SpecError, match="never the secret itself") as caught:
        read_config()
    assert token not in str(caught.value)


def test_a_login_in_an_address_is_refused_and_not_repeated():
    configure(f'[clusters.gpu]\naddress = "http://me:{TOKEN}@h:8265"\n')

    with pytest.raises(SpecError, match="address") as caught:
        read_config()
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("address", [f"http://me:{TOKEN}@h:8265", "http://", "https:///", f"http-{TOKEN}@h"])
def test_a_wrong_ray_address_is_told_and_a_login_in_it_is_not_repeated(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)

    with pytest.raises(UsageError, match=r"^RAY_ADDRESS: expected (an|the) address") as caught:
        find_target(None)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("inside", ["\n", "\r\n", " ", "\x7f", "ö", "\udcff"])
@pytest.mark.parametrize("place", ["env", "file"])
def test_a_token_that_no_header_can_carry_is_told_and_not_repeated(home, monkeypatch, inside, place):
    token = f"{TOKEN}{inside}{TOKEN}"
    (home / "gpu.token").write_bytes(os.fsencode(token))
    (home / "gpu.token").chmod(0o600)
    monkeypatch.setenv("GPU_TOKEN", token)
    where = "env:GPU_TOKEN" if place == "env" else f"file:{home}/gpu.token"
    configure(f'[clusters.gpu]\naddress = "http://h:8265"\ntoken = "{where}"\n')

    with pytest.raises(UsageError, match=r"cluster gpu: what is in the .* is no token: expected one word") as caught:
        find_target("gpu")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_configuration_that_is_no_text_is_told():
    configure("")
    config_path().write_bytes(b'default = "\xff"')

    with pytest.raises(SpecError, match=r"config\.toml: is no UTF-8 \(invalid start byte at byte 11\)"):
        read_config()


def test_no_token_is_in_what_is_printed_of_a_cluster():
    assert TOKEN not in repr(Target("gpu", ClusterEntry(address="http://h:1"), TOKEN, "a file"))


# What the configuration says of jobs

JOB = """apiVersion: ipt/v1
kind: train
name: own
model: {backbone: iptv2-nano}
tasks: [denoise]
data: {shards: "shards/*.tar"}
train: {stages: [{steps: 4, patch: 32, images: 2}]}
"""


@pytest.fixture
def job(base, monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(base)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path / "job.yaml"


def target(**entry) -> Target:
    return Target("gpu", ClusterEntry(address="http://h:1", **entry))


def test_a_cluster_fills_in_what_job_and_command_line_leave_open(job):
    gpu = target(storage="/shared/runs", set=["cluster.gpus_per_worker=1", "train.precision=bf16"])

    found = load_for(gpu, job, ["train.precision=fp32"]).job

    assert found.storage == "/shared/runs"
    assert found.cluster.gpus_per_worker == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert found.train.precision == "fp32"  # pyright: ignore[reportAttributeAccessIssue]


def test_what_the_job_says_stands(job):
    job.write_text(JOB + "storage: own\ncluster: {workers: 2}\n")

    found = load_for(target(storage="/shared/runs", set=["cluster.workers=1"]), job, []).job

    assert found.storage == "own"
    assert found.cluster.workers == 2  # pyright: ignore[reportAttributeAccessIssue]


def test_what_a_kind_of_job_does_not_have_is_left_out(job):
    job.write_text("apiVersion: ipt/v1\nkind: evaluate\nname: own\ncheckpoint: other\ntasks: [denoise]\nsets: [test]\n")

    assert load_for(target(set=["cluster.gpus_per_worker=1"]), job, []).job.storage == "runs"


def test_a_value_that_no_job_can_have_is_told_by_where_it_stands(job):
    with pytest.raises(SpecError, match=r"cluster\.workers"):
        load_for(target(set=["cluster.workers=none"]), job, [])


def test_nothing_is_left_in_the_home_folder(home):
    configure(GPU)
    find_target("gpu")

    assert [path.name for path in home.iterdir()] == ["config"]
