"""A number of workers, or a range of them: what is refused, and which numbers can share every step."""

from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ipt_platform.data.plan import share
from ipt_platform.errors import SpecError
from ipt_platform.spec.checks import semantic_problems, warnings
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.spec.load import check_job, dump_job
from ipt_platform.spec.schema import job_schema
from ipt_platform.spec.source import Document
from ipt_platform.spec.workers import ElasticSpec, fewest, most, possible_counts
from ipt_platform.train.shape import counts_of
from ipt_platform.train.slots import needed

REFUSED = "cannot be shared equally by cluster.workers {0} x train.accumulate 1 = {1}; use a multiple of {1}, such as {2}"


def values(workers, images=(8,), accumulate=1) -> dict:
    return {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "a",
        "model": {"backbone": "iptv2-nano"},
        "tasks": ["denoise"],
        "data": {"shards": "x.tar"},
        "train": {"stages": [{"steps": 9, "patch": 16, "images": each} for each in images], "accumulate": accumulate,
                  "schedule": {"warmup": 1}},
        "cluster": {"workers": workers, "cpus_per_worker": 2},
    }  # fmt: skip


def job_of(*arguments, **more) -> TrainJob:
    job = JOB.validate_python(values(*arguments, **more))
    assert isinstance(job, TrainJob)
    return job


def schema_problems(workers) -> list[str]:
    with pytest.raises(SpecError) as found:
        check_job(Document(values(workers), {}, "job.yaml"))
    return [f"{problem.path}: {problem.message}" for problem in found.value.problems if problem.path.startswith("cluster")]


def batch_problems(*arguments, **more) -> list[str]:
    document = Document(values(*arguments, **more), {}, "job.yaml")
    found = semantic_problems(document, TrainJob, (), Path())
    return [f"{problem.path}: {problem.message}" for problem in found if "shared equally" in problem.message]


@pytest.mark.parametrize(
    ("workers", "problem"),
    [
        ("two", "cluster.workers: expected a whole number or {min: ..., max: ...}, found 'two'"),
        (True, "cluster.workers: expected a whole number or {min: ..., max: ...}, found true"),
        (2.5, "cluster.workers: expected a whole number or {min: ..., max: ...}, found 2.5"),
        ([1, 2], "cluster.workers: expected a whole number or {min: ..., max: ...}, found a list of 2"),
        (0, "cluster.workers: expected at least 1, found 0"),
        (5000, "cluster.workers: expected at most 4096, found 5000"),
        ({"min": 0, "max": 2}, "cluster.workers.min: expected at least 1, found 0"),
        ({"min": 1, "max": "all"}, "cluster.workers.max: expected a whole number, found 'all'"),
        ({"min": 1, "max": 2, "mx": 3}, "cluster.workers.mx: unknown key 'mx'; did you mean 'max'?"),
        ({"min": 4, "max": 2}, "cluster.workers: min 4 is above max 2; give the fewest workers as min, the most as max"),
    ],
)
def test_what_is_neither_is_refused_in_one_sentence_at_its_place(workers, problem):
    assert schema_problems(workers) == [problem]


def test_a_missing_end_says_what_it_is():
    assert schema_problems({"max": 2}) == [
        f"cluster.workers.min: this key is missing and has no default: {ElasticSpec.model_fields['min'].description}"
    ]


@pytest.mark.parametrize("workers", [3, {"min": 1, "max": 4}, {"min": 2, "max": 2, "look_every_s": 5}])
def test_both_forms_are_kept_with_the_run_as_they_were_written(workers):
    job = job_of(workers)

    assert JOB.validate_python(job.model_dump(mode="json")) == job
    assert "workers: 3\n" in dump_job(job) if workers == 3 else "min: " in dump_job(job)
    jsonschema.validate(values(workers), job_schema())


@pytest.mark.parametrize("workers", [0, "two", {"min": 0, "max": 2}, {"min": 1}])
def test_the_schema_for_editors_refuses_what_is_neither(workers):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values(workers), job_schema())
    with pytest.raises(ValidationError):
        job_of(workers)


