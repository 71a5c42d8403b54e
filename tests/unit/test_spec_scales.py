"""Scales of a compound job: settings laid over its file, under what the command line says; and what a resolved file keeps."""

import pytest

from ipt_platform.spec.compound import scaled
from ipt_platform.spec.load import dump_job, job_diff
from ipt_platform.spec.source import parse_yaml
from tests.unit.compound_files import COMPARISON, TUNE, comparison, compound, document, line_of, problems


def test_without_a_scale_the_file_stands_as_it_is(base):
    job = comparison(base)

    assert job.base == parse_yaml(COMPARISON, "").value["base"]
    assert (job.seeds, job.scaled_to) == ((), None)


def test_a_scale_is_laid_over_the_file_mapping_by_mapping_and_lists_are_replaced(base):
    job = comparison(base, "scale=cpu")

    assert job.base is not None
    assert job.base["train"] == {"ema": 0.9, "stages": [{"steps": 12, "patch": 48, "images": 2}]}
    assert {key: job.base[key] for key in ("model", "tasks")} == {
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
        "tasks": ["denoise", "deblur"],
    }
    assert job.seeds == (0, 1, 2)
    assert (job.scale, job.scales, job.scaled_to) == (None, None, "cpu")


def test_another_scale_changes_other_things(base):
    job = comparison(base, "scale=a100")

    assert job.base is not None
    assert job.base["model"] == {"backbone": "iptv2-base", "bias": {"rank": 4}}
    assert job.seeds == ()


def test_what_the_command_line_says_stays_on_top_of_the_scale(base):
    job = comparison(base, "scale=cpu", "seeds=[5]", "base.model.bias.rank=2", "base.train.stages.0.steps=7")

    assert job.base is not None
    assert job.seeds == (5,)
    assert job.base["model"]["bias"] == {"rank": 2}
    assert job.base["train"]["stages"] == [{"steps": 7, "patch": 48, "images": 2}]


def test_the_command_line_may_change_the_scale_itself(base):
    job = comparison(base, "scale=cpu", "scales.cpu.seeds=[8, 9]")

    assert job.seeds == (8, 9)


def test_what_the_command_line_set_in_a_list_that_the_scale_replaces_is_an_error_and_no_crash(base):
    """The file has two stages, the scale one."""
    found = problems(base, COMPARISON, "scale=cpu", "base.train.stages.1.steps=5")

    assert any("base.train.stages.1.steps=5" in problem for problem in found), found


def test_an_unknown_scale_is_named_with_those_there_are(base):
    assert problems(base, COMPARISON, "scale=h100") == [
        "--set scale=h100: scale: expected one of cpu, a100, found 'h100'",
    ]
    text = TUNE.replace("scale: small", "scale: large")
    assert problems(base, text) == ["job.yaml:4: scale: expected one of small, found 'large'"]


def test_a_scale_without_scales_is_an_error(base):
    text = "".join(line for line in TUNE.splitlines(keepends=True) if not line.startswith(("scales:", "  small:")))

    assert any("there are no scales to choose from" in problem for problem in problems(base, text))


@pytest.mark.parametrize("overrides", [(), ("scale=cpu",), ("scale=a100", "seeds=[3]")], ids=" ".join)
def test_a_resolved_comparison_loads_to_an_equal_job(base, overrides):
    job = comparison(base, *overrides)

    again = compound(base, dump_job(job))

    assert again == job
    assert job_diff(job, again) == []


def test_a_resolved_search_loads_to_an_equal_job(base):
    job = compound(base, TUNE)

    assert job.search.trials == 3
    assert job.scaled_to == "small"
    assert compound(base, dump_job(job)) == job


OTHERS = {
    "sensitivity": "before: a\nafter: b\n",
    "rank-energy": "before: a\nafter: b\ntargets: [qkv]\ncompress: {rank: 2}\n",
    "interference": "tasks: [denoise, deblur]\n",
}


@pytest.mark.parametrize("what", OTHERS)
def test_every_resolved_analysis_loads_to_an_equal_job(base, what):
    head, _, tail = COMPARISON.partition("scales:")
    own = "base:" + tail.partition("base:\n  kind")[1].removeprefix("base:") + tail.partition("base:\n  kind")[2]
    text = head.replace("what: comparison", f"what: {what}") + own.partition("variants:")[0] + OTHERS[what]

    job = compound(base, text)

    assert compound(base, dump_job(job)) == job


def test_a_mistake_in_a_scale_is_told_on_its_line_and_only_where_it_is_chosen(base):
    text = COMPARISON.replace("iptv2-base", "iptv2-bass")

    assert compound(base, text).scaled_to is None
    found = problems(base, text, "scale=a100")
    (problem,) = found
    assert problem.startswith(f"job.yaml:{line_of(text, 'iptv2-bass')}: model.backbone: expected one of iptv2-nano,")
    assert problem.endswith("found 'iptv2-bass'; did you mean 'iptv2-base'?")


def test_lines_are_known_in_a_scaled_file_too(base):
    """A missing key has no line of its own: the file's first one is told, with a scale as without."""
    text = COMPARISON.replace("name: table3\n", "")

    assert problems(base, text, "scale=cpu") == problems(base, text)
    assert problems(base, text)[0].startswith("job.yaml:1: name: this key is missing")


def test_other_documents_are_left_alone():
    for text in ("[1]", "scale: a", "scale: a\nscales: 3", "scale: 3\nscales: {a: {}}", "scales: {a: {}}"):
        plain = document(text)

        assert scaled(plain) is plain
