"""`--set KEY=VALUE`: what it replaces, what it makes, and how its mistakes are named."""

import pytest

from ipt_platform.errors import SpecError
from ipt_platform.spec.overrides import apply_overrides
from ipt_platform.spec.source import parse_yaml

TEXT = "a:\n  b: 1\n  c: [10, {d: 20}]\ne: text\n"


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["a.b=2"], {"a": {"b": 2, "c": [10, {"d": 20}]}, "e": "text"}),
        (["a.b=3e-4", "a.b=5"], {"a": {"b": 5, "c": [10, {"d": 20}]}, "e": "text"}),
        (["a.c.1.d=[x, y]"], {"a": {"b": 1, "c": [10, {"d": ["x", "y"]}]}, "e": "text"}),
        (["new.deep.key={k: null}"], {"a": {"b": 1, "c": [10, {"d": 20}]}, "e": "text", "new": {"deep": {"key": {"k": None}}}}),
        (["e=x=y"], {"a": {"b": 1, "c": [10, {"d": 20}]}, "e": "x=y"}),
        (["a="], {"a": None, "e": "text"}),
        (["a=null", "a.b=7"], {"a": {"b": 7}, "e": "text"}),
    ],
)
def test_values_are_put_in_place(overrides, value):
    document = parse_yaml(TEXT, "f")

    assert apply_overrides(document, overrides).value == value
    assert document == parse_yaml(TEXT, "f")  # the original is left alone


def test_every_mistake_is_named():
    with pytest.raises(SpecError) as caught:
        apply_overrides(parse_yaml(TEXT, "f"), ["a", "=1", "a..b=1", "a.c.2=1", "a.c.x=1", "e.f=1", "a.b=[", "a.b=!!set {}"])

    assert [str(problem) for problem in caught.value.problems] == [
        "--set a: expected KEY=VALUE, as in train.stages.0.steps=200",
        "--set =1: expected KEY=VALUE, as in train.stages.0.steps=200",
        "--set a..b=1: expected KEY=VALUE, as in train.stages.0.steps=200",
        "--set a.c.2=1: 'a.c' is a list of 2; expected a number from 0 to 1, found '2'",
        "--set a.c.x=1: 'a.c' is a list of 2; expected a number from 0 to 1, found 'x'",
        "--set e.f=1: 'e' is 'text', which has no key 'f'",
        "--set a.b=[: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'",
        "--set a.b=!!set {}: tag !!set is not allowed",
    ]


def test_a_problem_in_an_overridden_value_names_the_override_and_not_a_line():
    document = apply_overrides(parse_yaml(TEXT, "f"), ["a.c=[1, 2]", "e=5"])

    assert str(document.problem(("a", "c", 1), "oh")) == "--set a.c=[1, 2]: a.c.1: oh"
    assert str(document.problem(("e",), "oh")) == "--set e=5: e: oh"
    assert str(document.problem(("a", "b"), "oh")) == "f:2: a.b: oh"


def test_an_override_above_another_one_hides_it():
    document = apply_overrides(parse_yaml(TEXT, "f"), ["a.b=5", "a={b: 6}"])

    assert str(document.problem(("a", "b"), "oh")) == "--set a={b: 6}: a.b: oh"


def test_an_empty_file_can_be_filled():
    assert apply_overrides(parse_yaml("", "f"), ["a.b=1"]).value == {"a": {"b": 1}}
