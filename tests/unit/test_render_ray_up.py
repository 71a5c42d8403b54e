"""A job as a cluster file for `ray up`: what Ray itself says of it, and what it must hold."""

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from ipt_platform import __version__
from ipt_platform.cluster.render.options import Mount
from ipt_platform.cluster.render.ray_up import HOME, TOKEN_FILE, RayUpOptions, how_to_use, render_ray_up
from ipt_platform.cluster.render.shape import Shape
from ipt_platform.errors import UsageError

OPTIONS = RayUpOptions(image="registry.example/ipt-platform:0.1.0", ami="ami-0123456789abcdef0")
FULL = RayUpOptions(
    image=OPTIONS.image,
    ami=OPTIONS.ami,
    region="eu-central-1",
    machine="p4d.24xlarge",
    spot=True,
    token_file="token",
    file_system=Mount("fs-0123abcd", "/data"),
    wheel="dist/ipt_platform-0.1.0-py3-none-any.whl",
    instance_profile="reads-bucket",
    idle_minutes=7,
)
JOB = "kind: train\nname: 'it''s'\n"


def rendered(shape: Shape = Shape(64, 11.5, 1), options: RayUpOptions = FULL) -> dict[str, Any]:  # noqa: B008 (frozen)
    return render_ray_up(JOB, "sync-1", shape, options, __version__)


@pytest.mark.parametrize("options", [OPTIONS, FULL], ids=["least", "full"])
@pytest.mark.parametrize("shape", [Shape(64, 11.5, 1), Shape(0), Shape(3, 1, 0.25)], ids=["64", "evaluation", "parts"])
def test_ray_takes_the_file(options, shape):
    config = rendered(shape, options)

    validate_config(prepare_config(json.loads(json.dumps(config))))  # fills in defaults, then Ray's own schema


def test_what_judges_it_would_find_a_mistake():
    for wrong in ({"dashboard": True}, {"max_workers": 3}, {"available_node_types": {"head": {"node_config": {}}}}):
        with pytest.raises(Exception, match=r"."):  # of several kinds
            validate_config({"cluster_synced_files": [], **rendered(), **wrong})


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        (Shape(64, 11.5, 1), 8),
        (Shape(9, 1, 1), 2),
        (Shape(4, 1, 2), 1),
        (Shape(3, 1, 5), 3),  # two of five GPUs do not fit into eight
        (Shape(8, 24, 1), 2),  # four of 24 cores fill the 96 of a machine
        (Shape(0), 0),
    ],
)
def test_as_many_machines_as_hold_the_processes(shape, nodes):
    config = rendered(shape)
    workers = config["available_node_types"]["a100"]

    assert (config["max_workers"], workers["min_workers"], workers["max_workers"]) == (nodes, nodes, nodes)
    assert config["idle_timeout_minutes"] == 7


def test_workers_may_be_spot_machines_and_the_head_never_is():
    types = rendered()["available_node_types"]

    assert types["a100"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert "InstanceMarketOptions" not in rendered(options=OPTIONS)["available_node_types"]["a100"]["node_config"]
    assert types["head"]["resources"] == {"CPU": 0}  # nothing is trained on it
    assert types["a100"]["node_config"]["InstanceType"] == "p4d.24xlarge"


def test_nothing_starts_without_the_token_and_no_dashboard_is_public():
    config = rendered()
    head, workers = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]

    for start in (head, workers):
        assert f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={TOKEN_FILE} " in start
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in json.dumps(config)
    assert config["file_mounts"][TOKEN_FILE] == "token"  # the name of the file, not what stands in it
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


def test_the_job_arrives_as_it_was(tmp_path):
    (command,) = rendered()["head_setup_commands"]
    path = tmp_path / "job.yaml"

    subprocess.run(["bash", "-c", command.replace(f"{HOME}/job.yaml", str(path))], check=True)

    assert path.read_text() == JOB
    assert base64.b64encode(JOB.encode()).decode() in command


def test_machines_with_another_version_are_not_set_up():
    *install, look = rendered()["setup_commands"]
    with_ours = f"PATH={sys.prefix}/bin:$PATH {look}"

    assert install == [f"pip install --no-deps --force-reinstall {HOME}/ipt_platform-0.1.0-py3-none-any.whl"]
    assert subprocess.run(["bash", "-c", with_ours], check=False).returncode == 0
    wrong = with_ours.replace(__version__, "0.0.9")
    assert subprocess.run(["bash", "-c", wrong], check=False, capture_output=True).returncode != 0


def test_the_file_system_is_mounted_and_jobs_run_in_it():
    config = rendered()

    assert any("fs-0123abcd.efs.eu-central-1.amazonaws.com:/ /data" in line for line in config["initialization_commands"])
    assert "--volume /data:/data" in config["docker"]["run_options"]
    assert "--workdir /data" in config["docker"]["run_options"]
    assert rendered(options=OPTIONS)["initialization_commands"] == []


def test_the_commands_say_which_file_and_run():
    up, submit, logs, down = how_to_use("sync-1", "cluster.yaml")

    assert (up, down) == ("ray up -y cluster.yaml", "ray down -y cluster.yaml")
    assert f"ipt-platform submit {HOME}/job.yaml --run sync-1" in submit
    assert "sync-1" in logs


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape(2, 4, 0), r"cluster\.gpus_per_worker is 0"),
        (Shape(2, 4, 9), r"9 GPUs, and a machine has 8"),
        (Shape(2, 97, 1), r"97 CPU cores, and a machine has 96"),
    ],
)
def test_what_no_machine_can_hold_is_an_error(shape, said):
    with pytest.raises(UsageError, match=said):
        rendered(shape)


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"machine": "p3.16xlarge"}, "--machine"),
        ({"ami": "ubuntu"}, "--ami"),
        ({"region": "Frankfurt; rm"}, "--region"),
        ({"file_system": Mount("nfs", "/data")}, "--efs"),
        ({"instance_profile": "a b"}, "--instance-profile"),
        ({"wheel": "ipt.tar.gz"}, "--wheel"),
        ({"image": ""}, "--image"),
    ],
)
def test_options_that_aws_would_refuse_are_errors_here(wrong, option):
    with pytest.raises(UsageError, match=option):
        rendered(options=RayUpOptions(**({"image": "i", "ami": OPTIONS.ami} | wrong)))
