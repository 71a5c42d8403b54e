"""The pictures of runs as the server gives them: whole, by listed names alone, kept by browsers as long as they are right."""

import json

import numpy as np
import pytest
import requests

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import write_run
from tests.pages import decode, draw_samples, served

HOSTILE = "set-denoise-<img src=x onerror=alert(1)>&\"'%2e%2e"
NAMES = ["set-denoise-one", HOSTILE]


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def drawn(storage):
    return draw_samples(storage, "first", [5, 10], NAMES)


@pytest.fixture(scope="module")
def page(storage, drawn):
    draw_samples(storage, "empty", [], [])
    with served(Settings(str(storage))) as address:
        yield address


def get(address: str, *parts: str, **more) -> requests.Response:
    place = "/".join(requests.utils.quote(part, safe="") for part in parts)
    return requests.get(f"{address}/{place}", timeout=60, **more)


def test_every_panel_is_lossless(page, drawn):
    for (step, name, panel), picture in drawn.pictures.items():
        response = get(page, "runs", "first", "pictures", str(step), name, f"{panel}.png")

        assert response.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(decode(response.content), picture)


def test_the_list_names_pictures_and_steps(page):
    found = get(page, "runs", "first", "pictures", "list").json()

    assert [each["name"] for each in found["pictures"]] == sorted(NAMES)
    assert [[step for step, _ in each["steps"]] for each in found["pictures"]] == [[5, 10], [5, 10]]


@pytest.mark.parametrize(
    ("state", "live"), [("running", True), ("interrupted", True), ("finished", False), ("failed", False), ("cancelled", False)]
)
def test_the_list_says_whether_more_may_come(page, storage, state, live):
    run = write_run(storage, state, "running" if live else state)
    if state == "interrupted":
        attempt = json.loads((run.attempts / "1").read_text())
        attempt["process"]["pid"] = 2**22 + 1  # there is none of this number
        (run.attempts / "1").write_text(json.dumps(attempt))
    assert run_status(run, quick=True).state == state

    assert get(page, "runs", state, "pictures", "list").json()["live"] is live


def test_a_tagged_address_is_kept_for_ever_and_another_is_asked_for_again(page):
    steps = get(page, "runs", "first", "pictures", "list").json()["pictures"][0]["steps"]
    place = ("runs", "first", "pictures", "5", sorted(NAMES)[0], "clean.png")

    kept = get(page, *place, params={"v": steps[0][1]})
    others = [get(page, *place), get(page, *place, params={"v": "another"})]

    assert "immutable" in kept.headers["cache-control"]
    assert all("no-cache" in each.headers["cache-control"] for each in others)
    again = get(page, *place, headers={"If-None-Match": kept.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_picture_that_is_written_anew_is_given_anew(page, storage, drawn):
    before = get(page, "runs", "first", "pictures", "10", NAMES[0], "restored.png")
    again = draw_samples(storage, "first", [10], NAMES[:1], error=11)

    after = get(
        page, "runs", "first", "pictures", "10", NAMES[0], "restored.png", headers={"If-None-Match": before.headers["etag"]}
    )

    assert after.status_code == 200
    np.testing.assert_array_equal(decode(after.content), again.pictures[10, NAMES[0], "restored"])
    drawn.pictures |= again.pictures | {
        (5, name, panel): picture for (step, name, panel), picture in drawn.pictures.items() if step == 5
    }


def test_parameters_are_given_as_they_are(page):
    found = get(page, "runs", "first", "pictures", "5", HOSTILE, "params").json()

    assert found["params"]["kernel"] == [0.25, 0.123456789]


@pytest.mark.parametrize(
    "path",
    [
        "/runs/first/pictures/5/..%2F..%2F..%2Fjob/params",
        "/runs/first/pictures/5/..%2f10%2fset-denoise-one/clean.png",
        "/runs/first/pictures/5/%2e%2e/clean.png",
        "/runs/first/pictures/5/set-denoise-one%00/clean.png",
        "/runs/first/pictures/5/set-denoise-one/nothing.png",
        "/runs/first/pictures/7/set-denoise-one/clean.png",
        "/runs/first/pictures/99999999999999999999999999/set-denoise-one/clean.png",
        "/runs/first/pictures/-5/set-denoise-one/clean.png",
        "/runs/..%2Ffirst/pictures",
        "/runs/../first/pictures",
        "/runs/%2Fetc/pictures/list",
        "/runs/nobody/pictures",
        "/pictures?left=first&right=../../etc",
        "/pictures?left=s3://bucket/x&right=first",
    ],
)
def test_names_that_are_not_listed_lead_nowhere(page, path):
    # `requests` would tidy the path; this sends it as it stands.
    prepared = requests.Request("GET", page).prepare()
    prepared.url = page + path
    with requests.Session() as session:
        response = session.send(prepared, timeout=60)

    assert response.status_code == 404
    assert "apiVersion" not in response.text


def test_names_are_shown_as_text(page):
    page_of_run = get(page, "runs", "first", "pictures", headers={"Accept": "text/html"})

    assert page_of_run.status_code == 200
    assert "<img src=x" not in page_of_run.text


def test_a_run_without_pictures_says_how_they_come(page):
    response = get(page, "runs", "empty", "pictures", headers={"Accept": "text/html"})

    assert "has no pictures yet" in response.text
    assert '<div id="some" hidden>' in response.text


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40), "bomb", "plain"])
def test_a_file_that_is_no_triptych_is_refused_with_a_reason(page, storage, content):
    draw_samples(storage, "odd", [1], ["set-odd"])
    path = RunDir(storage / "odd").samples(1) / "set-odd.png"
    if content == "bomb":  # a header that claims 50,000 x 50,000 pixels
        data = bytearray(path.read_bytes())
        data[16:24] = (50_000).to_bytes(4, "big") * 2
        content = bytes(data)
    elif content == "plain":
        content = get(page, "runs", "first", "pictures", "5", NAMES[0], "clean.png").content
    path.write_bytes(content)

    response = get(page, "runs", "odd", "pictures", "1", "set-odd", "clean.png")

    assert response.status_code == 400
    assert json.loads(response.text)["error"]


def test_parameters_that_cannot_be_read_are_none(page, storage):
    draw_samples(storage, "odd", [1], ["set-odd"])
    for text in ("[" * 100_000, "{", "", '{"a": NaN}'):
        (RunDir(storage / "odd").samples(1) / "set-odd.json").write_text(text)

        response = get(page, "runs", "odd", "pictures", "1", "set-odd", "params")

        assert response.status_code == 200
        assert response.json()["params"] in (None, {"a": "NaN"})
