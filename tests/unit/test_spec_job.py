"""The models themselves: what each of them refuses, what each field says, and that the JSON Schema says the same."""

import json
from collections.abc import Iterator
from typing import get_args

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from ipt_platform.spec import words
from ipt_platform.spec.base import Spec
from ipt_platform.spec.dataset import DatasetCard
from ipt_platform.spec.job import JOB, JOB_KINDS, EvaluateJob, TrainJob
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.spec.schema import SCHEMAS, job_schema
from ipt_platform.spec.task import TaskSpec

TRAIN = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "a",
    "model": {"backbone": "iptv2-tiny"},
    "tasks": ["denoise"],
    "data": {"shards": "x.tar"},
    "train": {"stages": [{"steps": 1, "patch": 16, "images": 1}]},
}
EVALUATE = {
    "apiVersion": "ipt/v1",
    "kind": "evaluate",
    "name": "a",
    "checkpoint": "r",
    "tasks": ["denoise"],
    "sets": ["s"],
}


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for inner in get_args(annotation):
        yield from models_in(inner)


MODELS = sorted(
    {model for root in (*JOB_KINDS.values(), TaskSpec, DatasetCard) for model in models_in(root)}, key=lambda m: m.__name__
)


def test_the_walk_finds_the_models():
    assert {"TrainJob", "EvaluateJob", "BiasSpec", "Stage", "TaskUse", "TaskProbe", "TaskSpec", "Credit"} <= {
        model.__name__ for model in MODELS
    }
    assert len(MODELS) >= 16


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_forbids_unknown_keys_and_converts_nothing_and_never_changes(model):
    config = model.model_config

    assert issubclass(model, Spec)
    assert config.get("extra") == "forbid"
    assert config.get("strict") is True
    assert config.get("frozen") is True
    assert config.get("allow_inf_nan") is False


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_says_what_it_is(model):
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
        assert field.description.endswith((".", ")")), f"{model.__name__}.{name}: {field.description}"


def with_value(path: str, value: object, base: dict = TRAIN) -> dict:
    job = json.loads(json.dumps(base))
    here = job
    *parents, last = path.split(".")
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    here[last] = value
    return job


WRONG = [
    ("seed", -1), ("seed", "0"), ("seed", True), ("seed", 2**63), ("seed", 1.0),
    ("name", "Upper"), ("name", "-a"), ("name", ""), ("name", "a" * 64), ("name", "a\n"), ("name", "../a"),
    ("apiVersion", "ipt/v2"), ("kind", "trian"), ("storage", ""),
    ("model.backbone", "iptv2"), ("model.bias.rank", 0), ("model.bias.targets", ["all"]),
    ("model.bias.targets", "qkv"), ("model.bias.depthwise", 1), ("model.bias.ranks", {"qkv": 0}),
    ("model.bias.ranks", {"attention": 4}), ("model.bias.replace", ["all"]), ("start", ""), ("start", 3),
    ("tasks", []), ("tasks", {}), ("tasks", "denoise"), ("tasks", {"denoise": 0}), ("tasks", {"denoise": True}),
    ("tasks", {"denoise": {"weight": 1.0}}), ("tasks", {"a b": 1}), ("tasks", [1]), ("tasks", {"denoise": {"parms": {}}}),
    ("data.shards", []), ("data.shards", [""]), ("data.shards", 3), ("data.max_bad", 1.5), ("data.prefetch", 0),
    ("train.stages", []), ("train.stages.0.patch", 8), ("train.stages.0.steps", 0), ("train.stages.0.images", 1.0),
    ("train.ema", 1.0), ("train.ema", 0), ("train.precision", "fp16"), ("train.optimizer.lr", 0),
    ("train.optimizer.lr", float("nan")), ("train.optimizer.lr", float("inf")), ("train.optimizer.betas", [0.9]),
    ("train.optimizer.grad_clip", 0), ("train.accumulate", 0), ("train.compile", "true"),
    ("train.schedule.final_lr_ratio", 1.1),
    ("evaluate.sets", "sample-test"), ("evaluate.protocol", "rgb"), ("checkpoint.keep", 1), ("cluster.workers", 0),
    ("cluster.cpus_per_worker", 0), ("cluster.gpus_per_worker", -1), ("unknown", 1),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda part: str(part)[:20])
def test_wrong_values_are_refused_by_the_model_and_by_the_schema(path, value):
    job = with_value(path, value)

    with pytest.raises(ValidationError):
        JOB.validate_python(job)
    if isinstance(value, float) or value in ("a\n", {"denoise": {"weight": 1.0}}):
        return  # JSON has no 1.0 apart from 1, neither infinity nor NaN; and to Python "$" also stands before a last "\n"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, job_schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("value", [float("inf"), [float("-inf")], {"min": 0, "max": float("nan")}], ids=repr)
def test_parameters_are_finite(value):
    with pytest.raises(ValidationError, match="expected a finite number"):
        JOB.validate_python(with_value("tasks", {"denoise": {"params": {"sigma": value}}}))


