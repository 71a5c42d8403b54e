"""Whatever stands in the files of a run, every page is shown, and every other run."""

import json
from dataclasses import asdict

import pytest

from ipt_platform.observe.process import this_process
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.web.pages.runs import ORDERS
from tests.integration.web.conftest import HTML, write_run
from tests.integration.web.test_pages import page, rows

BIG = "1" + "0" * 400


def test_damaged_files_break_no_page(client, storage):
    run = write_run(storage, "demo")
    for path in (run.events, run.metrics):
        with path.open("ab") as file:
            file.write(b'{"torn\n\xff\xfe\n[1, 2]\n{"step": "x", "type": 7, "attempt": "y"}\n{"type": null}\n')
            file.write(b'{"step": 1, "loss": 3, "evaluation": {"a": {"b": {}}}}\n')
    (run.attempts / "1").write_text("{")
    run.stop.write_text('{"attempt": 9, "reason": "x"}')
    run.job.unlink()

    every_page_is_shown(client)


def every_page_is_shown(client) -> None:
    for path in ("/", "/search", "/runs/demo", "/runs/demo/logs", "/runs/demo/job", "/runs/demo/series"):
        assert client.get(path, headers=HTML).status_code == 200, path
    for order in ORDERS:
        assert "demo" in rows(page(client, f"/runs?sort={order}")), order


@pytest.mark.parametrize(
    "line",
    [
        '"time": 5',
        '"time": "0001-01-01T00:00:00+14:00"',
        '"type": ["started"]',
        '"type": "warning", "reason": null',
        '"type": "started", "step": null, "attempt": null',
        '"type": "started", "steps": "many"',
        '"type": "checkpoint", "step": "far", "attempt": {}',
        '"evaluation": null',
        '"evaluation": [1]',
        '"evaluation": {"s": null}',
        '"evaluation": {"s": {"t": 3}}',
        '"evaluation": {"s": {"t": {"psnr": "high"}}}',
        f'"evaluation": {{"s": {{"t": {{"psnr": {BIG}}}}}}}',
        '"evaluation": {"s": {"t": {"psnr": null}}}',
        '"steps": 200, "attempt": 1, "eta_seconds": "soon"',
        f'"steps": 200, "attempt": 1, "eta_seconds": {BIG}',
        '"steps": "many"',
        '"steps": -1',
        f'"steps": {BIG}',
        '"steps": 200, "step": null',
        '"steps": 200, "step": 1e400',
        '"steps": 200, "samples": 5',
        '"steps": 200, "samples": {"seen": 5}',
        '"steps": 200, "samples": {"seen": "x", "bad": {"truncated": null}}',
        '"steps": 200, "loss": 4',
        '"steps": 200, "loss": {"denoise": "low"}',
        '"steps": 200, "loss": {"\\ud800": 1}',
        '"steps": 200, "images_per_second": "x", "data_wait_share": [], "stage": {}',
    ],
)
def test_a_line_of_the_wrong_kind_hides_nothing(client, storage, line):
    run = write_run(storage, "demo")
    create(storage, "other").attempts.mkdir()  # its state tells of warnings
    for path in (run.events, run.metrics, storage / "other" / "events.jsonl"):
        with path.open("a") as file:
            file.write(f"{{{line}}}\n")

    every_page_is_shown(client)
    json.dumps(run_status(run).to_dict())


def test_a_request_to_stop_that_is_damaged_is_none(client, storage):
    write_run(storage, "demo").stop.write_text("{")

    assert "led by" in page(client, "/runs/demo")


def test_a_run_that_cannot_be_understood_is_shown_among_the_others(client, storage):
    write_run(storage, "demo", "finished")
    run = write_run(storage, "broken")
    leader = asdict(this_process()) | {"pid": "\0"}
    (run.attempts / "1").write_text(json.dumps({"started": "2026-11-26T10:00:00+00:00", "process": leader}))

    text = page(client, "/runs")

    assert sorted(rows(text)) == ["broken", "demo"]
    assert "state-damaged" in text
    assert "embedded null byte" in text
    assert "embedded null byte" in page(client, "/runs/broken")
    every_page_is_shown(client)
