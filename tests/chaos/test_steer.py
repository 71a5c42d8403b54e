"""`cancel`, `wait` and `resume` from another shell than the one that submitted, on a real training."""

import json

import pytest

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.observe.metrics_log import read_metrics

pytestmark = pytest.mark.slow


def test_a_run_that_is_cancelled_and_resumed_is_as_if_nobody_had_touched_it(workplace, as_if_undisturbed):
    command, run = workplace.submit("steered", wait=False), workplace.run("steered")
    command.until(lambda: read_metrics(run))
    worker = command.worker()
    worker.suspend()  # else it might be done before a command has started
    waiting = workplace.start("wait", "steered", "--json")
    others = [workplace.start("cancel", "steered", "--json") for _ in range(2)]
    command.until(lambda: run.stop_requested(1))
    worker.resume()

    codes = [each.wait() for each in others]
    assert 0 in codes, [each.stderr for each in others]
    for code, each in zip(codes, others, strict=True):  # whoever comes when it has stopped is told so
        assert code == 0 or (code == 4 and "run steered is not running, it is cancelled" in each.stderr), each.stderr
    assert waiting.wait() == 7, waiting.stderr
    assert command.wait() == 7, command.stderr

    said = [json.loads(each.stdout) for code, each in zip(codes, others, strict=True) if code == 0]
    last = list_checkpoints(run.path)[0]
    assert last.usable
    for each in said:
        assert (each["state"], each["exit_code"], each["committed"]) == ("cancelled", 7, {"steered": last.step})
        assert each["reason"].startswith("cancelled by ")
    assert json.loads(waiting.stdout)["state"] == "cancelled"
    assert workplace.do("cancel", "steered").wait() == 4

    again = workplace.do("resume", "steered", "--json")
    assert again.process.returncode == 0, again.stderr
    as_if_undisturbed(run, attempts=2)
    reported = workplace.do("resume", "steered", "--json")
    assert reported.process.returncode == 0, reported.stderr
    assert json.loads(reported.stdout) == json.loads(again.stdout)
    assert run.current_attempt() == 2
