"""The comparer as people use it; every picture that is expected is made anew from the arrays that were drawn."""

import re

import numpy as np
import pytest

from ipt_platform.evaluate.metrics import psnr, ssim
from tests.browser.pictures.conftest import ONE, PAGE, STEPS, TWO, panel

pytestmark = pytest.mark.slow


def test_the_slider_shows_one_picture_on_either_side(visit, drawn):
    seen, pictures = visit(PAGE), panel(drawn, 20)

    (canvas,) = seen.canvases()
    middle = canvas.shape[1] // 2

    assert seen.agree(canvas, pictures["degraded"], slice(0, middle - 1))
    assert seen.agree(canvas, pictures["restored"], slice(middle + 1, None))
    assert not seen.agree(canvas, pictures["degraded"])


@pytest.mark.parametrize("at", [40, "grip"])
@pytest.mark.parametrize("view", ["", "?zoom=9&x=90&y=70"])
def test_the_slider_moves_by_mouse(visit, drawn, view, at):
    seen, pictures = visit(PAGE + view), panel(drawn, 20)
    line = seen.page.get_by_role("slider", name="Line between")
    box, stage = line.bounding_box(), seen.page.locator(".cmp-stage").bounding_box()

    down = box["height"] / 2 if at == "grip" else at
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + down)
    seen.page.mouse.down()
    seen.page.mouse.move(stage["x"] + stage["width"] * 0.7, box["y"] + 90, steps=5)
    seen.page.mouse.up()
    seen.settle()

    assert line.get_attribute("aria-valuenow") == "70"
    (canvas,) = seen.canvases()
    edge = round(canvas.shape[1] * 0.7)
    assert seen.agree(canvas, pictures["degraded"], slice(0, edge - 2))
    assert seen.agree(canvas, pictures["restored"], slice(edge + 2, None))


def test_the_slider_moves_by_keyboard(visit):
    seen = visit(PAGE)
    line = seen.page.get_by_role("slider", name="Line between")
    line.focus()

    seen.press("ArrowRight", "ArrowRight", "Shift+ArrowLeft")
    assert line.get_attribute("aria-valuenow") == "42"
    assert line.get_attribute("aria-valuetext") == "42 % degraded, the rest restored"
    assert seen.comparer("c.state.step") == 20  # the arrows of the line are no steps
    seen.press("End")
    assert line.get_attribute("aria-valuenow") == "100"
    seen.press("Home", "PageUp")
    assert line.get_attribute("aria-valuenow") == "10"


def test_all_panes_zoom_and_move_in_step(visit, drawn):
    seen, pictures = visit(PAGE), panel(drawn, 20)
    seen.press("b")
    box = seen.page.locator(".cmp-pane canvas").nth(1).bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    before = seen.comparer("c.view")

    for _ in range(6):
        seen.page.mouse.wheel(0, -150)
    seen.settle()
    seen.page.evaluate("() => document.querySelector('ipt-comparer').zoomTo(8)")
    seen.settle()
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.4, steps=4)
    seen.page.mouse.up()
    seen.settle()

    assert seen.comparer("c.view")["scale"] == 8 != before["scale"]
    canvases = seen.canvases()
    assert len({canvas.shape for canvas in canvases}) == 1
    for canvas, picture in zip(canvases, pictures.values(), strict=True):
        assert seen.agree(canvas, picture)


def test_zooming_keeps_the_point_under_the_pointer(visit):
    seen = visit(PAGE)
    box = seen.page.locator(".cmp-pane canvas").bounding_box()
    seen.press("9")
    seen.page.evaluate("() => document.querySelector('ipt-comparer').zoomTo(10)")
    seen.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    seen.settle()
    under = (
        "((at) => ['x', 'y'].map((axis, place) => c.view[axis] + "
        "(at[place] - [c.pane.width, c.pane.height][place] / 2) / c.view.scale))"
    )
    at = [box["width"] * 0.4, box["height"] * 0.6]
    before = seen.comparer(f"{under}({at})")

    for _ in range(3):
        seen.page.mouse.wheel(0, -120)
    seen.settle()

    after = seen.comparer(f"{under}({at})")
    assert seen.comparer("c.view.scale") > 15
    assert after == pytest.approx(before, abs=0.2)


