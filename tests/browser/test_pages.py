"""The pages in a real browser: they run without complaint, follow the files, and can be used by keyboard and by ear."""

from datetime import UTC, datetime, timedelta

import pytest

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.web.security.users import add_user, digest_of, remove_user
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import report, write_run

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
