"""What the page says beside the comparer: steps that come, parameters, two runs, pictures that are damaged."""

import pytest

from ipt_platform.observe.events import append_event
from ipt_platform.observe.storage import create
from tests.browser.pictures.conftest import MEASURED, NAMES, ONE, PAGE, TWO
from tests.pages import draw_samples

pytestmark = pytest.mark.slow


def test_new_steps_come_by_themselves_while_a_run_trains(visit, storage):
    run = create(storage, "growing")
    append_event(run, "created", 0, kind="train", steps=20)
    append_event(run, "started", run.new_attempt(), step=0)  # this process leads it, and lives
    draw_samples(storage, "growing", [5], [ONE])
    seen = visit("/runs/growing/pictures")

    drawn = draw_samples(storage, "growing", [5, 10], [ONE])
    seen.page.wait_for_function("() => document.querySelector('.cmp-step').value === 'step 10 · 2 of 2'")
    seen.measured()

    (canvas,) = seen.canvases()
    assert seen.agree(canvas, drawn.pictures[10, ONE, "restored"], slice(canvas.shape[1] // 2 + 1, None))


def test_the_first_pictures_come_by_themselves(visit, storage):
    append_event(create(storage, "waiting"), "created", 0, kind="train", steps=20)
    seen = visit("/runs/waiting/pictures", wait="#none:visible")
    assert seen.page.locator("ipt-comparer").is_hidden()

    drawn = draw_samples(storage, "waiting", [5], [ONE])
    seen.page.wait_for_selector(MEASURED)
    seen.measured()

    assert seen.page.locator("#none").is_hidden()
    (canvas,) = seen.canvases()
    assert seen.agree(canvas, drawn.pictures[5, ONE, "restored"], slice(canvas.shape[1] // 2 + 1, None))


def test_a_run_that_has_ended_is_asked_again_after_a_while(visit, storage):
    draw_samples(storage, "resumed", [5], [ONE])
    run = create(storage, "resumed")
    append_event(run, "failed", run.new_attempt(), step=5)
    seen = visit("/runs/resumed/pictures")
    asked: list[str] = []
    seen.page.on("request", lambda request: asked.append(request.url))

    draw_samples(storage, "resumed", [5, 10], [ONE])
    seen.page.wait_for_timeout(6_000)
    assert not [url for url in asked if url.endswith("/list")]
    seen.page.clock.set_fixed_time(seen.page.evaluate("() => Date.now() + 60_000"))

    seen.page.wait_for_function("() => document.querySelector('.cmp-step').value === 'step 10 · 2 of 2'")


def test_two_runs_stand_beside_each_other(visit, drawn, storage):
    second = draw_samples(storage, "second", [5, 12], NAMES, error=40)
    seen = visit("/pictures?left=first&right=second&step=15")

    (canvas,) = seen.canvases()
    middle = canvas.shape[1] // 2

    assert seen.agree(canvas, drawn.pictures[15, ONE, "restored"], slice(0, middle - 1))
    assert seen.agree(canvas, second.pictures[12, ONE, "restored"], slice(middle + 1, None))
    assert seen.page.locator(".cmp-pane figcaption").all_inner_texts() == ["first, step 15", "second, step 12"]
    assert seen.page.locator("#note").is_hidden()


def test_two_runs_of_other_scenes_say_so(visit, storage):
    draw_samples(storage, "third", [5], NAMES[::-1])

    seen = visit("/pictures?left=first&right=third")

    seen.page.wait_for_selector("#note:visible")
    assert "differ between the two runs" in seen.page.inner_text("#note")


def test_a_picture_that_is_damaged_says_so_and_leaves_the_rest(visit, storage, drawn):
    draw_samples(storage, "torn", [5, 10], [ONE])
    path = storage / "torn" / "samples" / "step-10" / f"{ONE}.png"
    path.write_bytes(path.read_bytes()[:900])

    seen = visit("/runs/torn/pictures", wait=".cmp-message:not(:empty)")
    seen.complaints.clear()  # the browser's own words about the answer 400
    assert "does not decode" in seen.page.inner_text(".cmp-message")
    seen.press("ArrowLeft")
    seen.measured()

    (canvas,) = seen.canvases()
    assert seen.agree(canvas, drawn.pictures[5, ONE, "degraded"], slice(0, canvas.shape[1] // 2 - 1))
    seen.complaints.clear()


def test_parameters_are_shown_beside_the_picture(visit):
    seen = visit(PAGE)

    assert seen.page.locator("#params dt").all_inner_texts() == ["sigma", "kernel"]
    assert seen.page.locator("#params dd").all_inner_texts() == ["40", "[0.25,0.12346]"]


def test_parameters_are_those_of_the_picture_that_is_shown(visit, storage):
    draw_samples(storage, "told", [5], NAMES)
    for sigma, name in enumerate(NAMES):
        (storage / "told" / "samples" / "step-5" / f"{name}.json").write_text(f'{{"sigma": {sigma}}}')
    seen = visit(f"/runs/told/pictures?picture={TWO}")
    held = []
    seen.page.route(f"**/{ONE}/params", lambda route: held.append(route))

    with seen.page.expect_request(f"**/{ONE}/params"):
        seen.page.keyboard.press("ArrowUp")
    with seen.page.expect_response(f"**/{TWO}/params"):
        seen.page.keyboard.press("ArrowDown")
    with seen.page.expect_response(f"**/{ONE}/params") as late:
        held[0].continue_()
    late.value.finished()
    seen.settle()

    seen.page.wait_for_selector("#params:not(.cmp-old)")
    assert seen.page.locator("#params dd").all_inner_texts() == ["1"]


def test_whether_two_runs_have_one_scene_is_said_of_the_picture_that_is_shown(visit, storage):
    for run in ("here", "there"):
        draw_samples(storage, run, [5], NAMES)
    folder = storage / "there" / "samples" / "step-5"
    (folder / f"{ONE}.png").write_bytes((folder / f"{TWO}.png").read_bytes())
    seen = visit(f"/pictures?left=here&right=there&picture={TWO}")
    held = []
    seen.page.context.route(f"**/there/pictures/5/{ONE}/clean.png*", lambda route: held.append(route))

    with seen.page.context.expect_event("request", lambda request: f"/there/pictures/5/{ONE}/clean.png" in request.url):
        seen.page.keyboard.press("ArrowUp")
    seen.press("ArrowDown")
    held[0].continue_()
    seen.page.wait_for_function("() => document.querySelector('ipt-comparer').store.waiting.size === 0")
    seen.settle()

    assert seen.page.locator("#note").is_hidden()
    seen.press("ArrowUp")
    seen.page.wait_for_selector("#note:visible")
