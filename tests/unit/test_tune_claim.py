import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.errors import DataError, UsageError
from ipt_platform.tune.claim import Claim

BASE = {0: 30.00, 1: 30.30, 2: 30.15}
CLEAR = {0: 30.50, 1: 30.81, 2: 30.64}
"""About 0.5 dB above BASE at every seed."""
CLOSE = {0: 30.10, 1: 30.25, 2: 30.16}
"""Inside the noise of BASE."""

PLAIN = st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True)
QUOTED = st.text(st.sampled_from("ab >=_.|ü'"), min_size=1, max_size=6).filter(str.strip)


@given(st.lists(PLAIN | QUOTED, min_size=2, max_size=5, unique=True), st.data())
def test_a_claim_that_is_written_is_read_back(names, data):
    operators = data.draw(st.lists(st.sampled_from([">", ">="]), min_size=len(names) - 1, max_size=len(names) - 1))
    claim = Claim(tuple(names), tuple(operators))

    assert Claim.parse(str(claim)) == claim


def test_spaces_do_not_matter_and_quotes_hold_any_name():
    assert Claim.parse("""two-stage>='rank 8 > all'>  "it's" """) == Claim(("two-stage", "rank 8 > all", "it's"), (">=", ">"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a >",
        "> a",
        "a > > b",
        "a b > c",
        "a >> b",
        "a => b",
        "a = b",
        "a < b",
        "a > b_c",
        "a > 'b",
        "a > b > a",
        "a > ''",
    ],
)
def test_what_is_no_ordering_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="synchronous > two-stage > mixed"):
        Claim.parse(text)


@pytest.mark.parametrize(
    ("text", "other", "outcome", "words"),
    [
        ("a > b", BASE, "holds", "higher beyond the noise"),
        ("a >= b", BASE, "holds", "higher beyond the noise"),
        ("b > a", BASE, "does not hold", "lower beyond the noise"),
        ("b >= a", BASE, "does not hold", "lower beyond the noise"),
        ("a > b", {0: 30.0}, "undecided", "one seed: noise unknown"),
        ("a >= b", {0: 30.0}, "undecided", "one seed: noise unknown"),
        ("a >= b", {}, "undecided", "no seed in common"),
        ("a > b", {seed: value - 0.5 for seed, value in CLEAR.items()}, "undecided", "no spread: noise unknown"),
    ],
)
def test_one_step(text, other, outcome, words):
    found = Claim.parse(text).judge({"a": CLEAR, "b": other})

    assert (found.overall, found.steps[0].words) == (outcome, words)
    assert outcome in found.steps[0].sentence()
    assert words in found.steps[0].sentence()
    json.dumps(found.to_dict(), allow_nan=False)


def test_inside_the_noise_is_no_win_and_only_not_lower():
    values = {"a": CLOSE, "b": BASE}
    strict, weak = Claim.parse("a > b").judge(values), Claim.parse("a >= b").judge(values)

    assert (strict.overall, strict.steps[0].words) == ("undecided", "inside the noise")
    assert (weak.overall, weak.steps[0].words) == ("holds", "not lower beyond the noise")


def test_a_chain_is_as_good_as_its_worst_step():
    values = {"a": {seed: value + 0.5 + 0.01 * seed for seed, value in CLEAR.items()}, "b": CLEAR, "c": BASE, "d": CLOSE}

    assert Claim.parse("a > b > c").judge(values).overall == "holds"
    assert Claim.parse("a > b > c > d").judge(values).overall == "undecided"
    assert Claim.parse("a > c > b").judge(values).overall == "does not hold"
    assert [step.outcome for step in Claim.parse("a > c > b").judge(values).steps] == ["holds", "does not hold"]


def test_small_losses_that_add_up_contradict_a_chain():
    """Neither step is reversed beyond the noise, but the ends of the chain are."""
    values = {"a": {0: 30.0, 1: 30.0, 2: 30.0}, "b": {0: 30.0, 1: 30.3, 2: 30.1}, "c": {0: 30.31, 1: 30.30, 2: 30.32}}
    found = Claim.parse("a >= b >= c").judge(values)

    assert [step.outcome for step in found.steps] == ["holds", "holds"]
    assert [(step.one, step.other) for step in found.contradicted] == [("a", "c")]
    assert found.overall == "does not hold"


def test_a_name_that_was_not_measured_is_an_error():
    with pytest.raises(DataError, match=r"nothing was measured for mixde; there is a, mixed"):
        Claim.parse("a > mixde").judge({"a": BASE, "mixed": CLEAR})