RIGHT = [
    ("seed", 2**63 - 1), ("name", "a" * 63), ("train.ema", None), ("train.optimizer.grad_clip", None),
    ("tasks", {"denoise": 2, "deblur": {"weight": 1, "params": {"sigma": {"min": 0, "max": 5}}}, "derain": None}),
    ("data.shards", ["a.tar", "b-{000..010}.tar", "s3://bucket/{0..9}.tar"]), ("data.s3_cache_mb", 0),
    ("cluster.gpus_per_worker", 1), ("train.optimizer.betas", [0, 0.5]),
    ("evaluate.sets", []), ("model.bias.targets", ["embed", "qkv"]), ("model.bias.ranks", {"qkv": 4}), ("start", "run"),
    ("model.bias", {"targets": [], "replace": ["norm"]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=lambda part: str(part)[:20])
def test_right_values_are_taken_by_the_model_and_by_the_schema(path, value):
    job = with_value(path, value)

    JOB.validate_python(job)
    jsonschema.validate(job, job_schema(), cls=jsonschema.Draft202012Validator)


def test_the_kind_decides_the_model():
    assert type(JOB.validate_python(TRAIN)) is TrainJob
    assert type(JOB.validate_python(EVALUATE)) is EvaluateJob
    with pytest.raises(ValidationError):
        JOB.validate_python(EVALUATE | {"train": TRAIN["train"]})


@pytest.mark.parametrize(
    ("tasks", "weights"),
    [
        (["denoise", "deblur"], {"denoise": 1, "deblur": 1}),
        ({"denoise": 2, "deblur": 1}, {"denoise": 2, "deblur": 1}),
        ({"denoise": {"weight": 3}, "deblur": {}}, {"denoise": 3, "deblur": 1}),
        ({"denoise": None, "deblur": 4}, {"denoise": 1, "deblur": 4}),  # a key with nothing after its colon
    ],
)
def test_tasks_have_several_spellings_of_one_meaning(tasks, weights):
    job = JOB.validate_python(TRAIN | {"tasks": tasks})

    assert isinstance(job, TrainJob)
    assert {name: use.weight for name, use in job.tasks.items()} == weights
    assert list(job.tasks) == list(weights)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("tasks", ["denoise", "denoise"], "'denoise' stands twice"),
        ("tasks", {"denoise": {"params": {"name": "rain"}}}, "a task keeps its degradation"),
        ("model.bias.targets", ["qkv", "qkv"], "'qkv' stands twice"),
        ("model.bias.replace", ["norm", "norm"], "'norm' stands twice"),
        ("model.bias.targets", [], "targets is empty, and so is replace"),
        ("model.bias.replace", ["norm", "ffn"], "'ffn' stands in targets and in replace"),
        ("model.bias", {"targets": ["ffn"], "ranks": {"qkv": 4}}, "ranks names 'qkv', which is not among targets"),
        ("model.bias", {"allocation": "proportional", "ranks": {"qkv": 4}}, "leave one of the two out"),
        ("model.bias.targets", ["norm"], "vectors"),
        ("model.bias.targets", ["depthwise"], "depthwise: true"),
        ("train.optimizer.betas", [0.9, 1.0], r"up to, but not including, 1, found \[0.9, 1.0\]"),
        ("storage", "gs://bucket/runs", "files are read from folders and from S3; name a path"),
        ("storage", "s3://b/runs", "cannot be the name of a bucket"),
    ],
)
def test_what_a_type_cannot_say_is_said_in_a_sentence(path, value, said):
    with pytest.raises(ValidationError, match=said):
        JOB.validate_python(with_value(path, value))


def test_tasks_of_an_evaluation_have_no_weight():
    job = JOB.validate_python(EVALUATE | {"tasks": {"denoise": {"params": {"sigma": 50}}, "deblur": None}})

    assert isinstance(job, EvaluateJob)
    assert {name: use.params for name, use in job.tasks.items()} == {"denoise": {"sigma": 50}, "deblur": {}}
    with pytest.raises(ValidationError):
        JOB.validate_python(EVALUATE | {"tasks": {"denoise": 2}})


def test_nothing_in_a_job_can_be_assigned():
    job = JOB.validate_python(TRAIN)
    assert isinstance(job, TrainJob)

    with pytest.raises(ValidationError):
        job.train.stages[0].steps = 5


def test_the_defaults_are_in_the_word_lists():
    assert set(BiasSpec().targets) < set(words.LAYER_GROUPS)
    assert words.BACKBONES == ("iptv2-nano", "iptv2-tiny", "iptv2-small", "iptv2-base")
    assert words.PROTOCOLS == ("rgb-float", "rgb-uint8", "y-uint8")


@pytest.mark.parametrize("what", SCHEMAS)
def test_schemas_are_valid_json_schema_with_a_description_for_every_property(what):
    schema = SCHEMAS[what]()
    jsonschema.Draft202012Validator.check_schema(schema)

    objects = [schema, *schema.get("$defs", {}).values()]
    properties = [(name, found) for each in objects for name, found in each.get("properties", {}).items()]
    assert len(properties) > 8
    described = [
        found | schema["$defs"][found["$ref"].removeprefix("#/$defs/")] if "$ref" in found else found for _, found in properties
    ]
    assert [found for found in described if not found.get("description")] == []
    assert all(each["additionalProperties"] is False for each in objects if "properties" in each)
