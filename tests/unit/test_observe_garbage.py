"""What `gc` removes from a folder of runs."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path

import pytest

from ipt_platform.checkpoint.files import commit
from ipt_platform.errors import InfrastructureError
from ipt_platform.observe.events import append_event, utc_now
from ipt_platform.observe.garbage import find_garbage
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

NOBODY = 65534


def later():
    return utc_now() + timedelta(days=2)


def test_leavings_and_what_was_never_committed_go_once_they_are_a_day_old(tmp_path):
    run = create(tmp_path, "r")
    attempt = run.new_attempt()
    append_event(run, "started", attempt)
    for step in (1, 2):
        commit(run.checkpoints, step, {"a.bin": b"12345"}, nullcontext, attempt)
    (run.checkpoints / "step-2" / "COMMIT").unlink()
    for name in (".tmp-step-3-abcd", ".old-step-1-abcd"):
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "a.bin").write_bytes(b"123")

    assert find_garbage(str(tmp_path)) == []
    # the attempt is alive, so the step without COMMIT may still get it
    names = [each.name.rpartition("/")[2] for each in find_garbage(str(tmp_path), clock=later)]
    assert names == [".old-step-1-abcd", ".tmp-step-3-abcd"]
    append_event(run, "failed", attempt, reason="r")
    found = find_garbage(str(tmp_path), clock=later)
    assert [(each.kind, each.name.rpartition("/")[2]) for each in found] == [
        ("leavings", ".old-step-1-abcd"),
        ("leavings", ".tmp-step-3-abcd"),
        ("uncommitted", "step-2"),
    ]
    assert [each.bytes for each in found[:2]] == [3, 3]
    for each in found:
        each.remove()

    assert [path.name for path in run.checkpoints.iterdir()] == ["step-1"]


def leavings(run: RunDir) -> Path:
    path = run.checkpoints / ".tmp-step-3-abcd"
    (path / "biases").mkdir(parents=True)
    (path / "biases" / "a.bin").write_bytes(b"123")
    return path


def test_the_jobs_of_a_search_are_looked_at_too(tmp_path):
    whole = create(tmp_path, "search")
    append_event(whole, "created", 0, kind="tune")
    member = create(whole.members, "trial-1")
    append_event(member, "created", 0, kind="finetune")
    left = leavings(member)

    assert [each.name for each in find_garbage(str(tmp_path), clock=later)] == [str(left)]


def test_what_another_gc_removed_meanwhile_is_gone_and_no_error(tmp_path):
    run = create(tmp_path, "r")
    append_event(run, "created", 0)
    left = leavings(run)
    mine, others = (find_garbage(str(tmp_path), clock=later) for _ in range(2))

    for each in (*mine, *others):
        each.remove()

    assert not left.exists()


@pytest.fixture
def refused() -> Iterator[tuple[Path, Callable[[], AbstractContextManager[None]]]]:
    """A folder that everybody may look into, and in whose block nobody is root: to root nothing is refused."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)

    @contextlib.contextmanager
    def as_nobody() -> Iterator[None]:
        if os.geteuid():
            yield
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    yield folder, as_nobody
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_what_cannot_be_removed_is_told_in_a_sentence(refused):
    folder, as_nobody = refused
    run = create(folder, "r")
    append_event(run, "created", 0)
    left = leavings(run)
    (found,) = find_garbage(str(folder), clock=later)
    (left / "biases").chmod(0o500)

    with as_nobody(), pytest.raises(InfrastructureError, match="storage failed: Permission denied"):
        found.remove()

    assert left.exists()
