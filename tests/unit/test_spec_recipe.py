"""Parameters of steps: replaced by a job, by `evaluate:` and by `--param`; and wrong ones named where they were written."""

import re

import pytest
import yaml

from ipt_platform.data.degradations import build_degradation
from ipt_platform.errors import SpecError
from ipt_platform.evaluate.params import parse_params
from ipt_platform.spec.recipe import problems_of_params, replaced, with_params
from ipt_platform.spec.source import Document, parse_yaml
from ipt_platform.spec.task import parse_task

CHAIN = [
    "haze",
    {"name": "one-of", "as": "weather", "choices": ["snow", [{"name": "rain", "as": "shower"}, "rain"]]},
    {"name": "gaussian-noise", "sigma": 10, "probability": 0.5},
]
TASK = """\
apiVersion: ipt/v1
kind: task
name: dusk
description: Rain at dusk.
stage: downstream
degradation:
  - {name: haze, beta: 1}
  - name: one-of
    choices:
      - rain
      - {name: snow, density: 0.01}
    weights: [2, 1]
  - name: gaussian-noise
    sigma: 10
    probability: 0.5
"""


@pytest.mark.parametrize(
    ("params", "place", "value"),
    [
        ({"haze": {"beta": 1}}, (0, "beta"), 1),
        ({"gaussian-noise": {"probability": 1}}, (2, "probability"), 1),
        ({"weather": {"weights": [1, 2]}}, (1, "weights"), [1, 2]),
        ({"weather": {"snow": {"density": 0.01}}}, (1, "choices", 0, "density"), 0.01),
        ({"snow": {"density": 0.01}}, (1, "choices", 0, "density"), 0.01),
        ({"shower": {"angle": 5}}, (1, "choices", 1, 0, "angle"), 5),
        ({"haze": {"beta": {"min": 1, "max": 2}}}, (0, "beta"), {"min": 1, "max": 2}),
    ],
)
def test_a_parameter_of_a_step_is_replaced_and_nothing_else(params, place, value):
    before = yaml.safe_dump(CHAIN)

    recipe = replaced(CHAIN, params)

    here = recipe.spec
    for part in place[:-1]:
        here = here[part]
    assert here.pop(place[-1]) == value
    without = build_degradation(replaced(CHAIN, {}).spec)
    if place[-1] != "probability":
        assert build_degradation(recipe.spec) == without
    assert recipe.problems == []
    assert yaml.safe_dump(CHAIN) == before


def test_a_range_is_replaced_as_a_whole():
    spec = with_params({"name": "gaussian-noise", "sigma": {"min": 0, "max": 50}}, {"sigma": {"choices": [15, 25]}})

    assert spec == {"name": "gaussian-noise", "sigma": {"choices": [15, 25]}}


def test_a_choice_at_the_top_has_parameters_of_its_own_and_steps():
    spec = {"name": "one-of", "choices": ["rain", "snow"]}

    assert with_params(spec, {"weights": [0, 1], "snow": {"veil": 0}}) == {
        "name": "one-of",
        "choices": [{"name": "rain"}, {"name": "snow", "veil": 0}],
        "weights": [0, 1],
    }


@pytest.mark.parametrize(
    ("spec", "params", "path", "said"),
    [
        (CHAIN, {"hase": {"beta": 1}}, "p.hase", r"there is no step 'hase'; did you mean 'haze'\?"),
        (CHAIN, {"beta": 1}, "p.beta", "'beta' is a parameter of a step: write {haze: {beta: ...}}"),
        (CHAIN, {"x": 1}, "p.x", "there is no step 'x'; known: chain, gaussian-noise, haze, rain, shower, snow, weather$"),
        (CHAIN, {"haze": 1}, "p.haze", "'haze' is a step: expected a mapping of its parameters, found 1"),
        (CHAIN, {"haze.beta": 1}, "p.haze.beta", "parameters of a step stand below its name"),
        (CHAIN, {"haze": {"betta": 1}}, "p.haze.betta", r"unknown key 'betta'; did you mean 'beta'\?"),
        (CHAIN, {"haze": {"beta": 11}}, "p.haze.beta", "expected numbers between 0 and 10, found 11"),
        (CHAIN, {"haze": {"beta": {"min": 1}}}, "p.haze.beta", "expected a number"),
        (CHAIN, {"haze": {"beta": {"min": 1, "maxx": 2}}}, "p.haze.beta.maxx", r"unknown key 'maxx'; did you mean 'max'\?"),
        (CHAIN, {"haze": {"name": "snow"}}, "p.haze.name", "'name' cannot be replaced"),
        (CHAIN, {"haze": {"as": "fog"}}, "p.haze.as", "'as' cannot be replaced"),
        (CHAIN, {"haze": {"probability": 2}}, "p.haze.probability", "expected at most 1, found 2"),
        (CHAIN, {"weather": {"weights": [1]}}, "p.weather.weights", "one weight for each of the 2 choices, found 1"),
        (CHAIN, {"weather": {"snow": {"size": "big"}}}, "p.weather.snow.size", "expected a number, .* found 'big'"),
        (["rain", "haze", "rain"], {"rain": {"angle": 1}}, "p.rain", "2 steps are called 'rain'; give them names of their own"),
        ({"name": "rain"}, {"angel": 1}, "p.angel", r"unknown key 'angel'; did you mean 'angle'\?"),
        ({"name": "rain"}, {"probability": 1}, "p.probability", "belongs to a step of a list"),
    ],
)
def test_a_wrong_replacement_is_named_where_it_was_written(spec, params, path, said):
    document = Document({"p": params}, {}, "job.yaml")

    (problem,) = problems_of_params(spec, params, document, ("p",))

    assert problem.path == path
    assert re.search(said, problem.message)


