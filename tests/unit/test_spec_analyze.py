"""`kind: analyze` as a file: which keys belong to which analysis, claims, and the chains of jobs that each is made of."""

from pathlib import Path
from typing import Any

import pytest

from ipt_platform.errors import SpecError
from ipt_platform.spec.analyze import BELONGS, NEEDS
from ipt_platform.spec.job import AnalyzeJob, FinetuneJob, TrainJob
from ipt_platform.spec.load import check_job, load_job
from ipt_platform.spec.members import Chain, member_chains, seeds_of
from ipt_platform.spec.source import parse_yaml

HEAD = "apiVersion: ipt/v1\nkind: analyze\nname: study\n"
BASE = """\
base:
  kind: train
  model: {backbone: iptv2-nano, bias: {rank: 4}}
  tasks: [denoise]
  data: {shards: shards/*.tar}
  train:
    stages: [{steps: 30, patch: 48, images: 2}, {steps: 10, patch: 64, images: 2}]
    optimizer: {lr: 1.0e-3}
  evaluate: {sets: [test]}
"""
OWN = {
    "sensitivity": "before: {train: {mode: mixed}}\nafter: {tasks: [deblur], train: {mode: mixed}}\n",
    "rank-energy": "before: one\nafter: other\n",
    "interference": "tasks: {denoise: 1, deblur: 3, derain: }\n",
    "comparison": """\
variants:
  mixed: {train: {mode: mixed}}
  two-stage:
    - {train: {mode: mixed, stages: [{steps: 10, patch: 48, images: 2}]}}
    - {kind: finetune, tasks: [denoise, deblur], bias: {rank: 2}}
  three:
    - {}
    - {train: {stages: [{steps: 7, patch: 48, images: 2}]}}
    - {kind: finetune}
claims: ["two-stage > mixed", "three >= two-stage > mixed"]
paper: {table: Table 3, columns: [PSNR], rows: {mixed: [30.1], three: [null]}, differs: size}
""",
}


def text_of(what: str) -> str:
    return f"{HEAD}what: {what}\n{BASE}{OWN[what]}"


def analysis(base: Path, text: str, *overrides: str) -> AnalyzeJob:
    (base / "job.yaml").write_text(text)
    job = load_job(base / "job.yaml", overrides, base).job
    assert isinstance(job, AnalyzeJob)
    return job


def problems(base: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        analysis(base, text, *overrides)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


def chains_of(base: Path, what: str, extra: str = "") -> list[Chain]:
    return member_chains(parse_yaml(text_of(what) + extra, "job.yaml"), "study/runs", base / "runs")


def jobs_of(base: Path, chain: Chain) -> list[Any]:
    """The jobs of a chain, each of which is valid, and called as its run."""
    jobs = [check_job(member.document, base) for member in chain]
    assert [(job.name, job.storage) for job in jobs] == [(member.id, "study/runs") for member in chain]
    return jobs


def ids(chains: list[Chain]) -> list[list[str]]:
    return [[member.id for member in chain] for chain in chains]


# Keys


@pytest.mark.parametrize("what", OWN)
def test_each_analysis_is_valid_with_its_own_keys(base, what):
    assert analysis(base, text_of(what)).what == what


FOREIGN = {
    "before": "before: one",
    "after": "after: other",
    "task": "task: denoise",
    "transplant": "transplant: {images: 4}",
    "targets": "targets: [qkv]",
    "compress": "compress: {rank: 4}",
    "tasks": "tasks: [denoise, deblur]",
    "variants": "variants: {a: {}, b: {}}",
    "claims": "claims: []",
    "paper": "paper: {table: T, columns: [a], rows: {a: [1]}, differs: d}",
}


def test_every_key_of_an_analysis_is_tried_below():
    assert {key for keys in BELONGS.values() for key in keys} == FOREIGN.keys() | {"base"}


@pytest.mark.parametrize(("what", "key"), [(what, key) for what in OWN for key in FOREIGN if key not in BELONGS[what]])
def test_a_key_of_another_analysis_is_told_with_its_home(base, what, key):
    text = text_of(what)

    found = problems(base, text + FOREIGN[key] + "\n")

    line = len(text.splitlines()) + 1
    homes = " and ".join(name for name in BELONGS if key in BELONGS[name])
    assert found == [f"job.yaml:{line}: {key}: '{key}' has no meaning for what: {what}; it belongs to {homes}"]


@pytest.mark.parametrize(("what", "key"), [(what, key) for what in OWN for key in NEEDS[what]])
def test_a_key_that_an_analysis_needs_is_told_when_it_is_missing(base, what, key):
    text = text_of(what).replace(f"\n{key}:", f"\n{key}-not:")
    assert text != text_of(what)

    found = problems(base, text)

    assert f"job.yaml:1: {key}: this key is missing, which what: {what} needs" in found


def test_what_is_asked_is_one_of_four(base):
    text = text_of("comparison").replace("what: comparison", "what: comparing")

    found = problems(base, text)

    assert len(found) == 1, found
    assert found[0].startswith("job.yaml:4: what: expected one of sensitivity, rank-energy, interference, comparison, found")


def test_one_task_alone_interferes_with_nothing(base):
    found = problems(base, text_of("interference").replace("{denoise: 1, deblur: 3, derain: }", "[denoise]"))

    assert found == ["job.yaml:14: tasks: one task helps or hurts no other; name at least two"]


def test_what_a_compression_costs_is_measured_on_test_sets(base):
    made = "before: {}\nafter: {evaluate: {sets: []}}\ncompress: {rank: 4}\n"
    text = text_of("rank-energy").replace(OWN["rank-energy"], made)

    assert problems(base, text) == [
        "job.yaml:15: evaluate.sets: compress is measured by PSNR on test sets: name at least one",
    ]
    assert analysis(base, text.replace("after: {evaluate: {sets: []}}", "after: {}")).compress


def test_one_variant_alone_is_compared_with_nothing(base):
    text = f"{HEAD}what: comparison\n{BASE}variants: {{a: {{}}}}\n"

    (found,) = problems(base, text)

    assert found.startswith("job.yaml:14: variants: expected at least 2 of them")


@pytest.mark.parametrize("what", ["sensitivity", "interference"])
def test_only_a_comparison_has_finetunes(base, what):
    text = text_of(what).replace("kind: train", "kind: finetune")

    found = problems(base, text)

    assert all("kind: expected kind train for the jobs of which this is made, found 'finetune'" in each for each in found), (
        found
    )


# Claims


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("mixed", "names and operators do not alternate; write an ordering such as 'synchronous > two-stage > mixed'"),
        ("mixed >", "names and operators do not alternate"),
        ("> mixed", "names and operators do not alternate"),
        ("mixed > > three", "names and operators do not alternate"),
        ("mixed > tree", "'tree' is none of the variants: mixed, two-stage, three"),
        ("mixed < three", "cannot read '< three'"),
        ("mixed > mixed", "mixed"),
        ("'mixed > three", "mixed"),
        ("mixed three > two-stage", "names and operators do not alternate"),
    ],
)
def test_a_wrong_claim_is_told_with_its_line(base, claim, said):
    text = text_of("comparison").replace('["two-stage > mixed", "three', f'["two-stage > mixed", "{claim}", "three')

    (found,) = problems(base, text)

    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("claims:"))
    assert found.startswith(f"job.yaml:{line}: claims.1: ")
    assert said in found


