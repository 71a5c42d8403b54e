"""Whatever is in a job file: jobs survive their dump, typos are found with their line, and no text breaks the reader."""

import json
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.errors import SpecError
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.spec.load import check_job, dump_job, job_diff
from ipt_platform.spec.overrides import apply_overrides
from ipt_platform.spec.schema import job_schema
from ipt_platform.spec.source import dump_yaml, parse_yaml
from ipt_platform.spec.words import LAYER_GROUPS

SCHEMA = jsonschema.Draft202012Validator(job_schema())

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


def values_of(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """Whatever YAML can say."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | floats | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(lambda key: key != "<<"), inner, max_size=3),
        max_leaves=12,
    )


plain = values_of(st.floats(allow_nan=False))
finite = values_of(st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def train_jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Jobs that the schema accepts, with any subset of the optional keys."""

    def some(**optional: st.SearchStrategy[Any]) -> dict[str, Any]:
        return draw(st.fixed_dictionaries({}, optional=optional))

    stages = st.fixed_dictionaries(
        {"steps": st.integers(1, 10**8), "patch": st.integers(16, 4096), "images": st.integers(1, 10**6)}
    )
    biased = [group for group in LAYER_GROUPS if group not in ("norm", "depthwise")]
    weights = st.integers(1, 64)
    params = st.dictionaries(names.filter(lambda name: name != "name"), finite, max_size=2)
    uses = weights | st.fixed_dictionaries({}, optional={"weight": weights, "params": params})
    tasks = st.lists(names, min_size=1, max_size=4, unique=True) | st.dictionaries(names, uses, min_size=1, max_size=4)
    local = texts.filter(lambda text: not text.startswith("s3://"))
    evaluate = {"sets": st.lists(texts, max_size=3), "every": st.none() | st.integers(1, 10**9)}
    return {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": draw(names),
        "model": {
            "backbone": draw(st.sampled_from(["iptv2-tiny", "iptv2-small", "iptv2-base"])),
            "bias": some(rank=st.integers(1, 4096), targets=st.lists(st.sampled_from(biased), min_size=1, unique=True)),
        },
        "tasks": draw(tasks),
        "data": {"shards": draw(local)} | some(max_bad=st.floats(0, 1)),
        "train": {"stages": draw(st.lists(stages, min_size=1, max_size=3))}
        | some(
            ema=st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
            optimizer=st.fixed_dictionaries({"lr": st.floats(1e-12, 1)}),
        ),
    } | some(seed=st.integers(0, 2**63 - 1), storage=local, evaluate=st.fixed_dictionaries({}, optional=evaluate))


@given(train_jobs())
def test_a_job_survives_its_dump(raw):
    job = JOB.validate_python(raw)

    document = parse_yaml(dump_job(job), "job.yaml")

    again = JOB.validate_python(document.value)
    assert again == job
    assert job_diff(job, again) == []
    assert list(again.tasks) == list(job.tasks)


@given(train_jobs())
def test_the_json_schema_accepts_what_the_models_accept_resolved_or_not(raw):
    resolved = JOB.validate_python(raw).model_dump(mode="json")

    assert SCHEMA.is_valid(json.loads(json.dumps(raw)))
    assert SCHEMA.is_valid(json.loads(json.dumps(resolved)))


@given(plain)
def test_whatever_is_dumped_is_read_back_as_it_was(value):
    found = parse_yaml(dump_yaml(value), "f").value

    assert found == value
    assert repr(found) == repr(value)  # 1 is not True, 1.0 is not 1


@given(plain)
def test_other_yaml_readers_read_our_dumps_as_we_do(value):
    assert repr(yaml.safe_load(dump_yaml(value))) == repr(value)


@given(st.text(max_size=60) | st.lists(st.sampled_from("-:{}[]&*!|>'\"#%@, \n\tab1?<~"), max_size=60).map("".join))
def test_no_text_does_anything_but_load_or_be_refused(text):
    try:
        document = parse_yaml(text, "f")
    except SpecError as error:
        assert all(problem.file == "f" and problem.line >= 1 and problem.message for problem in error.problems)  # noqa: PT017
    else:
        assert document.lines[()] == 1


KNOWN = {"name", "model", "bias", "targets", "tasks", "data", "shards", "train", "stages", "steps", "patch", "images", "seed"}


@given(train_jobs(), st.data())
def test_a_typo_in_any_key_is_found_on_its_line(raw, data):
    lines = dump_yaml(raw | {"tasks": ["denoise"]}).splitlines()
    keys = [n for n, line in enumerate(lines) if line.strip("- ").partition(":")[0] in KNOWN and ":" in line]
    number = data.draw(st.sampled_from(keys))
    key = lines[number].strip("- ").partition(":")[0]
    lines[number] = lines[number].replace(key, key + "x", 1)

    document = parse_yaml("\n".join(lines), "f")
    problems = refused(document)

    unknown = [problem for problem in problems if f"unknown key '{key}x'" in problem.message]
    assert [problem.line for problem in unknown] == [number + 1]
    assert f"did you mean '{key}'" in unknown[0].message


KNOWN = {
    "name",
    "model",
    "bias",
    "targets",
    "tasks",
    "data",
    "shards",
    "train",
    "stages",
    "steps",
    "patch",
    "images",
    "seed",
    "storage",
}


def refused(document: Any) -> list[Any]:
    try:
        check_job(document)
    except SpecError as error:
        return error.problems
    raise AssertionError("the job was accepted")


PATHS = ["seed", "name", "train.stages.0.steps", "train.ema", "model.bias.rank", "evaluate.every", "data.max_bad", "new.key"]


@given(train_jobs(), st.dictionaries(st.sampled_from(PATHS), plain, max_size=4))
@settings(max_examples=60)
def test_overrides_are_the_same_as_writing_the_file_that_way(raw, values):
    expected = json.loads(json.dumps(raw))
    for path, value in values.items():
        here = expected
        *parents, last = path.split(".")
        for part in parents:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        here[last] = value
    overrides = [f"{path}={dump_yaml(value).removesuffix('...' + chr(10))}" for path, value in values.items()]

    document = apply_overrides(parse_yaml(dump_yaml(raw), "f"), overrides)

    assert document.value == expected


@given(train_jobs(), train_jobs())
def test_a_diff_is_empty_only_for_equal_jobs_and_reads_the_same_backwards(one, other):
    a, b = JOB.validate_python(one), JOB.validate_python(other)
    assert isinstance(a, TrainJob)
    assert isinstance(b, TrainJob)

    forth, back = job_diff(a, b), job_diff(b, a)

    assert bool(forth) == (a != b)
    assert {line.split(": ")[0] for line in forth} == {line.split(": ")[0] for line in back}
