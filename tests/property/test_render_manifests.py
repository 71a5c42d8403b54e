"""Any job with any options: nothing is refused, nothing of it is lost, and no secret of the environment is in it."""

import json
import re
from fractions import Fraction

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.autoscaler._private.util import prepare_config, validate_config

from ipt_platform.cluster.render.kuberay import render_kuberay
from ipt_platform.cluster.render.names import kube_name
from ipt_platform.cluster.render.options import KubeOptions, Mount
from ipt_platform.cluster.render.ray_up import MACHINES, RayUpOptions, render_ray_up
from ipt_platform.cluster.render.shape import Shape, groups_of
from ipt_platform.cluster.render.text import manifest_text
from tests.unit.kubernetes_objects import refused

PLANTED = {
    "AWS_ACCESS_KEY_ID": "PLANTED-KEY-ID",
    "AWS_SECRET_ACCESS_KEY": "PLANTED-SECRET",
    "AWS_SESSION_TOKEN": "PLANTED-SESSION",
    "RAY_AUTH_TOKEN": "PLANTED-TOKEN",
}
"""Made up; what would stand in a manifest if something read the environment into it."""

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
run_ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,127}", fullmatch=True)
mounts = st.builds(Mount, names, names.map(lambda name: f"/data/{name}"))
taints = st.from_regex(r"[a-z]{1,9}(/[a-z]{1,9})?(=[a-z]{0,9})?(:NoSchedule|:NoExecute|:PreferNoSchedule)?", fullmatch=True)
shapes = st.builds(
    Shape,
    processes=st.integers(0, 4096),
    cpus=st.floats(0.01, 64),
    gpus=st.one_of(st.just(0), st.floats(0.01, 1), st.integers(1, 8)),
    store_bytes=st.integers(0, 1 << 34),
    head_cpus=st.integers(0, 4),
)
kube_options = st.builds(
    KubeOptions,
    image=st.from_regex(r"[a-z0-9.-]{1,9}(/[a-z0-9-]{1,9})?:[a-z0-9.]{1,9}", fullmatch=True).filter(lambda x: x[0].isalnum()),
    token_secret=names,
    namespace=st.none() | names,
    queue=st.none() | names,
    priority=st.none() | names,
    gpu_product=st.none() | st.just("NVIDIA-A100-SXM4-80GB"),
    spot=st.booleans(),
    tolerate=st.lists(taints, max_size=3).map(tuple),
    volume=st.none() | mounts,
    service_account=st.none() | names,
    s3_secret=st.none() | names,
    worker_memory=st.integers(1, 1024),
    head_cpus=st.integers(1, 64),
    head_memory=st.integers(1, 512),
    retries=st.integers(0, 1000),
    keep_seconds=st.integers(0, 10**6),
    grace_seconds=st.integers(1, 10**6),
)
ray_up_options = st.builds(
    RayUpOptions,
    image=st.just("registry.example/ipt-platform:0.1.0"),
    ami=st.from_regex(r"ami-[0-9a-f]{17}", fullmatch=True),
    region=st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2"]),
    machine=st.sampled_from(sorted(MACHINES)),
    spot=st.booleans(),
    file_system=st.none() | st.builds(Mount, st.from_regex(r"fs-[0-9a-f]{8}", fullmatch=True), st.just("/data")),
    wheel=st.none() | st.just("dist/a package.whl"),
    instance_profile=st.none() | names,
    idle_minutes=st.integers(1, 10**4),
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=200)


@pytest.fixture(scope="module", autouse=True)
def planted():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PLANTED.items():
            patch.setenv(name, value)
        yield


@given(texts, run_ids, shapes, kube_options)
@settings(max_examples=25)
def test_any_job_is_taken_by_kubernetes_and_holds_no_secret(job, run, shape, options):
    documents = render_kuberay(job, run, shape, options, "2.60.0")
    text = manifest_text(documents, [])

    config, ray_job = yaml.safe_load_all(text)
    assert [config, ray_job] == documents
    assert [refused(config), refused(ray_job)] == [[], []]
    assert config["data"]["job.yaml"] == job
    assert ray_job["spec"]["entrypoint"].split()[-2:] == ["--run", run]
    assert "PLANTED" not in text


@given(texts, run_ids, shapes.filter(lambda shape: shape.gpus or not shape.processes), ray_up_options)
@settings(max_examples=25)
def test_any_job_is_taken_by_ray_and_holds_no_secret(job, run, shape, options):
    config = render_ray_up(job, run, shape, options, "0.1.0")
    text = manifest_text([config], [])

    assert yaml.safe_load(text) == config
    validate_config(prepare_config(json.loads(json.dumps(config))))
    assert "PLANTED" not in text


@given(shapes, st.integers(8, 16))
def test_no_process_is_lost_and_no_machine_holds_more_than_it_has(shape, gpus):
    groups = groups_of(shape, gpus)

    assert sum(group.replicas * group.processes for group in groups) == shape.processes
    assert all(Fraction(group.processes) * Fraction(shape.gpus) <= gpus + Fraction(1, 10**6) for group in groups)
    assert len(groups) <= 2
    if shape.gpus:
        fewest = -(-shape.processes // int(gpus / shape.gpus + 1e-9))
        assert sum(group.replicas for group in groups) == fewest


@given(st.lists(st.text(max_size=90), min_size=2, max_size=2, unique=True), st.sampled_from([20, 47, 63]))
def test_any_two_texts_have_different_names_that_kubernetes_takes(texts, longest):
    one, two = (kube_name(text, longest) for text in texts)

    assert one != two
    for name in (one, two):
        assert len(name) <= longest
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert kube_name(one, longest) == one
