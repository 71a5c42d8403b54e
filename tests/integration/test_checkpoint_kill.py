"""A real process is killed (SIGKILL) before each file operation of a commit; the run never loses its checkpoint.

The child counts its own file operations by Python's audit events (open, mkdir, rename: raised before the call is made)
and kills itself at the n-th, for every n. Writes torn in their middle come from the kernel: it kills a process that
writes more into a file than its limit allows (RLIMIT_FSIZE).
"""

import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipt_platform.checkpoint.files import commit, newest, prune, read_json, verify
from ipt_platform.observe.rundir import RunDir

BEFORE, AFTER = {"state.json": {"mark": "before"}}, {"biases/a.bin": bytes(1000), "state.json": {"mark": "after"}}


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a forked process; returns the signal that killed it, or 0 if it came to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child met an error of its own"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at(operation: int) -> None:
    """From now on, this process kills itself just before its n-th file operation (0 is the first)."""
    left = operation

    def watch(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def start(folder: Path, number: int, second: str) -> tuple[RunDir, int]:
    run = RunDir(folder / str(number))
    attempt = run.new_attempt()
    commit(run.checkpoints, 1, BEFORE, run.fence(attempt), attempt)
    if second != "absent":
        path = commit(run.checkpoints, 2, BEFORE, run.fence(attempt), attempt)
        (path / ("COMMIT" if second == "uncommitted" else "state.json")).unlink()
    return run, attempt


def look(run: RunDir) -> str:
    """What a kill left behind, in a word; fails if that is not a state one can go on from."""
    path, _ = newest(run.path)
    assert path is not None, "the run lost its checkpoint"
    verify(path)
    mark = read_json(path / "state.json")["mark"]
    assert (path.name, mark) in [("step-1", "before"), ("step-2", "after")]
    names = {each.name for each in run.checkpoints.iterdir()}
    if path.name == "step-2":
        return "committed"
    if (run.checkpoints / "step-2/biases").exists():
        return "renamed"
    return "temporary" if any(name.startswith(".tmp") for name in names) else "untouched"


@pytest.mark.parametrize("second", ["absent", "uncommitted", "damaged"])
def test_killed_before_any_file_operation_of_a_commit(tmp_path: Path, second: str):
    seen: list[str] = []
    killed = -1
    for operation in range(100):
        run, attempt = start(tmp_path, operation, second)

        def act(run: RunDir = run, attempt: int = attempt, operation: int = operation) -> None:
            kill_at(operation)
            commit(run.checkpoints, 2, AFTER, run.fence(attempt), attempt)

        killed = in_child(act)

        seen.append(look(run))
        again = run.new_attempt()
        path = commit(run.checkpoints, 2, AFTER, run.fence(again), again)
        prune(run.path, keep=2)
        assert newest(run.path) == (path, [])
        assert read_json(path / "state.json")["mark"] == "after"
        assert {each.name for each in run.checkpoints.iterdir()} == {"step-1", "step-2"}
        if not killed:
            break
    assert killed == 0, "no attempt came through: there are more operations than were tried"
    assert seen[-1] == "committed"
    assert set(seen) == {"untouched", "temporary", "renamed", "committed"}
    order = ["untouched", "temporary", "renamed", "committed"]
    assert [order.index(each) for each in seen] == sorted(order.index(each) for each in seen)


@pytest.mark.parametrize("limit", [0, 1, 20, 60, 81, 200, 400, 999])
def test_killed_in_the_middle_of_a_write(tmp_path: Path, limit: int):
    run, attempt = start(tmp_path, 0, "absent")

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        files = {"state.json": {"mark": "after"}, "z.bin": bytes(1000)} if limit > 60 else AFTER
        commit(run.checkpoints, 2, files, run.fence(attempt), attempt)

    assert in_child(act) == signal.SIGXFSZ
    assert look(run) == "temporary"


def test_a_full_disk_costs_only_the_checkpoint_that_did_not_fit(tmp_path: Path):
    run, attempt = start(tmp_path, 0, "absent")

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(OSError, match="too large"):
            commit(run.checkpoints, 2, AFTER, run.fence(attempt), attempt)

    assert in_child(act) == 0
    assert {each.name for each in run.checkpoints.iterdir()} == {"step-1"}


def test_killed_before_any_file_operation_of_a_prune(tmp_path: Path):
    killed = -1
    for operation in range(100):
        run, attempt = start(tmp_path, operation, "absent")
        for step in (2, 3):
            commit(run.checkpoints, step, AFTER, run.fence(attempt), attempt)

        def act(run: RunDir = run, operation: int = operation) -> None:
            kill_at(operation)
            prune(run.path, keep=1)

        killed = in_child(act)

        assert newest(run.path) == (run.checkpoints / "step-3", [])
        for path in run.checkpoints.glob("step-*"):
            verify(path)  # a checkpoint is there whole or not at all
        prune(run.path, keep=1)
        assert {each.name for each in run.checkpoints.iterdir()} == {"step-3"}
        if not killed:
            break
    assert killed == 0


def test_an_attempt_that_wants_to_begin_between_rename_and_commit_waits(tmp_path: Path):
    run, attempt = start(tmp_path, 0, "absent")
    ready, told = os.pipe()
    newer = 0

    @contextmanager
    def in_between() -> Iterator[None]:
        nonlocal newer
        with run.fence(attempt)():
            newer = os.fork()
            if newer == 0:
                run.new_attempt()
                os.write(told, str(newest(run.path)[0]).encode())
                os._exit(0)
            select.select([ready], [], [], 0.3)  # long enough for one that did not wait
            yield

    path = commit(run.checkpoints, 2, AFTER, in_between, attempt)

    assert os.waitpid(newer, 0)[1] == 0
    assert Path(os.read(ready, 4096).decode()) == path
    with pytest.raises(Exception, match=f"attempt {attempt} no longer owns run"):
        commit(run.checkpoints, 3, AFTER, run.fence(attempt), attempt)
    assert newest(run.path) == (path, [])
