"""Chains and choices: order, probability, weights, margins, and how they are spelled and refused."""

import json
import pickle
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PrivateAttr, ValidationError

from ipt_platform.data.degradations import DEGRADATIONS, Frame, build_degradation
from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.degradations.compose import OWN_KEYS, Chain, Step
from ipt_platform.data.degradations.frame import Context

HALF = {"name": "haze", "flat": 1, "airlight": 1}
SHAKE = {"name": "motion-blur", "length": 12, "wander": 1, "shakes": 1}
NESTED = [
    "haze",
    {"name": "rain", "density": 0.02, "probability": 0.5, "as": "shower"},
    {"name": "one-of", "weights": [1, 3], "choices": ["snow", [SHAKE, {"name": "gaussian-noise", "sigma": 25}]]},
]

seeds = st.integers(0, 2**32 - 1)


def picture(seed=0, size=(32, 40)):
    return np.random.default_rng(seed).random((*size, 3), dtype=np.float32)


def test_a_chain_is_its_steps_one_after_another():
    chain = build_degradation([SHAKE, HALF, {"name": "rain", "density": 0.02}])
    clean = picture()

    degraded, params = chain(clean, np.random.default_rng(3))

    rng, expected = np.random.default_rng(3), clean
    for spec, drawn in zip([SHAKE, HALF, {"name": "rain", "density": 0.02}], params["steps"], strict=True):
        expected, alone = build_degradation(spec)(expected, rng)
        assert drawn == {"name": spec["name"], "params": alone}
    assert degraded.tobytes() == expected.tobytes()


def test_the_order_of_the_steps_matters():
    bright, dim = {**HALF, "airlight": 1}, {**HALF, "airlight": 0}
    clean = picture()

    one, _ = build_degradation([bright, dim])(clean, np.random.default_rng(0))
    other, _ = build_degradation([dim, bright])(clean, np.random.default_rng(0))

    assert (one < other).all()


@settings(max_examples=25)
@given(seed=seeds)
def test_params_after_json_rebuild_the_pair_and_the_picture_is_left_alone(seed):
    nested = build_degradation(NESTED)
    clean = picture(seed)
    before = clean.copy()

    degraded, params = nested(clean, np.random.default_rng(seed))
    again, same = nested(clean, np.random.default_rng(seed))

    assert params == same
    assert degraded.tobytes() == again.tobytes()
    assert degraded.tobytes() == nested.apply(clean, json.loads(json.dumps(params))).tobytes()
    assert clean.tobytes() == before.tobytes()
    assert not np.shares_memory(degraded, clean)
    assert degraded.dtype == np.float32
    assert degraded.shape == clean.shape


def test_a_spec_survives_json_and_processes():
    nested = build_degradation(NESTED)

    dumped = json.loads(nested.model_dump_json())

    assert build_degradation({"name": nested.name, **dumped}) == nested
    assert build_degradation(dumped["steps"]) == nested
    assert pickle.loads(pickle.dumps(nested)) == nested


def test_a_step_is_applied_as_often_as_it_says():
    chain = build_degradation([{**HALF, "probability": 0.25}])
    rng, clean = np.random.default_rng(0), picture()

    drawn = [chain.draw(rng) for _ in range(2000)]

    left_out = [params for params in drawn if params["steps"][0]["params"] is None]
    assert abs(len(left_out) / 2000 - 0.75) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    untouched = chain.apply(clean, left_out[0])
    assert untouched.tobytes() == clean.tobytes()
    assert not np.shares_memory(untouched, clean)


@pytest.mark.parametrize("probability", [0, 1])
def test_a_step_that_is_certain_takes_nothing_from_the_generator_but_its_parameters(probability):
    chain = build_degradation([{"name": "gaussian-noise", "sigma": 25, "probability": probability}])

    steps = [chain.draw(np.random.default_rng(seed))["steps"][0] for seed in range(50)]

    alone = build_degradation({"name": "gaussian-noise", "sigma": 25})
    assert [step["params"] for step in steps] == [
        alone.draw(np.random.default_rng(seed)) if probability else None for seed in range(50)
    ]


@pytest.mark.parametrize(("weights", "shares"), [(None, [1 / 3, 1 / 3, 1 / 3]), ([1, 0, 3], [0.25, 0, 0.75])])
def test_choices_come_as_often_as_their_weights_say(weights, shares):
    choice = build_degradation({"name": "one-of", "choices": ["haze", "snow", "rain"], "weights": weights})
    rng = np.random.default_rng(0)

    drawn = [choice.draw(rng)["choice"] for _ in range(3000)]

    for place, share in enumerate(shares):
        assert abs(drawn.count(place) / 3000 - share) <= 4 * np.sqrt(share * (1 - share) / 3000)


