"""The live line of a run, on a real terminal and off it."""

import io
import os
import pty
import sys
from pathlib import Path

import pytest
from rich.console import Console

from ipt_platform.cli.live import LiveLine, RunWatch
from ipt_platform.cli.output import console
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

LINE = {
    "attempt": 1,
    "step": 120,
    "steps": 200,
    "loss": {"denoise": 0.05, "deblur": 0.0712},
    "images_per_second": 33.25,
    "data_wait_share": 0.013,
    "eta_seconds": 187.0,
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = create(tmp_path, "demo")
    append_event(run, "started", run.new_attempt(), steps=200)
    return run


def on_a_terminal(run: RunDir) -> str:
    """What a real pseudo-terminal gets when a live line is shown there."""
    pid, master = pty.fork()
    if pid == 0:
        code = 1
        try:
            os.environ.update(TERM="xterm", COLUMNS="160", LINES="24")
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - the terminal, not what pytest put in its place
            with LiveLine(200, console(stderr=True)) as live:
                watch = RunWatch(run, live)
                append_metrics(run, LINE)
                watch.poll()
                append_event(run, "checkpoint", 1, step=125)
                append_metrics(run, {**LINE, "step": 130})
                watch.poll()
            code = 0
        finally:
            os._exit(code)
    output = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the child is gone
            break
        if not piece:
            break
        output += piece
    os.close(master)
    assert os.waitpid(pid, 0)[1] == 0, output.decode()
    return output.decode()


def test_on_a_terminal_one_line_is_refreshed_and_events_stay(run: RunDir):
    output = on_a_terminal(run)

    assert "step 120/200  60%  ETA 3m07s  33.2 images/s  loss denoise 0.0500 deblur 0.0712  data wait 1.3%" in output
    assert "checkpoint step 125\r\n" in output
    assert "step 130/200  65%" in output
    assert "\x1b[2K" in output, "the line is erased before it is drawn again"
    assert "step 120/200  60%  ETA 3m07s  33.2 images/s  loss denoise 0.0500 deblur 0.0712  data wait 1.3%\r\n" not in output


def test_off_a_terminal_only_state_changes_are_printed():
    out = io.StringIO()
    with LiveLine(200, Console(file=out, soft_wrap=True, highlight=False)) as live:
        live.show(LINE)
        live.event({"time": "t", "type": "resumed", "attempt": 2, "step": 100, "reason": "worker [0] died"})
        live.show({**LINE, "step": 130})
        live.event({"type": "evaluated", "attempt": 1, "step": 9, "seconds": 1.23456, "psnr": 2.5})

    assert out.getvalue().splitlines() == [
        "resumed step 100 (attempt 2): worker [0] died",
        "evaluated step 9 seconds=1.235 psnr=2.5",
    ]


def test_a_watch_shows_only_what_comes_after_it_began(run: RunDir):
    out = io.StringIO()
    live = LiveLine(200, Console(file=out, soft_wrap=True, highlight=False))
    watch = RunWatch(run, live)
    rounds: list[float] = []

    def done(period: float) -> bool:
        rounds.append(period)
        append_event(run, "checkpoint", 1, step=len(rounds))
        return len(rounds) == 2

    watch.until(done, period=0.25)

    assert rounds == [0.25, 0.25]
    assert out.getvalue().splitlines() == ["checkpoint step 1", "checkpoint step 2"]
