"""A whole job file: every problem at once with its line, the resolved dump, and the difference of two jobs."""

from pathlib import Path

import pytest

from ipt_platform.errors import NotFoundError, SpecError
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import EvaluateJob, TrainJob
from ipt_platform.spec.load import dump_job, job_diff, load_job

REPOSITORY = Path(__file__).parents[2]

GOOD = """\
apiVersion: ipt/v1
kind: train
name: good
model: {backbone: iptv2-tiny}
tasks:
  denoise: {params: {sigma: {min: 5, max: 25}}}
  deblur: 2
data:
  shards: shards/*.tar
train:
  stages:
    - {steps: 10, patch: 64, images: 4}
    - {steps: 5, patch: 128, images: 2}
evaluate:
  sets: [pictures, cards]
"""

BAD = """\
apiVersion: ipt/v1
kind: train
name: Bad_Name
sede: 3
model:
  backbone: iptv2-tinny
  bias: {rank: "16", targets: [qkv, outptu]}
  lr: 3e-4
tasks:
  - deblur
  - denoize
data: {shards: [shards/a.tar, "nowhere/*.tar"], carrier: rays}
train:
  stages: [{steps: 10.0, patch: 8, image: 3}]
  schedule: {warmup: -1}
  accumulate: 2
evaluate: {sets: [cads], every: 0}
storage: gs://bucket/runs
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A working directory with shards (only their names matter here), a folder of pictures and a dataset card."""
    for folder in ("shards", "pictures", "datasets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "datasets" / "cards.yaml").write_text(
        "{apiVersion: ipt/v1, kind: dataset, name: cards, description: d, shards: ../shards/a.tar, source: s, licence: l}"
    )
    return tmp_path


def write(base: Path, text: str) -> Path:
    (base / "job.yaml").write_text(text)
    return base / "job.yaml"