def test_every_wrong_replacement_is_named_at_once():
    params = {"haze": {"beta": 11, "betta": 1}, "hase": {}, "weather": {"snow": {"size": -1}}}

    problems = problems_of_params(CHAIN, params, Document(params, {}, "f"), ())

    assert {problem.path for problem in problems} == {"haze.beta", "haze.betta", "hase", "weather.snow.size"}


def test_a_task_of_steps_is_trained_and_tested_with_the_parameters_that_win():
    task = parse_task(TASK + "evaluate: {haze: {beta: 2}, gaussian-noise: {sigma: 20, probability: 1}}\n", "dusk.yaml")

    def haze_and_noise(degradation):
        haze, _, noise = degradation.model_dump(mode="json")["steps"]
        return haze["beta"], noise["sigma"], noise.get("probability", 1)

    assert haze_and_noise(task.training({})) == (1, 10, 0.5)
    assert haze_and_noise(task.training({"haze": {"beta": 3}})) == (3, 10, 0.5)
    assert haze_and_noise(task.testing({})) == (2, 20, 1)
    assert haze_and_noise(task.testing({"gaussian-noise": {"sigma": 30}})) == (2, 30, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("beta: 1", "betta: 1", r"t\.yaml:7: degradation.0.betta: unknown key 'betta'; did you mean 'beta'\?"),
        (
            "density: 0.01",
            "density: 1",
            r"t\.yaml:11: degradation.1.choices.1.density: expected numbers between 0 and 0\.1|0\.05",
        ),
        ("- rain", "- rian", r"t\.yaml:10: degradation.1.choices.0.name: unknown degradation 'rian'; did you mean 'rain'\?"),
        (
            "weights: [2, 1]",
            "weights: [2]",
            r"t\.yaml:12: degradation.1.weights: expected one weight for each of the 2 choices",
        ),
        ("probability: 0.5", "probability: 5", r"t\.yaml:15: degradation.2.probability: expected at most 1, found 5"),
        (
            "weights: [2, 1]",
            "wieghts: [2, 1]",
            r"t\.yaml:12: degradation.1.wieghts: unknown key 'wieghts'; did you mean 'weights'\?",
        ),
        (
            "    probability: 0.5\n",
            "    probability: 0.5\nevaluate: {haze: {beta: 11}}\n",
            r"t\.yaml:16: evaluate.haze.beta: expected",
        ),
        (
            "    probability: 0.5\n",
            "    probability: 0.5\nevaluate: {fog: {}}\n",
            r"t\.yaml:16: evaluate.fog: there is no step 'fog'",
        ),
        ("stage: downstream\n", "stage: downstream\nevaluate: 3\n", r"t\.yaml:6: evaluate: expected a mapping"),
    ],
)
def test_a_wrong_task_of_steps_is_named_with_its_line(old, new, said):
    assert old in TASK
    with pytest.raises(SpecError, match=said) as caught:
        parse_task(TASK.replace(old, new), "t.yaml")

    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3", r"expected {name: \.\.\., parameters} or a list of those"),
        ("true", r"expected {name: \.\.\., parameters} or a list of those"),
        ("null", "a task needs a `degradation`"),
    ],
)
def test_a_degradation_is_a_mapping_a_name_or_a_list(value, said):
    head = TASK.partition("degradation:")[0]

    assert parse_task(f"{head}degradation: rain\n", "t.yaml").training({}).name == "rain"
    with pytest.raises(SpecError, match=rf"t\.yaml:6: degradation: {said}"):
        parse_task(f"{head}degradation: {value}\n", "t.yaml")


def test_dotted_keys_on_the_command_line_are_parameters_of_steps():
    given = ["haze.beta=2", "weather.snow.size={min: 1, max: 2}", "gaussian-noise.sigma=5", "sigma=7"]

    assert parse_params(given) == {
        "haze": {"beta": 2},
        "weather": {"snow": {"size": {"min": 1, "max": 2}}},
        "gaussian-noise": {"sigma": 5},
        "sigma": 7,
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["haze.beta=1", "haze.beta=2"], "'haze.beta' was already given"),
        (["haze=1", "haze.beta=2"], "'haze.beta' was already given"),
        (["haze..beta=1"], "expected KEY=VALUE"),
        (["Haze=1"], "expected KEY=VALUE"),
        (["haze"], "expected KEY=VALUE"),
        (["haze.beta=[1"], "not YAML"),
    ],
)
def test_a_wrong_parameter_on_the_command_line_is_refused(given, said):
    with pytest.raises(SpecError, match=said) as caught:
        parse_params(given)

    assert len(caught.value.problems) == 1


def test_lines_of_a_job_name_the_step():
    text = "tasks:\n  dusk:\n    params:\n      haze:\n        beta: 11\n"
    document = parse_yaml(text, "job.yaml")
    params = document.value["tasks"]["dusk"]["params"]

    (problem,) = problems_of_params(CHAIN, params, document, ("tasks", "dusk", "params"))

    assert str(problem).startswith("job.yaml:5: tasks.dusk.params.haze.beta: expected numbers between 0 and 10")
