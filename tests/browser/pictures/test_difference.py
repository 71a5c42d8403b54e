"""The heat map of the difference; its colours are made anew by matplotlib."""

import matplotlib
import numpy as np
import pytest

from tests.browser.pictures.conftest import NAMES, PAGE, panel
from tests.pages import draw_samples

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("gain", [1, 16])
def test_the_heat_map_has_the_colours_of_the_difference(visit, drawn, gain):
    seen, pictures = visit(PAGE), panel(drawn, 20)
    seen.press("d")
    seen.page.get_by_label("Gain of the difference").select_option(str(gain))
    seen.page.wait_for_function(f"() => document.querySelector('ipt-comparer').readings.heatOf?.endsWith(' {gain}')")
    seen.settle()

    (canvas,) = seen.canvases()

    assert seen.agree(canvas, heat(pictures, "restored", gain))
    assert seen.page.inner_text(".cmp-ticks span:last-child") == f"≥ {255 / gain:g}"[:6].rstrip()


def test_a_heat_map_that_comes_too_late_is_not_shown(visit, drawn):
    seen = visit(f"{PAGE}?mode=difference&gain=1")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').readings.map")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').store.waiting.size === 0")

    # There and back before any answer of the worker can come in: what is awaited here runs before the next message.
    asked = seen.page.evaluate("""async () => {
        const c = document.querySelector("ipt-comparer");
        const shown = async (by) => { c.moveStep(by); while (c.hasAttribute("aria-busy")) await null; };
        await shown(-1);
        const { key } = c.panes[0];
        await shown(1);
        return key;
    }""")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').store.waiting.size === 0")
    seen.settle()

    assert "/15/" in asked
    (canvas,) = seen.canvases()
    assert seen.agree(canvas, heat(panel(drawn, 20), "restored", 1))


def test_a_heat_map_comes_back_after_pictures_of_unequal_sizes(visit, drawn, storage):
    draw_samples(storage, "small", [5], NAMES, size=(60, 80))
    seen = visit("/pictures?left=first&right=small&mode=difference&one=left&other=clean&gain=2")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').readings.map")
    other = seen.page.get_by_label("Second pane")

    other.select_option("right")
    assert "different sizes" in seen.page.inner_text(".cmp-message")
    other.select_option("clean")
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').readings.map")
    seen.settle()

    (canvas,) = seen.canvases()
    assert seen.agree(canvas, heat(panel(drawn, 20), "restored", 2))


def heat(pictures, name, gain):
    """The colours of the difference between a panel and the clean one, by matplotlib."""
    difference = np.abs(pictures[name].astype(int) - pictures["clean"]).sum(axis=2)
    level = np.minimum(255, np.floor(difference * gain / 3 + 0.5).astype(int))
    return np.rint(np.array(matplotlib.colormaps["inferno"].colors) * 255).astype(np.uint8)[level]
