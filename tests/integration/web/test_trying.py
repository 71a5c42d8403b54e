"""A picture that is tried on the page: what comes back is what `restore` makes of it, and nothing of it stays."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch
from PIL import Image

from ipt_platform.restore.imageio import decode_picture, encode_picture
from ipt_platform.restore.run import apply_steps
from ipt_platform.restore.sources import Sources
from ipt_platform.web.bench import Bench
from ipt_platform.web.settings import Settings
from tests.conftest import HANG
from tests.integration.web.conftest import HTML, client_of, proof_of, write_commit, write_run
from tests.pages import served


@pytest.fixture(scope="module")
def storage(tmp_path_factory, write_trained) -> Path:
    storage = tmp_path_factory.mktemp("runs")
    write_trained(storage)
    return storage


@pytest.fixture(scope="module")
def photo(tmp_path_factory, photograph) -> bytes:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    photograph(path, 3, 60, 50)
    return path.read_bytes()


@pytest.fixture(scope="module")
def bench(storage):
    made = Bench(str(storage))
    yield made
    made.close()


def order(run="trained", **wish) -> dict:
    return {"kind": "restore", "run": run} | wish


def ended(bench: Bench, wants: dict, data: bytes = b""):
    placed = bench.place(wants, data)
    assert placed
    assert placed.ended.wait(HANG)
    return placed


@pytest.mark.slow
def test_what_comes_back_is_what_restore_makes(bench, storage, photo):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = Sources(str(storage), "trained", device).steps(["deblur"])
    expected = encode_picture(apply_steps(decode_picture(photo), steps, ".png", lambda done, total: None), ".png")

    found = ended(bench, order(task="deblur"), photo)

    assert (found.state, found.answer["by"]) == ("done", "deblur")
    np.testing.assert_allclose(decode_picture(found.result).rgb, decode_picture(expected).rgb, atol=1.01 / 255)
    assert not np.array_equal(decode_picture(found.result).rgb, decode_picture(photo).rgb)
    assert found.data == b""


@pytest.mark.slow
def test_the_tasks_of_a_run_are_offered(bench):
    assert ended(bench, {"kind": "offer", "run": "trained"}).answer["tasks"] == ["deblur", "denoise"]


@pytest.mark.slow
def test_what_cannot_be_done_is_refused_with_the_reason(bench, photo):
    cases = {
        "has no bias for task 'derain'": (order(task="derain"), photo),
        "no run 'nobody'": (order(run="nobody", task="denoise"), photo),
        "Not a PNG": (order(task="denoise"), b"GIF89a"),
        "does not decode": (order(task="denoise"), photo[:200]),
    }
    for reason, (wants, data) in cases.items():
        found = ended(bench, wants, data)

        assert found.state == "failed"
        assert reason in found.answer["refused"]
    assert ended(bench, order(task="denoise"), photo).state == "done"  # and the process is as good as before


@pytest.mark.slow
def test_a_child_that_dies_is_told_and_replaced(bench, photo):
    first = bench.place(order(task="denoise"), photo)
    assert first
    end = time.monotonic() + HANG
    while not bench._child:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(bench._child.pid, signal.SIGKILL)

    assert first.ended.wait(HANG)
    assert "has ended" in first.answer.get("refused", "it was faster than the signal: has ended")
    assert ended(bench, order(task="denoise"), photo).state == "done"


@pytest.mark.slow
def test_what_takes_too_long_is_given_up(storage, photo):
    bench = Bench(str(storage), limit=0.01)
    found = ended(bench, order(task="denoise"), photo)
    bench.close()

    assert found.state == "failed"
    assert "longer than" in found.answer["refused"]


@pytest.mark.slow
def test_one_works_one_waits_and_a_third_is_sent_away(bench, photo):
    placed = [bench.place(order(task="denoise"), photo) for _ in range(3)]

    assert [bool(each) for each in placed] == [True, True, False]
    assert all(each.ended.wait(HANG) for each in placed if each)


@pytest.mark.slow
def test_which_tasks_there_are_is_told_while_pictures_of_others_wait(storage, photo):
    with client_of(Settings(str(storage))) as browser:
        placed = [browser.app.state.bench.place(order(task="denoise"), photo) for _ in range(2)]
        answer = browser.post(
            "/try/offer?run=trained", headers={"Origin": "http://localhost", "X-CSRF-Token": proof_of(browser)}
        )

        assert all(placed)
        assert (answer.status_code, answer.json().get("tasks")) == (200, ["deblur", "denoise"])
        assert browser.app.state.offers._orders == {}


@pytest.mark.slow
def test_nothing_is_kept(storage, photo):
    now = [0.0]
    bench = Bench(str(storage), kept=100, clock=lambda: now[0])
    try:
        found = ended(bench, order(task="denoise"), photo)
        child = psutil.Process(bench._child.pid) if bench._child else None
        now[0] = 90
        assert bench.find(found.id) is found
        now[0] = 189
        assert bench.find(found.id) is found
        now[0] = 290
        with pytest.raises(Exception, match="forgotten"):
            bench.find(found.id)
    finally:
        bench.close()
    assert child
    assert not child.is_running()


@pytest.fixture(scope="module")
def page(storage):
    with served(Settings(str(storage))) as address:
        yield address


@pytest.fixture(scope="module")
def headers(page):
    html = requests.get(f"{page}/try", headers={"Accept": "text/html"}, timeout=60).text
    return {"Origin": page, "X-CSRF-Token": html.partition('name="csrf" content="')[2].partition('"')[0]}


@pytest.mark.slow
def test_a_picture_is_restored_over_http_and_forgotten(page, headers, photo):
    placed = requests.post(f"{page}/try", params={"run": "trained", "task": "denoise"}, data=photo, headers=headers, timeout=60)
    assert placed.status_code == 202
    place = f"{page}/try/{placed.json()['id']}"
    end = time.monotonic() + HANG
    while (state := requests.get(place, timeout=60).json())["state"] in ("waiting", "working"):
        assert time.monotonic() < end
        time.sleep(0.05)

    assert state["state"] == "done"
    restored = requests.get(f"{place}/restored.png", timeout=60)
    assert Image.MIME["PNG"] == restored.headers["content-type"]
    assert restored.headers["cache-control"] == "no-store"
    assert decode_picture(restored.content).rgb.shape == (60, 50, 3)
    assert requests.delete(place, headers=headers, timeout=60).status_code == 204
    assert requests.get(f"{place}/restored.png", timeout=60).status_code == 404


def large(photo: bytes) -> bytes:
    data = bytearray(photo)
    data[16:24] = (5000).to_bytes(4, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("query", "change", "status", "reason"),
    [
        ({"run": "trained", "task": "denoise"}, lambda photo: b"", 400, "empty"),
        ({"run": "trained", "task": "denoise"}, lambda photo: b"GIF89a", 400, "GIF"),
        ({"run": "trained", "task": "denoise"}, large, 400, "at most 16000000"),
        ({"run": "trained"}, lambda photo: photo, 400, "one way"),
        ({"run": "trained", "task": "denoise", "auto": "yes"}, lambda photo: photo, 400, "one way"),
        ({"run": "trained", "say": "x" * 500}, lambda photo: photo, 400, "at most"),
        ({"run": "../../etc", "task": "denoise"}, lambda photo: photo, 404, "run id"),
        ({"run": "s3://elsewhere/x", "task": "denoise"}, lambda photo: photo, 404, "run id"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_started(page, headers, photo, query, change, status, reason):
    response = requests.post(f"{page}/try", params=query, data=change(photo), headers=headers, timeout=60)

    assert response.status_code == status
    assert reason in response.json()["error"]


def test_a_request_without_the_pages_proof_is_refused(page, photo):
    response = requests.post(f"{page}/try", params={"run": "trained", "task": "denoise"}, data=photo, timeout=60)

    assert response.status_code == 403


def test_the_run_that_was_heard_of_last_is_the_first_to_be_chosen(tmp_path):
    for name in ("zebra", "alpha"):
        write_commit(write_run(tmp_path, name, "finished"))
    browser = client_of(Settings(str(tmp_path)))

    offered = re.findall(r'<option value="(\w+)"( selected)?>', browser.get("/try", headers=HTML).text)
    suggested = re.findall(r'<option value="(\w+)">', browser.get("/pictures", headers=HTML).text)

    assert offered == [("alpha", " selected"), ("zebra", "")]
    assert suggested == ["alpha", "zebra"]


def test_who_may_look_may_not_restore(guarded, photo):
    viewer = guarded("viewer")
    shown = viewer.get("/try", headers={"Accept": "text/html"}).text

    assert "needs the role" in shown
    proof = shown.partition('name="csrf" content="')[2].partition('"')[0]
    for method, path in (("POST", "/try?run=trained&task=denoise"), ("POST", "/try/offer?run=trained"), ("DELETE", "/try/x")):
        headers = {"Origin": "http://localhost", "X-CSRF-Token": proof}
        response = viewer.request(method, path, content=photo, headers=headers)
        assert (response.status_code, "runner" in response.json()["error"]) == (403, True)
