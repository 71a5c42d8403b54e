"""Curves in a real browser: looked into by mouse, keys and fields."""

import pytest

from ipt_platform.observe.metrics_log import append_metrics
from tests.integration.web.conftest import report

pytestmark = pytest.mark.slow


def test_a_chart_shows_more_where_one_looks_closer(long):
    looked, _ = long(2000)
    page = looked.page

    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50, steps=4)
    with page.expect_response(lambda response: "from=" in response.url) as told:
        page.mouse.up()
    steps = told.value.json()["charts"][0]["steps"]
    assert 950 < steps[0] < 1050
    assert len(steps) == pytest.approx(200, abs=20)

    with page.expect_response(lambda response: response.url.endswith("/series")):
        page.get_by_role("button", name="Show all steps").click()
    before = page.locator("canvas").first.evaluate("each => each.toDataURL()")
    page.get_by_label("Logarithmic").check()
    logarithmic = page.locator("canvas").first.evaluate("each => each.toDataURL()")
    page.get_by_label("Smoothing").fill("0.9")
    smooth = page.locator("canvas").first.evaluate("each => each.toDataURL()")
    assert len({before, logarithmic, smooth}) == 3
    assert looked.wrong == []


def test_curves_are_looked_into_and_read_by_keyboard(long):
    looked, run = long(300)
    page = looked.page
    slider, legend = page.get_by_role("slider", name="Training loss: numbers at a step"), page.locator(".legend").first

    for key, step in (("Home", 1), ("ArrowRight", 2), ("ArrowRight", 3)):
        slider.press(key)
        told = f"deblur: {2 / step:.4g} at step {step}"
        assert told in slider.get_attribute("aria-valuetext")
        assert told in legend.inner_text()
    for step in range(301, 340):
        append_metrics(run, report(step))
    looked.until("document.querySelector('.chart-step').max === '338'")
    assert "deblur: 0.6667 at step 3" in legend.inner_text()
    assert "at step 3" in page.locator(".legend").nth(2).inner_text()  # all charts are read at one step

    page.get_by_label("From step").fill("100")
    with page.expect_response(lambda response: "from=100" in response.url and "to=" not in response.url):
        page.keyboard.press("Tab")
    page.get_by_label("to step", exact=True).fill("120")
    with page.expect_response(lambda response: "from=100&to=120" in response.url) as found:
        page.keyboard.press("Enter")
    assert found.value.json()["charts"][0]["steps"] == list(range(100, 121))
    with page.expect_response(lambda response: response.url.endswith("/series")):
        page.get_by_role("button", name="Show all steps").click()
    assert page.get_by_label("From step").input_value() == ""
    assert looked.audit() == []
    assert looked.wrong == []


def test_smoothing_is_an_average_without_bias(served, tab):
    page = tab(served).go("/runs/busy")

    found = page.evaluate("() => import('/static/curves.js').then(m => m.smooth([1, 1, null, 3], 0.5))")

    # weights 1/2, 1/4, ... of what came before, made to sum to one
    assert found == [1, 1, None, pytest.approx((0.5 * 3 + 0.25 * 1 + 0.125 * 1) / 0.875)]