def test_both_ends_of_a_range_must_share_every_stage():
    assert batch_problems({"min": 2, "max": 8}, images=(8, 16)) == []
    assert batch_problems({"min": 2, "max": 8}, images=(8, 12)) == [
        "train.stages.1.images: 12 images "
        + REFUSED.format("max 8", 8, 16)
        + ", or another max: of 2 to 8, 2 and 4 can share every stage"
    ]
    assert batch_problems({"min": 3, "max": 3}, images=(8,), accumulate=2)[0].endswith("of 3 to 3, none can share every stage")
    assert batch_problems(3) == ["train.stages.0.images: 8 images " + REFUSED.format(3, 3, 9)]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 8), st.integers(0, 8))
def test_the_possible_numbers_are_those_that_the_plan_can_share(images, accumulate, low, more):
    def shares(number: int) -> bool:
        try:
            return all(len(share(0, count, 0, number)) % accumulate == 0 for count in images)
        except ValueError:
            return False

    job = job_of({"min": low, "max": low + more}, images=images, accumulate=accumulate)

    assert counts_of(job) == tuple(number for number in range(low, low + more + 1) if shares(number))


def test_an_embedded_ray_has_room_for_the_most():
    elastic, fixed = job_of({"min": 1, "max": 4}), job_of(4)

    assert needed(elastic) == replace(needed(fixed), least=0.25)
    assert (fewest(elastic.cluster.workers), most(elastic.cluster.workers)) == (1, 4)
    assert possible_counts(elastic.cluster.workers, [8], 1) == (1, 2, 4)


def machine_problems(train: dict, cluster: dict) -> list[str]:
    raw = values(1)
    raw = raw | {"train": raw["train"] | train, "cluster": cluster}
    found = semantic_problems(Document(raw, {}, "job.yaml"), TrainJob, (), Path())
    return [
        f"{problem.path}: {problem.message}"
        for problem in found
        if problem.path in ("train.sharding", "cluster.gpus_per_worker")
    ]


@pytest.mark.parametrize(
    ("train", "cluster", "said"),
    [
        ({"sharding": "fsdp"}, {"workers": 2}, ()),
        ({"sharding": "fsdp"}, {"workers": {"min": 2, "max": 4}, "gpus_per_worker": 1}, ()),
        ({"compile": True}, {"workers": 1, "gpus_per_worker": 0.5}, ()),
        (
            {"sharding": "fsdp"},
            {},
            ("train.sharding: fsdp shares the backbone out over workers, and cluster.workers is 1; use 2 or more, or ",),
        ),
        (
            {"sharding": "fsdp", "compile": True},
            {"workers": {"min": 1, "max": 4}},
            ("and cluster.workers.min is 1; use 2 or more", "which train.compile does not follow; leave one of the two out"),
        ),
        ({}, {"workers": 2, "gpus_per_worker": 0.5}, ("need a GPU each, found 0.5 for each of up to 2; use 1, or cluster.",)),
        ({}, {"workers": {"min": 1, "max": 4}, "gpus_per_worker": 0.25}, ("found 0.25 for each of up to 4",)),
        ({}, {"gpus_per_worker": 1.5}, ("cluster.gpus_per_worker: expected a whole number above 1, found 1.5",)),
    ],
)
def test_what_does_not_combine_is_refused_when_the_file_is_read(train, cluster, said):
    found = machine_problems(train, cluster)

    assert len(found) == len(said)
    for problem, part in zip(found, said, strict=True):
        assert part in problem


def test_gpus_that_would_stand_idle_are_told():
    raw = values(1)
    job = JOB.validate_python(raw | {"cluster": {"gpus_per_worker": 2}, "evaluate": {"sets": ["s"]}})

    assert warnings(job) == ["cluster.gpus_per_worker 2: a worker computes on one GPU, the others stand idle"]
