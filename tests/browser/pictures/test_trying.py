"""Trying a picture as a person does it."""

import time
from pathlib import Path

import pytest
import requests

from ipt_platform.web.settings import Settings
from tests.conftest import HANG
from tests.pages import decode, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def try_site(tmp_path_factory, write_trained):
    storage = tmp_path_factory.mktemp("trained")
    write_trained(storage)
    with served(Settings(str(storage))) as address:
        yield address


@pytest.fixture
def site(try_site):
    return try_site


@pytest.fixture
def photo(tmp_path, photograph) -> Path:
    photograph(tmp_path / "holiday.png", 3, 90, 120)
    return tmp_path / "holiday.png"


def test_a_picture_is_dropped_restored_compared_and_downloaded(visit, photo):
    seen = visit("/try", wait="#task:not([disabled])")
    page = seen.page
    assert page.locator("#task option").all_inner_texts() == ["deblur", "denoise"]

    page.set_input_files("#file", photo)
    page.locator("#task").select_option("deblur")
    page.get_by_role("button", name="Restore").click()
    page.wait_for_selector("#download:visible")
    assert page.inner_text("#told") == "Restored by deblur."
    page.wait_for_selector('tr[data-pane="restored"]')
    with page.expect_download() as download:
        page.click("#download")
    seen.settle()

    assert download.value.suggested_filename == "holiday-restored.png"
    restored, given = decode(Path(download.value.path()).read_bytes()), decode(photo.read_bytes())
    (canvas,) = seen.canvases()
    middle = canvas.shape[1] // 2
    assert seen.agree(canvas, given, slice(0, middle - 1))
    assert seen.agree(canvas, restored, slice(middle + 1, None))
    assert seen.serious() == []


def test_what_is_refused_is_told_and_another_may_follow(visit, photo, tmp_path):
    seen = visit("/try", wait="#task:not([disabled])")
    page = seen.page
    page.get_by_role("button", name="Restore").click()
    assert page.locator("#download").is_hidden()  # nothing was chosen
    (tmp_path / "notes.png").write_bytes(b"no picture at all")

    page.set_input_files("#file", tmp_path / "notes.png")
    page.get_by_role("button", name="Restore").click()
    page.wait_for_selector("#told.problem:visible")
    assert "Not a PNG, JPEG or WebP picture" in page.inner_text("#told")
    seen.complaints.clear()  # the browser's own words about the answer 400

    page.set_input_files("#file", photo)
    page.get_by_label("In words").check()
    page.get_by_role("button", name="Restore").click()
    assert page.inner_text("#told") == "Say what you want."


def test_leaving_the_page_forgets_the_picture(visit, photo):
    seen = visit("/try", wait="#task:not([disabled])")
    page = seen.page
    page.set_input_files("#file", photo)
    page.get_by_role("button", name="Restore").click()
    page.wait_for_selector("#download:visible")
    place = page.evaluate("() => document.getElementById('download').href")

    page.goto("about:blank")

    end = time.monotonic() + HANG
    while requests.get(place, timeout=HANG).status_code != 404:
        assert time.monotonic() < end, "the picture is still there"
        time.sleep(0.05)
