"""Tasks made by composition alone: the second-order chain of Real-ESRGAN, and weather at dusk."""

import json
from collections import Counter

import numpy as np
from PIL import Image

from ipt_platform.data.degradations import build_degradation
from ipt_platform.evaluate.testset import frozen_task, open_testset
from ipt_platform.spec.task import load_task

DRAWS = 2000


def often(count: int, probability: float) -> bool:
    return abs(count / DRAWS - probability) < 4 * np.sqrt(probability * (1 - probability) / DRAWS) + 1e-9


def test_realworld_draws_as_often_as_real_esrgan_does():
    """Against the numbers of its published settings for x4plus."""
    chain, rng = load_task("realworld").training({}), np.random.default_rng(0)
    drawn = [{step["name"]: step["params"] for step in chain.draw(rng)["steps"]} for _ in range(DRAWS)]

    def chosen(step: str) -> Counter:
        return Counter(None if params[step] is None else params[step]["choice"] for params in drawn)

    for blur, applied in (("first-blur", 1.0), ("second-blur", 0.8)):
        found = chosen(blur)
        assert often(found[None], 1 - applied)
        assert often(found[0], applied * 0.1)
        for choice, share in enumerate((0.45, 0.25, 0.12, 0.03, 0.12, 0.03), start=1):
            assert often(found[choice], applied * 0.9 * share)
    for resize, up, down, keep in (("first-resize", 0.2, 0.7, 0.1), ("second-resize", 0.3, 0.4, 0.3)):
        found = chosen(resize)
        assert often(found[0], up)
        assert often(found[1], down)
        assert often(found[None], keep)
    for noise in ("first-noise", "second-noise"):
        assert often(chosen(noise)[0], 0.5)
    for first, sinc in ((0, 0), (1, 1)):
        last = [params["last"]["params"]["steps"] for params in drawn if params["last"]["choice"] == first]
        assert often(len(last), 0.5)
        assert [step["name"] for step in last[0]] == (["sinc-blur", "jpeg"] if first == 0 else ["jpeg", "sinc-blur"])
        left_out = sum(steps[sinc]["params"] is None for steps in last)
        assert abs(left_out / len(last) - 0.2) < 4 * np.sqrt(0.16 / len(last))


def test_parameters_of_realworld_can_be_fixed_for_a_test_set():
    task = load_task("realworld")

    fixed = task.testing(
        {
            "first-jpeg": {"quality": 30},
            "second-blur": {"probability": 0},
            "first-resize": {"weights": [0, 1], "probability": 1},
        }
    )

    params = fixed.draw(np.random.default_rng(0))
    drawn = {step["name"]: step["params"] for step in params["steps"]}
    assert drawn["first-jpeg"]["quality"] == 30
    assert drawn["second-blur"] is None
    assert drawn["first-resize"]["choice"] == 1


def test_realworld_loses_detail_and_keeps_the_colours():
    clean = np.kron(np.random.default_rng(0).random((16, 16, 3)), np.ones((6, 6, 1))).astype(np.float32)
    chain = load_task("realworld").training({})

    for seed in range(10):
        degraded, _ = chain(clean, np.random.default_rng(seed))
        assert abs(degraded.mean() - clean.mean()) < 0.03
        assert np.corrcoef(degraded.ravel(), clean.ravel())[0, 1] > 0.5
        assert np.sqrt(np.mean((degraded - clean) ** 2)) > 0.01


def test_dusk_rain_and_haze_are_applied_in_the_order_of_light():
    """As OneRestore composes them: what is dark is rained on, and haze lies over both."""
    dusk = build_degradation(["lowlight", "rain", {"name": "haze", "flat": 1, "airlight": 0.8}])
    clean = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)

    degraded, params = dusk(clean, np.random.default_rng(4))

    dark, rain, haze = (step["params"] for step in params["steps"])
    before_haze = build_degradation("rain").apply(build_degradation("lowlight").apply(clean, dark), rain)
    kept = np.exp(-haze["beta"] * haze["depth"])
    np.testing.assert_allclose(degraded, before_haze * kept + 0.8 * (1 - kept), atol=1e-5)
    assert degraded.std() < before_haze.std() < clean.std()


def test_test_sets_of_composed_tasks_are_frozen(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    testset = open_testset("p", [tmp_path])

    for task, change in (("realworld", {"last": {"weights": [1, 0]}}), ("inpaint", {"brush": {"share": 0.1}})):
        (one,), (other,) = (list(testset.items(frozen_task(task))) for _ in range(2))
        assert one.degraded.tobytes() == other.degraded.tobytes()
        assert one.params == other.params == json.loads(json.dumps(one.params))
        assert testset.digest(frozen_task(task)) != testset.digest(frozen_task(task, change))


def test_a_hole_of_the_inpainting_test_set_is_a_black_quarter_of_the_picture():
    clean = np.full((64, 64, 3), 0.5, np.float32)

    degraded, _ = load_task("inpaint").testing({})(clean, np.random.default_rng(1))

    assert (degraded == 0).all(axis=2).mean() == 0.25