@pytest.mark.parametrize("claim", ["mixed>three", "'two-stage' >= mixed", "mixed  >=  three>two-stage"])
def test_claims_have_several_spellings(base, claim):
    text = text_of("comparison").replace('["two-stage > mixed"', f'["{claim}"')

    assert analysis(base, text).claims[0] == claim


# Seeds


def test_without_seeds_there_is_the_one_of_the_job():
    assert seeds_of({}) == [0]
    assert seeds_of({"seed": 4}) == seeds_of({"seed": 4, "seeds": []}) == [4]
    assert seeds_of({"seed": 4, "seeds": [2, 1]}) == [2, 1]


@pytest.mark.parametrize("what", ["sensitivity", "interference", "comparison"])
def test_everything_is_repeated_with_each_seed(base, what):
    once = ids(chains_of(base, what, "seed: 3\n"))

    chains = chains_of(base, what, "seed: 9\nseeds: [3, 8]\n")

    assert ids(chains) == once + [[name.replace("-s3", "-s8") for name in chain] for chain in once]
    for chain in chains:
        assert {member.seed for member in chain} == {job.seed for job in jobs_of(base, chain)}
        assert all(f"-s{member.seed}" in member.id for member in chain)


# Before and after


def test_before_and_after_are_a_chain(base):
    (chain,) = chains_of(base, "sensitivity")

    before, after = jobs_of(base, chain)
    assert [(member.id, member.role) for member in chain] == [("before-s0", "before"), ("after-s0", "after")]
    assert (before.start, after.start) == (None, "study/runs/before-s0")
    assert ([*before.tasks], [*after.tasks]) == (["denoise"], ["deblur"])
    assert before.train.mode == after.train.mode == "mixed"


def test_what_is_named_is_not_made(base):
    text = text_of("sensitivity")
    named = text.replace("before: {train: {mode: mixed}}", "before: general")
    (base / "runs" / "general").mkdir(parents=True, exist_ok=True)

    (chain,) = member_chains(parse_yaml(named, "job.yaml"), "study/runs", base / "runs")

    assert [member.id for member in chain] == ["after-s0"]
    assert jobs_of(base, chain)[0].start == str(base / "runs" / "general")
    assert chains_of(base, "rank-energy") == []