def test_every_corner_is_reached_by_keyboard(visit, drawn):
    seen = visit(f"{PAGE}?mode=flip")
    seen.page.locator(".cmp-stage").focus()
    seen.press("Shift+ArrowLeft", "+", "+", "+", "+")
    before = seen.comparer("c.region")
    assert min(before["x"], before["y"], 200 - before["x"] - before["width"], 150 - before["y"] - before["height"]) > 0

    seen.press("Shift+ArrowRight")
    assert seen.comparer("c.region.x") > before["x"]
    for across, along, x, y in (("Left", "Up", 0, 0), ("Right", "Down", 200, 150)):
        seen.press(*[f"Shift+Arrow{across}"] * 30, *[f"Shift+Arrow{along}"] * 30)
        region = seen.comparer("c.region")
        assert x in (region["x"], region["x"] + region["width"])
        assert y in (region["y"], region["y"] + region["height"])
    assert seen.comparer("[c.state.step, c.state.picture]") == [20, ONE]  # nothing else has moved
    seen.press("?")
    assert "Shift" in seen.page.get_by_role("dialog", name="Keys").inner_text()


@pytest.mark.parametrize("view", ["", "&zoom=8&x=70&y=60", "&zoom=21.5&x=13&y=140", "&zoom=64&x=100&y=75"])
def test_psnr_and_ssim_are_those_of_python_on_the_region_that_is_seen(visit, drawn, view):
    seen, pictures = visit(f"{PAGE}?picture={TWO}&step=10{view}"), panel(drawn, 10, TWO)

    region = seen.comparer("c.region")
    numbers = seen.numbers()

    rows, columns = slice(region["y"], region["y"] + region["height"]), slice(region["x"], region["x"] + region["width"])
    assert seen.page.inner_text(".cmp-region").startswith(f"{region['width']} × {region['height']} pixels at ({region['x']}, ")
    clean = pictures["clean"][rows, columns]
    for name in ("degraded", "restored"):
        mine = pictures[name][rows, columns]
        assert float(numbers[name][0].removesuffix(" dB")) == pytest.approx(psnr(mine, clean, 255), abs=5.1e-3)
        if min(clean.shape[:2]) >= 11:
            assert float(numbers[name][1]) == pytest.approx(ssim(mine, clean, 255), abs=1e-4)
        else:
            assert numbers[name][1] == "below 11 px"
    assert numbers["clean"] == ["—", "—"]


def test_space_flips_and_digits_choose(visit, drawn):
    seen, pictures = visit(PAGE), panel(drawn, 20)

    for keys, name in (([" "], "degraded"), ([" "], "restored"), ([" "], "degraded"), (["3"], "clean"), (["2"], "restored")):
        seen.press(*keys)
        (canvas,) = seen.canvases()
        assert seen.agree(canvas, pictures[name]), f"{keys} does not show {name}"
        assert seen.page.inner_text(".cmp-pane figcaption") == name


def test_the_scrubber_goes_through_the_steps_and_keeps_the_view(visit, drawn):
    seen = visit(f"{PAGE}?zoom=6&x=80&y=70&mode=flip")
    seen.press("2")
    scrubber = seen.page.get_by_role("slider", name="Step of training")
    view = seen.comparer("c.view")

    for keys, step in ((["ArrowLeft"], 15), (["ArrowLeft", "ArrowLeft"], 5), (["ArrowLeft"], 5), (["ArrowRight"], 10)):
        seen.press(*keys)
        assert scrubber.get_attribute("aria-valuetext") == f"step {step}"
        (canvas,) = seen.canvases()
        assert seen.agree(canvas, drawn.pictures[step, ONE, "restored"])
        assert seen.comparer("c.view") == view
    scrubber.fill("3")
    seen.settle()
    assert seen.comparer("c.state.step") == 20
    seen.page.locator(".cmp-stage").focus()
    seen.press("ArrowDown")
    (canvas,) = seen.canvases()
    assert seen.agree(canvas, drawn.pictures[20, TWO, "restored"])


def test_neighbouring_steps_are_there_before_they_are_asked_for(visit):
    asked: list[str] = []
    seen = visit(f"{PAGE}?step=10")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').store.waiting.size === 0")
    seen.page.on("request", lambda request: asked.append(request.url))

    seen.press("ArrowRight")

    assert seen.comparer("c.state.step") == 15
    assert not [url for url in asked if "/15/" in url and url.endswith(".png")]


