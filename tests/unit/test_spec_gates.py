"""Gates as files write them, and what a task file says about test sets."""

import pytest

from ipt_platform.errors import SpecError
from ipt_platform.spec.gates import Gate, parse_gate
from ipt_platform.spec.task import parse_task

TASK = "apiVersion: ipt/v1\nkind: task\nname: mine\ndescription: Mine.\nstage: downstream\ndegradation: {name: rain}\n"


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("psnr >= 30.1", Gate("psnr", 30.1)),
        ("gain>=-0.5", Gate("gain", -0.5)),
        ("  ssim  >=  .9 ", Gate("ssim", 0.9)),
        ("psnr >= 3e1", Gate("psnr", 30.0)),
    ],
)
def test_a_gate_is_a_metric_and_a_number_however_it_is_spaced(text, gate):
    assert parse_gate(text) == gate
    assert parse_gate(str(gate)) == gate


@pytest.mark.parametrize("number", [30.123456789, 1e-7, 100.0, 0.1 + 0.2])
def test_no_digit_of_a_gate_that_people_write_is_lost(number):
    assert parse_gate(str(Gate("gain", number))).least == pytest.approx(number, rel=1e-11)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("psnr > 30", "expected METRIC >= NUMBER"),
        ("psnr >= thirty", "expected METRIC >= NUMBER"),
        ("psnr >= 30 dB", "expected METRIC >= NUMBER"),
        ("30 <= psnr", "expected METRIC >= NUMBER"),
        ("pnsr >= 30", "did you mean 'psnr'"),
        ("ssim >= 90", "from -1 to 1"),
        ("psnr >= 1e999", "finite"),
    ],
)
def test_what_is_no_gate_is_told_on_its_line(text, told):
    with pytest.raises(SpecError) as caught:
        parse_task(f"{TASK}sets: [a]\ngates: ['psnr >= 1', '{text}']\n", "mine.yaml")

    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (8, "gates.1")
    assert told in problem.message


def test_a_gate_without_a_set_to_judge_it_on_is_an_error():
    with pytest.raises(SpecError, match=r"mine\.yaml:7: gates: .*name some in `sets`"):
        parse_task(f"{TASK}gates: ['psnr >= 1']\n", "mine.yaml")


def test_gates_sets_and_the_degradation_are_told_together():
    with pytest.raises(SpecError) as caught:
        parse_task(TASK.replace("{name: rain}", "{name: rain, density: 9}") + "gates: ['psnr >= 1']\n", "mine.yaml")

    assert [problem.path for problem in caught.value.problems] == ["degradation.density", "gates"]


def test_a_task_that_says_nothing_of_it_has_no_gates_and_the_usual_margin():
    task = parse_task(TASK, "mine.yaml")

    assert (task.owner, task.sets, task.gates, task.protocol, task.margin) == (None, (), (), "rgb-uint8", 0.05)
    assert parse_task(f"{TASK}sets: [a]\ngates: ['psnr>=30']\n", "mine.yaml").thresholds == (Gate("psnr", 30.0),)