def problems(base: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_job(write(base, text), overrides, base)
    return [str(problem).removeprefix(f"{base}/") for problem in caught.value.problems]


def train(base: Path, text: str = GOOD, *overrides: str) -> TrainJob:
    job = load_job(write(base, text), overrides, base).job
    assert isinstance(job, TrainJob)
    return job


def test_every_problem_of_schema_and_meaning_comes_at_once_with_its_line(base):
    found = problems(base, BAD)

    starts = [
        "job.yaml:3: name: expected lower-case letters",
        "job.yaml:4: sede: unknown key 'sede'; did you mean 'seed'?",
        "job.yaml:6: model.backbone: expected one of iptv2-nano, iptv2-tiny, iptv2-small, iptv2-base, found",
        "job.yaml:7: model.bias.rank: expected a whole number, found '16'",
        "job.yaml:7: model.bias.targets.1: expected one of embed, output,",
        "job.yaml:8: model.lr: unknown key 'lr'; it belongs under train.optimizer",
        "job.yaml:11: tasks.1: unknown task 'denoize'; did you mean 'denoise'?",
        "job.yaml:12: data.carrier: expected one of ray, local, found 'rays'; did you mean 'ray'?",
        "job.yaml:12: data.shards.1: No shards: ",
        "job.yaml:14: train.stages.0.steps: expected a whole number, found 10.0",
        "job.yaml:14: train.stages.0.patch: expected at least 16, found 8",
        "job.yaml:14: train.stages.0.images: this key is missing and has no default: Images per step",
        "job.yaml:14: train.stages.0.image: unknown key 'image'; did you mean 'images'?",
        "job.yaml:15: train.schedule.warmup: expected at least 0, found -1",
        "job.yaml:17: evaluate.every: expected at least 1, found 0",
        "job.yaml:17: evaluate.sets.0: unknown set 'cads': no such path, and no card datasets/cads.yaml here; did you mean",
        "job.yaml:18: storage: gs://bucket/runs: files are read from folders and from S3; name a path",
    ]
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts


def test_duplicate_keys_and_deep_files_never_reach_the_schema(base):
    assert problems(base, GOOD + "name: again\n") == [
        "job.yaml:16: name: key 'name' was already given on line 3; keep one of them"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "job.yaml:1: the key 'kind' is missing; it says what kind of job this is"),
        ("[1]", "job.yaml:1: expected a mapping of keys to values, found a list of 1"),
        ("apiVersion: ipt/v1\n", "job.yaml:1: the key 'kind' is missing; it says what kind of job this is"),
        (
            "\nkind: trian\n",
            (
                "job.yaml:1: expected one of train, finetune, evaluate, restore, tune, analyze, found 'trian'; "
                "did you mean 'train'?"
            ),
        ),
        ("\nkind: 3\n", "job.yaml:1: expected one of train, finetune, evaluate, restore, tune, analyze, found '3'"),
    ],
)
def test_what_is_no_job_at_all(base, text, said):
    assert problems(base, text) == [said]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["cluster.workers=2", "train.accumulate=2"],
            "job.yaml:13: train.stages.1.images: 2 images cannot be shared equally by cluster.workers 2 x",
        ),
        (
            ["train.stages.0.images=6", "cluster.workers=4", "train.stages.1.images=4"],
            "train.accumulate 1 = 4; use a multiple of 4, such as 8",
        ),
        (["train.schedule.warmup=15"], "a warm-up of 15 steps never ends: the stages have 15 steps together"),
        (["tasks.denoise.params.sgma=3"], "tasks.denoise.params.sgma: unknown key 'sgma'; did you mean 'sigma'?"),
        (["tasks.denoise.params.sigma=-3"], "tasks.denoise.params.sigma: expected numbers between 0 and 255, found -3"),
        (["tasks.denoise.params.sigma=loud"], "expected a number, {choices: [...]} or {min: ..., max: ...}, found 'loud'"),
        (["tasks.denoise.params.sigma=[0, 50]"], "a bare list does not say what it means"),
        (["tasks=[denoise, dehazze]"], "tasks.1: unknown task 'dehazze'"),
        (["model.bias.targets=[qvk]"], "found 'qvk'; did you mean 'qkv'?"),
        (["evaluate.sets=[pictures, pictures]"], "evaluate.sets.1: set 'pictures' stands twice in the list"),
        (["evaluate.sets=['shards/*.zip']"], "evaluate.sets.0: No shards: "),
    ],
)
def test_what_the_schema_cannot_know(base, overrides, said):
    found = problems(base, GOOD, *overrides)

    assert len(found) == 1
    assert said in found[0]


def test_one_wrong_value_hides_no_other_section_nor_another_value_of_its_own(base):
    found = "\n".join(problems(base, GOOD, "train.ema=2", "cluster.workers=3", "data.prefetch=0", "data.shards=gone.tar"))

    assert "train.ema: expected less than 1, found 2" in found
    assert "train.stages.0.images: 4 images cannot be shared equally by cluster.workers 3" in found
    assert "data.prefetch: expected at least 1, found 0" in found
    assert "data.shards: No shards: " in found


def test_a_wrong_card_is_named_by_its_own_line(base):
    (base / "datasets" / "cards.yaml").write_text("apiVersion: ipt/v1\nkind: dataset\nname: cards\nlicense: MIT\n")

    found = problems(base, GOOD)

    assert "datasets/cards.yaml:4: license: unknown key 'license'; did you mean 'licence'?" in found


def test_relative_paths_are_relative_to_the_base_and_not_to_the_file(base, monkeypatch):
    (base / "elsewhere").mkdir()
    (base / "elsewhere" / "job.yaml").write_text(GOOD)
    monkeypatch.chdir(base)

    assert load_job("elsewhere/job.yaml").job.name == "good"
    monkeypatch.chdir(base / "elsewhere")
    with pytest.raises(SpecError, match="shards/"):
        load_job("job.yaml")


def test_a_missing_file_is_not_a_wrong_file(tmp_path):
    with pytest.raises(NotFoundError, match="no such file"):
        load_job(tmp_path / "none.yaml")


