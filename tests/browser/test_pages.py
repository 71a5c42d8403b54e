"""The pages in a real browser: they run without complaint, follow the files, and can be used by keyboard and by ear."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.store import open_registry
from ipt_platform.tune.trials import suggest
from ipt_platform.web.pages import runs
from ipt_platform.web.security.users import add_user, digest_of, remove_user
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import report, write_run
from tests.registered import add, point
from tests.searches import TRIALS

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='document.title=1'><script>document.title=1</script>"
PATHS = (
    "/",
    "/runs",
    "/runs?state=failed&sort=psnr",
    "/runs/busy",
    "/runs/busy/logs",
    "/runs/busy/job",
    "/runs/done",
    "/compare?run=busy&run=done",
    "/runs/none",
    "/tasks",
    "/tasks/my-derain",
    "/tasks/my-derain/2",
    "/tasks/my-derain/difference?before=1&after=2",
    "/search",
    "/search/tried",
)


@pytest.fixture
def storage(tmp_path):
    write_run(tmp_path, "busy", steps=8)
    write_run(tmp_path, "done", "finished", steps=20)
    write_run(tmp_path, "lost", "failed")
    registry = open_registry(tmp_path, None)
    for version, psnr in ((1, 31.25), (2, 29.5)):
        add(registry, "my-derain", version, psnr)
    point(registry, "my-derain", "prod", 1, "better")
    search(tmp_path)
    return tmp_path


def search(storage) -> None:
    """A search that is over, of which two trials have a run."""
    run = create(storage, "tried")
    append_event(run, "created", 0, kind="tune", steps=6)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    for trial in TRIALS:
        suggest(run, trial.suggestion, attempt)
    write_run(run.members, "t001", "finished")
    write_run(run.members, "t002", "finished")
    trials = [{"trial": each.name, "psnr": each.psnr, "parameters": each.parameters} for each in TRIALS]
    knobs = [
        {
            "knob": "model.bias.rank",
            "n": 5,
            "share": 0.4,
            "interval": [0.2, 0.6],
            "p": 0.03,
            "beyond_chance": True,
            "why_not": "",
        }
    ]
    report = {
        "trials": trials,
        "pareto": ["t001", "t002"],
        "best": {"trial": "t002"},
        "importance": {"step": 30, "knobs": knobs},
    }
    run.report.write_text(json.dumps(report))
    (run.path / "report.md").write_text("# tried\n\n| trial | PSNR |\n|:--|--:|\n| t002 | 27.0 |\n")
    append_event(run, "finished", attempt, step=6)


@pytest.fixture
def served(serve, storage):
    return serve(Settings(str(storage)))


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 375, "height": 720}, "has_touch": True}],
    ids=["light", "dark", "phone"],
)
def test_every_page_is_whole_and_accessible(served, tab, options):
    looked = tab(served, **options)
    for path in PATHS:
        page = looked.go(path)
        if page.locator("[data-curves]").count():
            looked.until("document.querySelectorAll('.uplot').length > 2")
        assert page.locator("h1").count() == 1, path
        assert looked.audit() == [], path
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the screen"
    assert [each for each in looked.wrong if "404" not in each] == []  # one of the pages is none


def test_the_login_is_accessible(serve, storage, tmp_path, tab):
    users = tmp_path / "users.toml"
    add_user(users, "ann", "viewer")
    looked = tab(serve(Settings(str(storage), users=users)))

    looked.go("/runs/busy")

    assert looked.page.url.endswith("/login?next=/runs/busy")
    assert looked.audit() == []
    assert looked.wrong == []


def test_a_run_is_followed_as_it_writes(served, storage, tab):
    looked = tab(served)
    page = looked.go("/runs/busy")
    looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")
    assert "deblur: 0.025 at step 80" in page.locator(".legend").first.inner_text()

    run = RunDir(storage / "busy")
    for step in range(90, 131, 10):
        append_metrics(run, report(step))

    looked.until("document.querySelector('.legend').textContent.includes('at step 130')")
    looked.until("document.querySelector('.facts').textContent.includes('130 of 200')")
    append_event(run, "finished", 1, step=130, reason="it is done")
    looked.until("document.querySelector('.state').textContent === 'finished'")
    looked.until("document.getElementById('news').textContent === 'busy is finished'")
    looked.until("document.querySelector('#events').parentElement.textContent.includes('it is done')")
    assert page.locator("#cancel").count() == 0
    assert looked.wrong == []


def test_a_hidden_page_asks_for_nothing(served, tab):
    looked = tab(served)
    page = looked.go("/runs/busy")
    looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", {get: () => window.away, configurable: true});
        window.away = true; document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(5000)
    assert asked == []

    page.evaluate("() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    with page.expect_request("**/series"):
        pass


def test_a_chart_shows_more_where_one_looks_closer(serve, tmp_path, tab):
    run = write_run(tmp_path, "long", steps=0)
    for step in range(1, 2001):
        append_metrics(run, report(step))
    looked = tab(serve(Settings(str(tmp_path))))
    page = looked.go("/runs/long")
    looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")

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


def test_curves_are_looked_into_and_read_by_keyboard(serve, tmp_path, tab):
    run = write_run(tmp_path, "long", steps=0)
    for step in range(1, 301):
        append_metrics(run, report(step))
    looked = tab(serve(Settings(str(tmp_path))))
    page = looked.go("/runs/long")
    looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")
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


def test_the_list_is_used_by_keyboard(served, tab):
    looked = tab(served)
    page = looked.go("/runs?sort=name&down=0")
    names = lambda: page.evaluate("document.activeElement.textContent.trim()")  # noqa: E731

    page.keyboard.press("Tab")
    assert names() == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    assert names() == "busy"
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("input[name=run]:checked").count() == 2
    page.keyboard.press("k")
    assert names() == "busy"
    page.keyboard.press("/")
    page.keyboard.type("do")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=do**")
    assert page.locator("tbody tr").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/done")
    assert looked.wrong == []


def test_marks_and_focus_outlive_new_rows(served, storage, tab):
    looked = tab(served)
    page = looked.go("/runs?sort=name&down=0")
    page.get_by_label("Compare done").check()
    page.locator("a[href='/runs/busy']").focus()

    write_run(storage, "another")
    looked.until("document.querySelectorAll('tbody tr').length === 4")

    assert page.get_by_label("Compare done").is_checked()
    assert not page.get_by_label("Compare another").is_checked()
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/runs/busy"
    page.get_by_label("Compare busy").check()
    page.get_by_role("button", name="Compare the marked runs").click()
    page.wait_for_url("**/compare?run=busy&run=done")
    looked.until("document.querySelectorAll('.uplot').length > 2")
    assert looked.wrong == []


def test_marks_are_kept_where_their_rows_are_not_shown(served, storage, tab, monkeypatch):
    monkeypatch.setattr(runs, "PER_PAGE", 2)
    looked = tab(served)
    page = looked.go("/runs?sort=name&down=0")
    page.get_by_label("Compare busy").check()
    page.get_by_label("Compare done").check()

    write_run(storage, "another")  # takes the place of the last row
    looked.until("document.querySelector('tbody').textContent.includes('another')")
    assert page.get_by_label("Compare done").count() == 0
    assert page.get_by_text("2 marked").is_visible()
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**page=2")
    assert page.get_by_label("Compare done").is_checked()
    page.get_by_label("Compare lost").check()
    page.get_by_role("button", name="Unmark done").click()
    assert not page.get_by_label("Compare done").is_checked()
    assert page.evaluate("document.activeElement.textContent") == "lost ×"
    assert looked.audit() == []
    page.go_back()
    page.get_by_text("2 marked").wait_for()

    page.get_by_role("button", name="Compare the marked runs").click()
    page.wait_for_url("**/compare?run=busy&run=lost")
    assert looked.wrong == []


def test_a_log_is_read_while_its_run_writes(served, storage, tab):
    log = RunDir(storage / "busy").logs(1, 0)
    log.write_text("".join(f"2026-11-26 10:00:00,000 INFO a: line {number}\n" for number in range(300)))
    looked = tab(served)
    page = looked.go("/runs/busy/logs?rank=0")

    def write(*words):
        with log.open("a") as lines:
            lines.writelines(f"2026-11-26 10:00:01,000 INFO a: {word}\n" for word in words)

    def scroll(to):
        page.evaluate(f"document.querySelector('pre').scrollTop = {to}")

    def top():
        """The line at the upper edge."""
        return page.evaluate("""() => {
            const pre = document.querySelector("pre"), box = pre.getBoundingClientRect();
            const {startContainer: {textContent}, startOffset} = document.caretRangeFromPoint(box.left + 60, box.top + 12);
            return textContent.slice(textContent.lastIndexOf("\\n", startOffset) + 1).split("\\n")[0];
        }""")

    end = "(each => Math.abs(each.scrollHeight - each.clientHeight - each.scrollTop) < 2)(document.querySelector('pre'))"
    assert page.evaluate(end)
    page.locator("pre").focus()
    write("followed")
    looked.until("document.querySelector('pre').textContent.includes('followed')")
    assert page.evaluate(end)
    assert page.evaluate("document.activeElement.tagName") == "PRE"

    scroll(2000)
    read = top()
    write(*["unseen"] * 20)  # as many lines at its beginning are gone
    looked.until("document.querySelector('pre').textContent.includes('unseen')")
    assert "line" in read
    assert top() == read
    assert page.evaluate("document.activeElement.tagName") == "PRE"

    page.evaluate("(text => getSelection().setBaseAndExtent(text, 3, text, 90))(document.querySelector('pre').firstChild)")
    marked = page.evaluate("String(getSelection())")
    write("waiting")
    with page.expect_response(lambda response: "parts/lines" in response.url and response.status == 200):
        pass
    page.wait_for_timeout(200)
    assert page.evaluate("String(getSelection())") == marked
    page.evaluate("getSelection().removeAllRanges()")
    looked.until("document.querySelector('pre').textContent.includes('waiting')")
    assert looked.wrong == []


def test_a_hostile_name_is_text(served, storage, tab):
    run = write_run(storage, "hostile", steps=4, **{HOSTILE: 0.5})
    append_metrics(run, {"attempt": 1, "step": 40, "evaluation": {HOSTILE: {HOSTILE: {"psnr": 20.0}}}})
    append_event(run, "warning", 1, reason=HOSTILE)
    run.logs(1, 0).write_text(HOSTILE)
    looked = tab(served)

    for path in ("/", "/runs", "/runs/hostile", "/runs/hostile/logs", "/compare?run=hostile&run=busy"):
        page = looked.go(path)
        if page.locator("[data-curves]").count():
            looked.until("document.querySelectorAll('.uplot').length > 1")
        page.wait_for_timeout(200)
        assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0, path
        assert page.title() != "1", path
        assert HOSTILE in page.locator("main").inner_text() or path in ("/", "/runs"), path
    assert looked.wrong == []


def test_cancelling_asks_first_and_is_done_by_a_button(served, storage, tab):
    looked = tab(served)
    page = looked.go("/runs/busy")

    page.get_by_role("button", name="Cancel after a checkpoint").click()

    looked.until("document.querySelector('.state').parentElement.textContent.includes('asked to stop')")
    assert "on the page" in str(RunDir(storage / "busy").stop_requested(1))
    assert looked.wrong == []


def test_a_token_that_expires_ends_the_login(serve, storage, tmp_path, tab):
    users = tmp_path / "users.toml"
    token = add_user(users, "ann", "runner", datetime.now(UTC) + timedelta(days=1))
    looked = tab(serve(Settings(str(storage), users=users)))
    page = looked.go("/runs/busy")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/runs/busy")
    assert page.get_by_text("ann (runner)").is_visible()

    remove_user(users, "ann")
    add_user(users, "bob", "viewer")
    expired = (
        users.read_text()
        + f'\n[users.ann]\nrole = "runner"\ntoken_sha256 = "{digest_of(token)}"\nexpires = 2020-01-01T00:00:00Z\n'
    )
    users.write_text(expired)

    looked.until("document.getElementById('link').textContent.includes('login has ended')")
    page.reload()
    assert "/login?next=/runs/busy&again=1" in page.url
    assert page.get_by_role("alert").inner_text().startswith("Your login has ended")


def test_a_server_that_is_gone_is_said_and_found_again(served, storage, serve, tab):
    looked = tab(served)
    page = looked.go("/runs/busy")
    looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")

    served.server.should_exit = True

    looked.until("document.getElementById('link').textContent.includes('does not answer')")
    assert page.locator("h1").inner_text() == "busy"


def test_dark_and_light_are_kept(served, tab):
    looked = tab(served)
    page = looked.go("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Dark or light").click()
    dark = page.evaluate(ground)
    page.reload()

    assert light != dark == page.evaluate(ground)