def test_the_drawn_choice_is_what_is_applied():
    specs = [HALF, {"name": "rain", "density": 0.02}, SHAKE]
    choice = build_degradation({"name": "one-of", "choices": specs})
    clean = picture()

    for seed in range(12):
        degraded, params = choice(clean, np.random.default_rng(seed))
        chosen = build_degradation(specs[params["choice"]])
        assert params["name"] == chosen.name
        assert degraded.tobytes() == chosen.apply(clean, params["params"]).tobytes()


def test_margins_add_up_along_a_chain_and_the_largest_choice_counts():
    short, long = build_degradation(SHAKE).margin, build_degradation({**SHAKE, "length": 20}).margin

    assert build_degradation([SHAKE, "gaussian-noise", {**SHAKE, "length": 20}]).margin == short + long
    assert build_degradation({"name": "one-of", "choices": [SHAKE, {**SHAKE, "length": 20}]}).margin == long


def test_a_file_is_as_much_smaller_as_every_pair_is():
    half, quarter = ({"name": "low-resolution", "scale": scale} for scale in (2, 4))

    assert build_degradation([half, quarter, "gaussian-noise"]).upscale == 4
    assert build_degradation(["haze", {**quarter, "probability": 0.5}]).upscale == 1
    assert build_degradation({"name": "one-of", "choices": [half, [quarter, "haze"]]}).upscale == 2
    assert build_degradation({"name": "one-of", "choices": [half, "haze"]}).upscale == 1


@pytest.mark.parametrize(
    "spec",
    [
        [SHAKE, {**SHAKE, "length": 7}],
        [{"name": "haze", "flat": 0, "objects": 0.5}, SHAKE, HALF],
        [{"name": "low-resolution", "scale": 3}, {"name": "jpeg", "quality": 40}, SHAKE],
        [SHAKE, {"name": "one-of", "choices": [[{**SHAKE, "probability": 0.5}, SHAKE], {"name": "haze", "flat": 0}]}],
    ],
)
@pytest.mark.parametrize("told", [False, True])
@settings(max_examples=20)
@given(seed=seeds, top=st.integers(0, 40), left=st.integers(0, 20))
def test_the_chain_of_a_crop_with_margin_is_the_crop_of_the_chain(spec, told, seed, top, left):
    """Whether or not it is told that the margin is context which nobody wants."""
    clean, size = picture(seed, (70, 50)), 30
    chain = build_degradation(spec)
    params, m = chain.draw(np.random.default_rng(seed)), chain.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")

    whole = chain.apply(clean, params)[top : top + size, left : left + size]
    context = padded[top : top + size + 2 * m, left : left + size + 2 * m]
    frame = Frame(70, 50, top - m, left - m, Context(m, m, m, m) if told else Context())
    crop = chain.apply(context, params, frame)
    if not told:
        crop = crop[m : m + size, m : m + size]

    np.testing.assert_allclose(crop, whole, atol=5e-5)


class Watched(Degradation):
    """Leaves the picture alone, and writes down how much of it and of context it was given."""

    name: ClassVar[str] = "watched"

    radius: int
    _given: list = PrivateAttr(default_factory=list)

    @property
    def margin(self):
        return 100

    def reach(self, params):
        return self.radius

    def draw(self, rng):
        return {}

    def apply(self, clean, params, frame=None):
        self._given.append((clean.shape[:2], (frame.top, frame.left), tuple(frame.context)))
        return clean[frame.inner(*clean.shape[:2])].copy()


@pytest.mark.parametrize(
    ("top", "left", "given"),
    [
        # 20x20 pixels are asked for, from (top, left) on; the first step sees 5 + 3 round them, the second one 3.
        (90, 60, [((36, 36), (82, 52), (5, 5, 5, 5)), ((26, 26), (87, 57), (3, 3, 3, 3))]),
        (0, 6, [((28, 34), (0, 0), (0, 5, 3, 5)), ((23, 26), (0, 3), (0, 3, 3, 3))]),
        (180, 76, [((28, 32), (172, 68), (5, 0, 5, 1)), ((23, 26), (177, 73), (3, 0, 3, 3))]),
    ],
)
def test_steps_get_no_more_context_than_they_need_and_nothing_from_outside_the_picture(top, left, given):
    """In a picture of 200x100 pixels, whatever margin the crop came with."""
    first, second = Watched(radius=5), Watched(radius=3)
    chain = Chain(steps=(Step(degradation=first), Step(degradation=second)))
    context = picture(0, (120, 120))

    inner = chain.apply(context, {"steps": [{"params": {}}] * 2}, Frame(200, 100, top - 50, left - 50, Context(50, 50, 50, 50)))

    assert first._given + second._given == given
    np.testing.assert_array_equal(inner, context[50:70, 50:70])