def test_the_resolved_dump_says_everything_and_gives_the_same_job(base):
    job = train(base, GOOD, "train.optimizer.lr=1e-05", "name=on", "train.ema=null")

    text = dump_job(job)

    assert train(base, text) == job
    assert text.index("apiVersion") < text.index("kind:") < text.index("name:") < text.index("model:") < text.index("storage:")
    assert "max_failures: 3" in text
    assert "name: 'on'" in text  # other YAML readers would take a bare `on` for true


def test_job_diff_names_each_changed_value(base):
    old = train(base)
    new = train(base, GOOD, "train.stages.0.steps=20", "tasks={denoise: 1}", "train.ema=null", "evaluate.sets=[pictures]")

    assert sorted(job_diff(old, new)) == [
        "evaluate.sets.1: 'cards' -> (absent)",
        "tasks.deblur.params: a mapping -> (absent)",
        "tasks.deblur.weight: 2 -> (absent)",
        "tasks.denoise.params.sigma.max: 25 -> (absent)",
        "tasks.denoise.params.sigma.min: 5 -> (absent)",
        "tasks.denoise.params: (absent) -> a mapping",
        "train.ema: 0.999 -> null (nothing)",
        "train.stages.0.steps: 10 -> 20",
    ]
    assert job_diff(old, train(base)) == []


def test_settings_without_effect_are_said(base):
    assert warnings(train(base)) == []
    quiet = train(base, GOOD, "train.mode=mixed", "data.carrier=local")
    assert warnings(quiet) == []
    assert warnings(train(base, GOOD, "data.carrier=local", "data.cpus=2")) == []  # its processes

    said = warnings(train(base, GOOD, "train.mode=mixed", "model.bias.rank=4", "evaluate={every: 5}"))

    assert [line.split(":")[0] for line in said] == [
        "model.bias is ignored",
        "evaluate.every is ignored",
    ]


def test_an_evaluation_is_checked_the_same_way(base):
    text = "apiVersion: ipt/v1\nkind: evaluate\nname: e\ncheckpoint: runs/x\n"
    text += "tasks: {denoise: {params: {sigma: 50}}}\nsets:\n- cards\n"

    job = load_job(write(base, text), (), base).job

    assert isinstance(job, EvaluateJob)
    assert load_job(write(base, dump_job(job)), (), base).job == job
    assert problems(base, text.replace("sigma: 50", "sigma: 500").replace("- cards", "- crads")) == [
        "job.yaml:5: tasks.denoise.params.sigma: expected numbers between 0 and 255, found 500",
        "job.yaml:7: sets.0: unknown set 'crads': no such path, and no card datasets/crads.yaml here; did you mean 'cards'?",
    ]


def test_the_quickstart_is_valid_wherever_the_sample_set_is(base):
    sample = base / "datasets" / "sample"
    sample.mkdir()
    for card in REPOSITORY.glob("datasets/*.yaml"):
        (base / "datasets" / card.name).write_bytes(card.read_bytes())
    text = (REPOSITORY / "jobs" / "quickstart.yaml").read_text()

    missing = problems(base, text)
    for name in ("train-000000.tar", "test-000000.tar"):
        (sample / name).touch()

    assert train(base, text).name == "quickstart"
    assert warnings(train(base, text)) == []
    assert len(missing) == 2
    assert missing[1].endswith("make them with `ipt-platform data sample datasets/sample`")


def test_a_key_given_twice_hides_nothing_else_that_is_wrong(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "apiVersion: ipt/v1\nkind: train\nname: x\nname: y\nmodel: {backbone: iptv2-tinny}\n"
        "tasks: [denoise]\ndata: {shards: nowhere/*.tar}\ntrain: {stages: [{steps: 1, patch: 64, images: 1}]}\n"
    )

    with pytest.raises(SpecError) as caught:
        load_job(path, base=tmp_path)

    assert [problem.path for problem in caught.value.problems] == ["name", "model.backbone", "data.shards"]
    assert [problem.line for problem in caught.value.problems] == [4, 5, 7]
