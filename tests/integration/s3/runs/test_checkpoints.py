"""Checkpoints on S3: whole or not at all, never mixed, and the newest that can be used is the one that comes back."""

from pathlib import Path

import pytest

from ipt_platform.checkpoint.manifest import verify
from ipt_platform.checkpoint.remote import prune_remote, remote_checkpoints, send_checkpoint
from ipt_platform.checkpoint.uploads import Uploads
from ipt_platform.errors import InfrastructureError, RefusedError, UsageError
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import newest_commit

pytestmark = pytest.mark.slow


def send(run: RunDir, checkpoint: Path, attempt: int = 1) -> None:
    def check() -> None:
        with run.fence(attempt)():
            pass

    assert run.mirror
    send_checkpoint(run.mirror.remote, checkpoint, check)


def key(store, end: str) -> str:
    return next(key for key in store.objects() if key.endswith(end))


@pytest.fixture
def run(machines) -> RunDir:
    run = machines.new("here")
    run.new_attempt()
    return run


@pytest.fixture
def three(run, checkpoint) -> RunDir:
    """A run whose steps 1, 2 and 3 were sent."""
    for step in (1, 2, 3):
        send(run, checkpoint(run, step))
    return run


def test_the_newest_comes_back_byte_for_byte_to_a_machine_that_has_nothing(three, machines):
    there = machines.find("there")

    found, damaged = newest_usable(there)

    assert (found, damaged) == (there.checkpoints / "step-3", [])
    assert verify(there.checkpoints / "step-3") == verify(three.checkpoints / "step-3")
    assert newest_commit(there) == 3


def test_one_that_is_here_already_is_not_fetched_again(three, store):
    store.proxy.requests.clear()
    assert newest_usable(three) == (three.checkpoints / "step-3", [])
    assert not any("weights.bin" in request.path for request in store.proxy.requests)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "uncommitted", "manifest"])
def test_a_damaged_one_is_passed_over_and_named(three, machines, store, damage):
    name = key(
        store, {"uncommitted": "step-3/1/COMMIT", "manifest": "step-3/1/MANIFEST.json"}.get(damage, "step-3/1/weights.bin")
    )
    data, client = store.objects()[name], store.direct()
    if damage in ("missing", "uncommitted"):
        client.delete_object(Bucket=store.bucket, Key=name)
    else:
        changed = data[:-1] if damage == "cut" else data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]
        client.put_object(Bucket=store.bucket, Key=name, Body=changed)

    there = machines.find("there")
    found, damaged = newest_usable(there)

    assert found == there.checkpoints / "step-2"
    [(path, reason)] = damaged
    assert path.name == "step-3"
    assert f"{machines.storage}/far/checkpoints/step-3/1" in reason
    assert [path.name for path in there.checkpoints.iterdir()] == ["step-2"]


def test_what_stands_here_damaged_is_fetched_anew(three):
    weights = three.checkpoints / "step-3" / "weights.bin"
    weights.write_bytes(b"x" + weights.read_bytes()[1:])

    assert newest_usable(three) == (three.checkpoints / "step-3", [])
    verify(three.checkpoints / "step-3")


def test_a_step_that_never_left_counts_where_it_is_until_a_later_attempt_has_sent_one(three, machines, checkpoint, newest):
    checkpoint(three, 4)  # its writer was killed before it was sent
    assert newest(three) == three.checkpoints / "step-4"

    there = machines.find("there")
    assert newest(there) == there.checkpoints / "step-3"
    send(there, checkpoint(there, 5, there.new_attempt()), 2)
    checkpoint(three, 6)

    found, damaged = newest_usable(three)
    assert (found, damaged) == (three.checkpoints / "step-5", [])
    assert verify(three.checkpoints / "step-5").attempt == 2
    assert {path.name for path in three.checkpoints.iterdir() if path.name.startswith("step-")} >= {"step-5"}
    assert not (three.checkpoints / "step-6").exists()


