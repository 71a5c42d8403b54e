"""What the chaos tests share: the result that every disturbed run must come to in the end."""

from collections.abc import Callable

import pytest

from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status

STEPS = 30  # of the job of `workplace`


@pytest.fixture(scope="session")
def as_if_undisturbed(workplace, weights) -> Callable[[RunDir, int], None]:
    """Asserts that a run finished in so many attempts, with every bit of the state of one that nobody disturbed."""
    command = workplace.submit("undisturbed", "data.carrier=ray")
    assert command.process.returncode == 0, command.stderr
    want = weights(workplace.run("undisturbed"), STEPS)

    def check(run: RunDir, attempts: int) -> None:
        assert run_status(run).state == "finished"
        assert sorted(int(path.name) for path in run.attempts.glob("[0-9]*")) == list(range(1, attempts + 1))
        assert [event["attempt"] for event in read_events(run) if event["type"] == "finished"] == [attempts]
        assert weights(run, STEPS) == want
        assert [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")] == []

    return check