@pytest.mark.parametrize(
    ("subsampling", "size", "place"),
    [
        (444, (34, 34), (83, 51)),  # blocks of 8: rows 88 to 112, columns 56 to 80, and 5 pixels round them
        (420, (42, 57), (75, 43)),  # of 16, with 2 pixels more: rows 80 to 112, columns 48 to 96, and what there is
    ],
)
def test_what_comes_before_a_compression_is_made_for_whole_blocks_and_no_more(subsampling, size, place):
    """20x20 pixels from (90, 60) on, of a picture of 200x100 pixels."""
    first, jpeg = Watched(radius=5), build_degradation({"name": "jpeg", "subsampling": subsampling})
    chain = Chain(steps=(Step(degradation=first), Step(degradation=jpeg)))
    steps = [{"params": {}}, {"params": jpeg.draw(np.random.default_rng(0))}]

    chain.apply(picture(0, (120, 120)), {"steps": steps}, Frame(200, 100, 40, 10, Context(50, 50, 50, 50)))

    assert [given[:2] for given in first._given] == [(size, place)]


def test_a_draw_needs_no_more_than_its_steps_and_choices_do():
    long = {**SHAKE, "length": {"choices": [2, 40]}}
    chain = build_degradation([long, {"name": "one-of", "choices": [HALF, long]}, {**long, "probability": 0.5}])
    rng, drawn = np.random.default_rng(0), []

    for _ in range(200):
        steps = (params := chain.draw(rng))["steps"]
        shakes = [steps[0]["params"], steps[1]["params"]["params"], steps[2]["params"]]
        needs = sum(shake["length"] // 2 for shake in shakes if shake and "length" in shake)
        drawn.append(chain.reach(params))
        assert drawn[-1] == needs

    assert chain.margin == max(drawn) == 60
    assert min(drawn) == 1


@pytest.mark.parametrize(
    ("spec", "place", "sentence"),
    [
        (["rain", "haez"], ("steps", 1, "degradation", "name"), "unknown degradation 'haez'; did you mean 'haze'"),
        ([{"name": "rain", "angle": 100}], ("steps", 0, "degradation", "angle"), "expected numbers between -80 and 80"),
        ([{"name": "rain", "probability": 2}], ("steps", 0, "probability"), "less than or equal to 1"),
        ([{"name": "rain", "probability": "1"}], ("steps", 0, "probability"), "valid number"),
        ([{"name": "rain", "as": "a.b"}], ("steps", 0, "as"), "match pattern"),
        ([], ("steps",), "the list is empty"),
        ([3], ("steps", 0, "degradation"), "expected {name"),
        (
            {"name": "one-of", "choices": ["rain"], "weights": [1, 2]},
            ("weights",),
            "one weight for each of the 1 choices, found 2",
        ),
        ({"name": "one-of", "choices": ["rain"], "weights": [0]}, ("weights",), "all weights are 0"),
        ({"name": "one-of", "choices": ["rain"], "weights": [-1]}, ("weights", 0), "greater than or equal to 0"),
        ({"name": "one-of", "choices": []}, ("choices",), "the list is empty"),
        ({"name": "one-of"}, ("choices",), "required"),
        ({"name": "rain", "probability": 0.5}, ("probability",), r"write a list of one: \[{name: rain, probability"),
    ],
)
def test_a_wrong_composition_is_refused_with_place_and_reason(spec, place, sentence):
    with pytest.raises(ValidationError, match=sentence) as caught:
        build_degradation(spec)

    assert [detail["loc"] for detail in caught.value.errors()] == [place]


def test_every_problem_is_told_at_once():
    with pytest.raises(ValidationError) as caught:
        build_degradation([{"name": "rain", "densty": 1, "probability": 2}, [{"name": "haze", "beta": -1}], "gaussian"])

    assert len(caught.value.errors()) == 4


def test_no_family_has_parameters_of_the_names_that_steps_use():
    assert not [
        name for name, family in DEGRADATIONS.items() if {*OWN_KEYS, "name", "steps", "degradation"} & {*family.model_fields}
    ]


def test_a_chain_can_be_made_of_built_degradations():
    rain = build_degradation("rain")

    assert Chain(steps=(Step(degradation=rain, probability=0.5),)) == build_degradation([{"name": "rain", "probability": 0.5}])
    with pytest.raises(ValidationError, match="build_degradation"):
        Chain.model_validate({"steps": ["rain"]})