def test_a_pinned_step_stays_beside_the_others(visit, drawn):
    seen = visit(f"{PAGE}?step=5")
    seen.page.get_by_role("button", name="Pin this step").click()
    seen.press("ArrowRight", "ArrowRight")

    (canvas,) = seen.canvases()
    middle = canvas.shape[1] // 2
    assert seen.agree(canvas, drawn.pictures[15, ONE, "restored"], slice(0, middle - 1))
    assert seen.agree(canvas, drawn.pictures[5, ONE, "restored"], slice(middle + 1, None))
    assert list(seen.numbers()) == ["degraded", "restored", "clean", "pinned"]


def test_an_address_holds_what_is_looked_at(visit):
    seen = visit(PAGE)
    seen.press("ArrowLeft", "ArrowDown", "b", "+", "+")
    seen.measured()
    seen.page.wait_for_function("() => location.search.includes('zoom=')")
    state = "JSON.stringify([c.state.picture, c.state.step, c.state.mode, c.region])"
    address = seen.page.evaluate("() => location.pathname + location.search")

    other = visit(address)

    assert other.comparer(state) == seen.comparer(state)
    for mine, theirs in zip(seen.canvases(), other.canvases(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "search", ["?zoom=x&x=1&y=1&mode=evil&step=-7&gain=z", "?picture=<script>&one=nobody&split=9&zoom=1e9&x=-5&y=1"]
)
def test_an_address_that_makes_no_sense_does_no_harm(visit, search):
    seen = visit(PAGE + search)

    assert seen.comparer("c.state.picture") == ONE
    assert seen.comparer("c.state.step") in STEPS
    assert 0 <= seen.comparer("c.state.split") <= 1


def test_the_pixel_under_the_pointer_is_read(visit, drawn):
    seen, pictures = visit(f"{PAGE}?zoom=16&x=100&y=75"), panel(drawn, 20)
    box = seen.page.locator(".cmp-pane canvas").bounding_box()

    seen.page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2 - 24)
    seen.page.wait_for_function("() => document.querySelector('.cmp-pixel span:last-child').textContent !== ''")

    for name, picture in pictures.items():
        cell = seen.page.locator(f'tr[data-pane="{name}"] .cmp-pixel span:last-child')
        x, y = map(int, re.findall(r"\d+", cell.get_attribute("title")))
        assert (x, y) == (102, 73)
        assert list(map(int, cell.inner_text().split())) == picture[y, x].tolist()


def test_two_fingers_zoom(visit):
    seen = visit(PAGE, 390, 844, has_touch=True, is_mobile=True, device_scale_factor=2)
    box = seen.page.locator(".cmp-pane canvas").bounding_box()
    before = seen.comparer("c.view.scale")
    session = seen.page.context.new_cdp_session(seen.page)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def touch(kind, apart):
        points = (
            []
            if kind == "touchEnd"
            else [{"x": middle[0] + side * apart, "y": middle[1] + 30, "id": n} for n, side in enumerate((-1, 1))]
        )
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for apart in (30, 45, 60, 80):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    seen.settle()

    assert seen.comparer("c.view.scale") == pytest.approx(4 * before, rel=0.1)


def test_a_phone_shows_all_of_it_within_its_width(visit):
    seen = visit(PAGE, 390, 844, has_touch=True, is_mobile=True, device_scale_factor=2)

    for key in ("b", "d", " ", "s"):
        seen.press(key)
        assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= 390
        sharp = seen.comparer("[c.pane.width, c.slots[0].canvas.getBoundingClientRect().width]")
        assert sharp[0] == pytest.approx(2 * sharp[1], abs=1)


def test_keys_within_fields_stay_there(visit):
    seen = visit(PAGE)
    seen.page.locator("input[name=right]").focus()

    seen.page.keyboard.type("d2s")

    assert seen.comparer("c.state.mode") == "slider"
    seen.page.locator(".cmp-stage").focus()
    seen.press("?")
    assert seen.page.get_by_role("dialog", name="Keys").is_visible()
    seen.press("Escape", "d")
    assert seen.comparer("c.state.mode") == "difference"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", [PAGE, f"{PAGE}?mode=side", f"{PAGE}?mode=difference", "/pictures?left=first&right=second", "/try", "/pictures"]
)
def test_nothing_stands_in_the_way_of_anybody(visit, scheme, path):
    seen = visit(path, wait="main" if path in ("/try", "/pictures") else "ipt-comparer[data-measured]", color_scheme=scheme)

    assert seen.serious() == []