def test_a_folder_that_is_named_stays_as_it_is_written(base):
    text = text_of("sensitivity").replace("before: {train: {mode: mixed}}", "before: packs/general")

    ((after,),) = member_chains(parse_yaml(text, "job.yaml"), "study/runs", base / "runs")

    assert after.document.value["start"] == "packs/general"


# Variants


def test_a_list_is_a_chain_of_jobs_each_of_which_begins_with_the_one_before(base):
    mixed, two, three = chains_of(base, "comparison")

    assert ids([mixed, two, three]) == [
        ["mixed-s0"],
        ["two-stage-s0-1", "two-stage-s0-2"],
        [f"three-s0-{n}" for n in (1, 2, 3)],
    ]
    assert [{member.role for member in chain} for chain in (mixed, two, three)] == [{"mixed"}, {"two-stage"}, {"three"}]
    (plain,) = jobs_of(base, mixed)
    assert (plain.start, plain.train.mode) == (None, "mixed")
    first, second = jobs_of(base, two)
    assert isinstance(first, TrainJob)
    assert isinstance(second, FinetuneJob)
    assert (first.start, second.backbone) == (None, "study/runs/two-stage-s0-1")
    assert (first.train.stages[0].steps, second.train.stages[0].steps) == (10, 30)
    assert (second.bias.rank, [*second.tasks]) == (2, ["denoise", "deblur"])
    one, other, last = jobs_of(base, three)
    assert (one.start, other.start, last.backbone) == (None, "study/runs/three-s0-1", "study/runs/three-s0-2")
    assert (one.train.stages[0].steps, other.train.stages[0].steps) == (30, 7)
    assert last.bias.rank == 4  # that of the training


def test_variants_share_nothing_that_one_could_change(base):
    document = parse_yaml(text_of("comparison"), "job.yaml")
    before = parse_yaml(text_of("comparison"), "job.yaml").value

    for chain in member_chains(document, "study/runs", base / "runs"):
        for member in chain:
            member.document.value["train"]["stages"].clear()
            member.document.value["data"].clear()

    assert document.value == before


def test_a_mistake_in_a_step_of_a_chain_is_told_with_its_line(base):
    text = text_of("comparison").replace("steps: 7, patch: 48", "steps: 7, patch: 4")

    line = next(number for number, line in enumerate(text.splitlines(), 1) if "patch: 4," in line)
    assert problems(base, text) == [f"job.yaml:{line}: train.stages.0.patch: expected at least 16, found 4"]


# Interference


def test_each_task_alone_each_pair_and_all_together_are_trained(base):
    chains = chains_of(base, "interference")

    assert ids(chains) == [
        *(["denoise-s0"], ["deblur-s0"], ["derain-s0"]),
        *(["denoise-deblur-s0"], ["denoise-derain-s0"], ["deblur-derain-s0"]),
        ["together-s0"],
    ]
    jobs = {chain[0].role: jobs_of(base, chain)[0] for chain in chains}
    crops = {role: {name: use.weight for name, use in job.tasks.items()} for role, job in jobs.items()}
    # a task alone has as many crops of a step as a pair of tasks that have as many as it
    assert crops == {
        "denoise": {"denoise": 2},
        "deblur": {"deblur": 6},
        "derain": {"derain": 2},
        "denoise+deblur": {"denoise": 1, "deblur": 3},
        "denoise+derain": {"denoise": 1, "derain": 1},
        "deblur+derain": {"deblur": 3, "derain": 1},
        "all tasks": {"denoise": 1, "deblur": 3, "derain": 1},
    }
    assert {job.train.stages for job in jobs.values()} == {jobs["all tasks"].train.stages}


def test_parameters_of_tasks_stay_with_them(base):
    text = text_of("interference").replace("{denoise: 1,", "{denoise: {params: {sigma: 15}},")

    for (member,) in member_chains(parse_yaml(text, "job.yaml"), "study/runs", base / "runs"):
        (job,) = jobs_of(base, (member,))
        assert all(use.params == ({"sigma": 15} if name == "denoise" else {}) for name, use in job.tasks.items())


def test_gradients_are_compared_at_four_moments_of_the_training_of_all(base):
    *others, (together,) = chains_of(base, "interference")

    (job,) = jobs_of(base, (together,))
    assert (job.checkpoint.every, job.checkpoint.keep) == (10, 5)  # 40 steps in all
    assert job.train.mode == "synchronous"
    assert all("checkpoint" not in member.document.value for (member,) in others)


@pytest.mark.parametrize("in_base", ["  tasks: [denoise]\n", ""], ids=["tasks in the base", "none in the base"])
def test_a_task_that_is_not_is_told_once_on_the_line_of_the_tasks(base, in_base):
    text = text_of("interference").replace("  tasks: [denoise]\n", in_base).replace("derain", "derian")

    found = problems(base, text)

    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("tasks:"))
    assert found == [f"job.yaml:{line}: tasks.derian: unknown task 'derian'; did you mean 'derain'?"]