def test_an_overtaken_attempt_sends_nothing_and_mixes_with_nobody(three, machines, checkpoint, store, newest):
    there = machines.find("there")
    second = there.new_attempt()
    with pytest.raises(RefusedError, match="attempt 1 no longer owns run far"):
        send(three, checkpoint(three, 4, 1), 1)
    assert not any("step-4" in name for name in store.objects())
    newest_usable(there)
    send(there, checkpoint(there, 4, second), second)
    send(there, checkpoint(there, 3, second), second)

    third = machines.find("third")
    assert verify(newest(third)) == verify(there.checkpoints / "step-4")
    assert [(each.step, each.attempt) for each in remote_checkpoints(third.mirror.remote)] == [
        (4, 2),
        (3, 2),
        (3, 1),
        (2, 1),
        (1, 1),
    ]


def test_an_attempt_that_is_overtaken_while_it_sends_commits_nothing(three, machines, checkpoint, store):
    own = checkpoint(three, 4)
    calls = iter((False, True))

    def check() -> None:
        if next(calls):
            machines.find("there").new_attempt()
            with three.fence(1)():
                pass

    with pytest.raises(RefusedError, match="no longer owns"):
        send_checkpoint(three.mirror.remote, own, check)

    assert newest_commit(three) == 3
    assert not any(name.endswith("step-4/1/COMMIT") for name in store.objects())


def test_sending_goes_on_where_it_was_broken_off(run, checkpoint, store):
    own = checkpoint(run, 1)
    store.proxy.fault = lambda request: "busy" if request.method == "PUT" and "MANIFEST" in request.path else ""
    with pytest.raises(InfrastructureError, match="SlowDown"):
        send(run, own)
    assert newest_commit(run) is None
    store.proxy.fault = lambda request: ""
    store.proxy.requests.clear()
    send(run, own)
    sent = [request.path.rpartition("/")[2] for request in store.proxy.requests if request.method == "PUT"]

    assert sent == ["MANIFEST.json", "COMMIT"]
    assert newest_commit(run) == 1
    store.proxy.requests.clear()
    send(run, own)
    assert store.proxy.count("PUT") == 0


@pytest.mark.parametrize("fault", ["error", "busy", "reset", "lose", "cut"])
def test_faults_that_pass_leave_a_whole_checkpoint(run, checkpoint, store, machines, fault, newest):
    store.proxy.fail_once(fault, lambda request: True)
    send(run, checkpoint(run, 7))
    store.proxy.fault = lambda request: ""

    there = machines.find("there")
    assert verify(newest(there)) == verify(run.checkpoints / "step-7")


def test_only_old_ones_are_removed_and_their_commit_first(three, checkpoint, store, run):
    send(run, checkpoint(run, 4))
    uncommitted = checkpoint(run, 5)
    store.proxy.fault = lambda request: "busy" if "COMMIT" in request.path and request.method == "PUT" else ""
    with pytest.raises(InfrastructureError):
        send(run, uncommitted)
    store.proxy.fault = lambda request: ""
    store.proxy.requests.clear()
    prune_remote(run.mirror.remote, 2, {1}, lambda: None)

    assert [each.step for each in remote_checkpoints(run.mirror.remote)] == [5, 4, 3, 1]
    removed = [request.path.rpartition("/")[2] for request in store.proxy.requests if request.method == "DELETE"]
    assert removed[:2] == ["COMMIT", "MANIFEST.json"]


def test_the_only_committed_one_is_never_removed(run, checkpoint):
    send(run, checkpoint(run, 1))
    checkpoint(run, 2)
    prune_remote(run.mirror.remote, 1, (), lambda: None)

    assert newest_commit(run) == 1


def test_a_store_that_denies_is_no_reason_to_wait(run, checkpoint, store):
    store.proxy.fault = lambda request: "signature" if "/checkpoints/" in request.path else ""
    told: list[str] = []
    own = checkpoint(run, 1)
    uploads = Uploads(
        lambda step: send(run, own), lambda step, seconds: told.append("sent"), lambda *words, **more: told.append("warned"), 60
    )
    uploads.submit(1)

    with pytest.raises(UsageError, match="HTTP 403"):
        uploads.finish()
    assert told == []
    verify(own)
