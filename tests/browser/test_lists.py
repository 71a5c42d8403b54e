"""The list of runs and the logs in a real browser: what one looks at and has marked stays as they go on."""

import pytest

from ipt_platform.observe.rundir import RunDir
from ipt_platform.web.pages import runs
from tests.integration.web.conftest import write_run

pytestmark = pytest.mark.slow


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
