"""Who a run on S3 belongs to, what it says, and how it is stopped, where machines share nothing but the store."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipt_platform.errors import InfrastructureError, NoRoomError, NotFoundError, RefusedError, UsageError
from ipt_platform.observe import courier as module_of_courier
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import append_ending, append_event, read_events
from ipt_platform.observe.jsonl import read_lines
from ipt_platform.observe.metrics_log import append_metrics, read_metrics
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create, find_run

pytestmark = pytest.mark.slow


def types(run) -> list[str]:
    return [event["type"] for event in read_events(run)]


def test_attempts_that_begin_at_once_on_several_machines_get_numbers_of_their_own(machines):
    runs = [machines.new(f"m{number}") for number in range(6)]
    together = threading.Barrier(len(runs))

    def begin(run) -> int:
        together.wait()
        return run.new_attempt()

    with ThreadPoolExecutor(len(runs)) as pool:
        numbers = list(pool.map(begin, runs))

    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert {run.current_attempt() for run in runs} == {6}
    assert len({run.attempt(3).started for run in runs}) == 1


def test_an_attempt_that_was_overtaken_on_another_machine_is_refused(machines):
    here, there = machines.new("here"), machines.new("there")
    first = here.new_attempt()
    with here.fence(first)():
        pass
    there.new_attempt()

    with (
        pytest.raises(RefusedError, match="attempt 1 no longer owns run far: attempt 2 was started by process"),
        here.fence(first)(),
    ):
        pytest.fail("it is not let in")


def test_events_of_all_machines_come_together_once_each_and_in_order(machines):
    here, there = machines.new("here"), machines.new("there")
    append_event(here, "created", 0, steps=9)
    append_event(here, "started", here.new_attempt(), step=0)
    assert types(there) == ["created", "started"]
    append_event(there, "resumed", there.new_attempt(), step=3)
    append_event(here, "stage", 1, step=4)
    append_event(there, "finished", 2, step=9)

    third = machines.find("third")
    assert types(third) == ["created", "started", "stage", "resumed", "finished"]  # by attempt, then by time
    for run in (here, there, third):
        assert sorted(types(run)) == ["created", "finished", "resumed", "stage", "started"]
        assert sorted(map(str, read_events(run))) == sorted(map(str, read_events(third)))


def test_an_event_that_its_writer_could_not_keep_here_comes_back_from_the_store(machines):
    run = machines.new("here")
    append_event(run, "created", 0)
    append_event(run, "finished", run.new_attempt(), reason="done")
    whole = run.events.read_bytes()
    run.events.write_bytes(whole.splitlines(keepends=True)[0])
    (run.path / ".gathered.json").unlink(missing_ok=True)

    assert types(run) == ["created", "finished"]
    assert run.events.read_bytes() == whole


def test_an_event_that_matters_is_not_told_until_the_store_has_it(machines, store):
    run = machines.new("here")
    attempt = run.new_attempt()
    store.proxy.fault = lambda request: "busy" if "/events/" in request.path and request.method == "PUT" else ""
    with pytest.raises(InfrastructureError, match="SlowDown"):
        append_event(run, "finished", attempt)
    store.proxy.fault = lambda request: ""
    append_event(run, "failed", attempt, reason="the store was gone")

    assert types(run) == types(machines.find("there")) == ["failed"]


@pytest.mark.parametrize(("fault", "error"), [("full", NoRoomError), ("denied", UsageError)])
def test_why_a_run_failed_is_known_where_it_ran_if_the_store_takes_nothing(machines, store, fault, error):
    here = machines.new("here")
    attempt = here.new_attempt()
    here.mirror.patience = 0.0
    store.proxy.fault = lambda request: fault if request.method == "PUT" else ""
    with pytest.raises(error):
        append_event(here, "worker-lost", attempt)
    with pytest.raises(error):
        append_event(here, "finished", attempt)
    with pytest.raises(error):
        append_ending(here, attempt, error("as the store said"))
    store.proxy.fault = lambda request: ""

    assert types(here) == ["worker-lost", "failed"]
    status = run_status(here)
    assert (status.state, status.failure) == ("failed", str(error.failure))
    assert status.reason.startswith("as the store said")
    # nobody else is told what may be untrue by now, and who goes on from here is told by both
    assert types(machines.find("there")) == []
    append_event(here, "started", here.new_attempt(), step=0)
    assert types(here) == ["worker-lost", "failed", "started"]
    assert types(machines.find("there")) == ["started"]


def test_long_metrics_are_cut_so_that_only_the_end_is_sent_again(machines, store):
    here = machines.new("here")
    attempt = here.new_attempt()
    for step in range(300):
        append_metrics(here, {"attempt": attempt, "step": step, "note": "x" * 1000})
    sent = {key: data for key, data in store.objects().items() if "/metrics/" in key}

    assert len(sent) == 3
    assert all(len(data) < 140_000 for data in sent.values())
    assert [line["step"] for line in read_metrics(machines.find("there"))] == list(range(300))
    assert [line["step"] for line in read_metrics(here)] == list(range(300))


def test_metrics_go_with_the_courier_and_all_of_them_at_its_end(machines, store):
    here = machines.new("here")
    with courier(here.mirror):
        append_metrics(here, {"attempt": 1, "step": 1})
        append_event(here, "warning", 1, reason="w")
        assert [line["step"] for line in read_lines(here.metrics)] == [1]
        assert not any("/metrics/" in key for key in store.objects())

    there = machines.find("there")
    assert [line["step"] for line in read_metrics(there)] == [1]
    assert types(there) == ["warning"]


def test_a_request_to_stop_is_heard_on_another_machine_by_the_attempt_that_was_asked(machines):
    here, there = machines.new("here"), machines.new("there")
    attempt = here.new_attempt()
    assert here.stop_requested(attempt) is None

    assert there.request_stop("enough for today") == attempt

    assert here.stop_requested(attempt) == "enough for today"
    assert here.stop_requested(there.new_attempt()) is None


def test_a_request_for_a_checkpoint_is_heard_on_another_machine_and_is_none_to_stop(machines):
    here, there = machines.new("here"), machines.new("there")
    attempt = here.new_attempt()

    assert there.request_checkpoint() == attempt

    assert here.checkpoint_requested(attempt) == there.checkpoint_requested(attempt) is not None
    assert here.stop_requested(attempt) is None
    assert here.checkpoint_requested(there.new_attempt()) is None


def test_two_different_jobs_under_one_id_meet(machines):
    here, there = machines.new("here", job=b"name: a\n"), machines.new("there", job=b"name: b\n")
    assert there.job.read_bytes() == here.job.read_bytes() == b"name: a\n"

    machines.on("third")
    late = create(machines.storage, "late")
    machines.on("fourth")
    later = create(machines.storage, "late")
    later.write_job(b"name: c\n")
    with pytest.raises(RefusedError, match=r"just submitted to s3://.* by somebody else, with another job"):
        late.write_job(b"name: d\n")
    late.write_job(b"name: c\n")


def test_a_folder_left_of_a_run_that_was_removed_is_not_taken_for_the_new_one(machines, store, checkpoint):
    run = machines.new("here")
    run.new_attempt()
    checkpoint(run, 3)
    for key in store.objects():
        store.direct().delete_object(Bucket=store.bucket, Key=key)
    with pytest.raises(NotFoundError):
        machines.find("here")

    again = machines.new("here", job=b"name: other\n")

    assert again.path == run.path
    assert not again.checkpoints.exists()
    assert again.job.read_bytes() == b"name: other\n"
    assert again.current_attempt() == 0
    assert again.new_attempt() == 1


def test_what_a_run_was_given_is_that_of_whoever_was_first(machines):
    here, there, third = machines.new("here"), machines.new("there"), machines.new("third")
    for run, by in ((here, b"here"), (there, b"there")):
        (run.backbone / "sub").mkdir(parents=True)
        (run.backbone / "sub" / "w").write_bytes(by)
        run.models.write_bytes(by)
    here.keep_given()
    there.keep_given()
    third.fetch()

    for run in (here, there, third):
        assert (run.backbone / "sub" / "w").read_bytes() == run.models.read_bytes() == b"here"


def test_what_a_run_leaves_comes_to_whoever_asks(machines):
    here, there = machines.new("here"), machines.new("there")
    for text in (b"{}", b'{"a": 1}'):
        here.report.write_bytes(text)
        here.pack("derain").mkdir(parents=True, exist_ok=True)
        (here.pack("derain") / "pack.json").write_bytes(text)
        here.keep_results()
        there.fetch()

        assert there.report.read_bytes() == (there.pack("derain") / "pack.json").read_bytes() == text


def test_logs_come_from_the_machine_that_writes_them_and_grow(machines):
    here = machines.new("here")
    path = here.logs(1, 0)
    path.write_text("one\n")
    with courier(here.mirror, (path,)):
        pass
    there = machines.find("there")
    assert {name: log.read_text() for name, log in there.log_files(1).items()} == {"0": "one\n"}
    with path.open("a") as log:
        log.write("two\n")
    with courier(here.mirror, (path,)):
        pass

    assert there.log_files(1)["0"].read_text() == "one\ntwo\n"
    assert here.log_files(1)["0"].read_text() == "one\ntwo\n"


def test_the_state_is_the_same_from_every_machine(machines):
    here = machines.new("here")
    append_event(here, "created", 0, kind="train", steps=10)
    attempt = here.new_attempt()
    append_event(here, "started", attempt, step=0)
    append_metrics(here, {"attempt": attempt, "step": 4, "steps": 10, "loss": {"denoise": 0.5}})
    here.request_stop("lunch")
    append_event(here, "cancelled", attempt, reason="lunch", step=4)

    states = [run_status(run) for run in (here, machines.find("there"))]

    assert states[0] == states[1]
    assert (states[0].state, states[0].step, states[0].steps, states[0].loss) == ("cancelled", 4, 10, {"denoise": 0.5})


def test_runs_are_found_by_id_and_by_url_and_near_names_are_told(machines, store):
    machines.new("here", "far")
    machines.new("here", "farther")

    assert find_run("elsewhere", store.url("runs/far")).id == "far"
    with pytest.raises(NotFoundError, match=r"no run 'farr' in s3://.*: did you mean far or farther\?"):
        find_run(machines.storage, "farr")
    with pytest.raises(NotFoundError, match="there are no runs there; is --storage right"):
        find_run(store.url("nothing"), "far")


def test_a_store_that_lets_nobody_in_is_told_in_words(machines, store):
    run = machines.new("here")
    store.proxy.fault = lambda request: "signature"

    with pytest.raises(UsageError, match="the secret key is not that of the access key"):
        run.new_attempt()


def test_no_secret_is_written_anywhere(machines, store):
    run = machines.new("here")
    append_event(run, "created", 0)
    run.new_attempt()
    kept = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    kept += b"".join([*store.objects().values(), *(key.encode() for key in store.objects())])

    assert json.loads((run.path / "mirror.json").read_bytes())["storage"] == machines.storage
    assert not any(store.environment[name].encode() in kept for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


def test_an_answer_that_is_late_does_not_hide_a_newer_one(machines, store):
    run = machines.new("here")
    run.new_attempt()
    asked, go_on = threading.Event(), threading.Event()

    def slow(request) -> None:
        if "prefix=runs/far/attempts" in request.path.replace("%2F", "/") and not asked.is_set():
            asked.set()
            go_on.wait(30)

    store.proxy.late = slow
    try:
        looking = threading.Thread(target=run.mirror.look)
        looking.start()
        assert asked.wait(30)
        assert run.new_attempt() == 2
        go_on.set()
        looking.join(30)
    finally:
        store.proxy.late = lambda request: None
    run.mirror.followed = True

    assert run.current_attempt(fresh=False) == 2


def test_who_does_not_lead_asks_seldom(machines, store, monkeypatch):
    """With as many workers as a large cluster has, all of them asking would be a store's whole work."""
    monkeypatch.setattr(module_of_courier, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module_of_courier, "SEND_SECONDS", 0.0)
    asked = {}
    for leads in (True, False):
        run = machines.new(f"leads-{leads}")
        turns = threading.Semaphore(0)
        path = run.logs(1, 0)
        store.proxy.requests.clear()
        with courier(run.mirror, (path,), turns.release, leads):
            for number in range(8):
                path.write_text("x" * (number + 1))
                append_metrics(run, {"attempt": 1, "step": number})
                assert turns.acquire(timeout=30)
        asked[leads] = store.proxy.count("GET", "list-type") + store.proxy.count("GET", "stop.json")

    assert asked[False] <= 4 < 16 <= asked[True]
